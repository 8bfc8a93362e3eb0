"""Which earlier facts a later one takes the place of: their keys leave, and they count no more.

What is the same thing is said by :func:`~alphaedit_core.data.facts.replaced`. What an edit
superseded is kept with it, by position among all facts of the session, so that an undo or a load
gives back exactly what was there, whatever rule a later version has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alphaedit_core.storage.typed_records import read_record

from .facts import Fact, replaced


class Written(Protocol):
    """A batch of facts that was written."""

    @property
    def facts(self) -> list[Fact]:
        """The facts of the batch."""

    @property
    def superseded(self) -> tuple[int, ...]:
        """Numbers of the edits that the batch supersedes."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A fact that a later one took the place of.

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
        """As JSON can hold it."""
        return {"edit": self.edit, "fact": self.fact.to_dict(), "by": self.by.to_dict()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Superseded:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: naming the first field that is not as it should be.
        """
        return read_record(cls, stored)


class Standing:
    """The facts that no later one has superseded, by position among all that were written.

    Args:
        batches: what was written so far, in order.
    """

    def __init__(self, batches: Iterable[Written] = ()) -> None:
        self._facts: dict[int, Fact] = {}
        self._about: dict[str, list[int]] = {}
        self._count = 0
        for batch in batches:
            self.remove(batch.superseded)
            self.add(batch.facts)

    @property
    def facts(self) -> list[Fact]:
        """They, in the order in which they were written."""
        return list(self._facts.values())

    @property
    def positions(self) -> list[int]:
        """Their positions, ascending."""
        return list(self._facts)

    def replaced_by(self, facts: Iterable[Fact]) -> tuple[int, ...]:
        """Positions of those that these later facts take the place of, ascending."""
        found = {
            position
            for fact in facts
            for position in self._about.get(fact.slot[0], ())
            if replaced(self._facts[position], fact)
        }
        return tuple(sorted(found))

    def remove(self, positions: Iterable[int]) -> None:
        """Take facts out that were superseded."""
        for position in positions:
            fact = self._facts.pop(position)
            self._about[fact.slot[0]].remove(position)

    def add(self, facts: Sequence[Fact]) -> None:
        """Take in facts that were written."""
        for fact in facts:
            self._facts[self._count] = fact
            self._about.setdefault(fact.slot[0], []).append(self._count)
            self._count += 1


def named(edits: Sequence[Sequence[Written]], written: Sequence[Written]) -> list[Superseded]:
    """What the batches of an edit superseded, with the edits that had written it.

    Args:
        edits: the batches of every edit before it.
        written: its own.
    """
    wanted = {position for batch in written for position in batch.superseded}
    if not wanted:
        return []
    everything = [
        (number, fact)
        for number, batches in enumerate([*edits, written], start=1)
        for batch in batches
        for fact in batch.facts
    ]
    found = []
    for batch in written:
        for position in batch.superseded:
            number, fact = everything[position]
            own = [new for new in batch.facts if new.slot[0] == fact.slot[0]]
            by = next((new for new in own if replaced(fact, new)), (own or batch.facts)[0])
            found.append(Superseded(number, fact, by))
    return found
