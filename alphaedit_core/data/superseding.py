"""Facts superseded by later ones: their keys are dropped, and they are no longer evaluated.

:func:`~alphaedit_core.data.facts.replaced` defines the rule. Each edit stores the positions of the
facts that it superseded among all facts of the session. So undo and load restore exactly the same
facts, even if a later version changes the rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alphaedit_core.storage.typed_records import read_record

from .facts import Fact, replaced


class FactBatch(Protocol):
    """A batch of written facts."""

    @property
    def facts(self) -> list[Fact]:
        """The facts of the batch."""

    @property
    def superseded(self) -> tuple[int, ...]:
        """Positions of the earlier facts that the batch superseded."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A fact that a later one superseded.

    Attributes:
        edit: number of the edit that wrote it.
        fact: the earlier fact.
        by: the later one.
    """

    edit: int
    fact: Fact
    by: Fact

    def __str__(self) -> str:
        return (
            f"“{self.by.statement}” replaces “{self.fact.statement}” "
            f"of edit {self.edit}, which is no longer protected"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON data."""
        return {"edit": self.edit, "fact": self.fact.to_dict(), "by": self.by.to_dict()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Superseded:
        """Return the record that :meth:`to_dict` wrote.

        Raises:
            InputError: naming the first invalid field.
        """
        return read_record(cls, stored)


class CurrentFacts:
    """The facts that no later fact has superseded, by position among all written facts.

    Args:
        batches: the batches written so far, in order.
    """

    def __init__(self, batches: Iterable[FactBatch] = ()) -> None:
        self._facts: dict[int, Fact] = {}
        self._about: dict[str, list[int]] = {}
        self._count = 0
        for batch in batches:
            self.remove(batch.superseded)
            self.add(batch.facts)

    @property
    def facts(self) -> list[Fact]:
        """The facts, in the order in which they were written."""
        return list(self._facts.values())

    @property
    def positions(self) -> list[int]:
        """The positions of the facts, ascending."""
        return list(self._facts)

    def replaced_by(self, facts: Iterable[Fact]) -> tuple[int, ...]:
        """Return the positions of the facts that these later facts supersede, ascending."""
        superseded = {
            position
            for fact in facts
            for position in self._about.get(fact.slot[0], ())
            if replaced(self._facts[position], fact)
        }
        return tuple(sorted(superseded))

    def remove(self, positions: Iterable[int]) -> None:
        """Remove superseded facts."""
        for position in positions:
            fact = self._facts.pop(position)
            self._about[fact.slot[0]].remove(position)

    def add(self, facts: Sequence[Fact]) -> None:
        """Add written facts."""
        for fact in facts:
            self._facts[self._count] = fact
            self._about.setdefault(fact.slot[0], []).append(self._count)
            self._count += 1


def superseded_facts(
    edits: Sequence[Sequence[FactBatch]], written: Sequence[FactBatch]
) -> list[Superseded]:
    """Return the facts that the batches of an edit superseded, with the edits that wrote them.

    Args:
        edits: the batches of all earlier edits.
        written: the batches of the edit.
    """
    if not any(batch.superseded for batch in written):
        return []
    all_facts = [
        (number, fact)
        for number, batches in enumerate([*edits, written], start=1)
        for batch in batches
        for fact in batch.facts
    ]
    result = []
    for batch in written:
        for position in batch.superseded:
            number, fact = all_facts[position]
            same_subject = [new for new in batch.facts if new.slot[0] == fact.slot[0]]
            by = next(
                (new for new in same_subject if replaced(fact, new)),
                (same_subject or batch.facts)[0],
            )
            result.append(Superseded(number, fact, by))
    return result
