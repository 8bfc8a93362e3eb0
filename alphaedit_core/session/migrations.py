"""Sessions saved before an edit kept what it superseded: worked out by the rule of that time.

Subject and prompt were compared with case folded, and any two facts with one relation id of one
subject were the same thing. A session that was written so is read so: its keys are those that its
edits were made with. What is written now follows :func:`~alphaedit_core.data.facts.replaced`.

The editor that was called rect at that time is ``rect-by-layer`` now.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import named
from alphaedit_core.errors import CorruptFileError

if TYPE_CHECKING:
    from .edits import Edit, StoredBatch

UNKNOWN = (-1,)
"""Stands for what a batch superseded, where its file does not say."""

RENAMED = {"rect": "rect-by-layer"}
"""What an editor is called now, by what it was called."""


def with_superseded(entries: Sequence[Edit]) -> list[Edit]:
    """Entries as they were read, with what each batch superseded, and the editors' present names.

    Raises:
        CorruptFileError: if an entry names a fact that was not there to be superseded.
    """
    standing = _Standing()
    found: list[Edit] = []
    for number, entry in enumerate(entries, 1):
        batches: list[StoredBatch] = []
        for batch in entry.batches:
            if batch.superseded == UNKNOWN:
                batch = dataclasses.replace(batch, superseded=standing.replaced_by(batch.facts))
            try:
                standing.take(batch)
            except (KeyError, TypeError):
                raise CorruptFileError(
                    f"edit {number}: superseded {list(batch.superseded)} are not all facts that "
                    "stood before it; take a copy"
                ) from None
            batches.append(batch)
        if any(old is not new for old, new in zip(entry.batches, batches, strict=True)):
            hp = entry.hyperparameters
            hp = dataclasses.replace(hp, editor=RENAMED.get(hp.editor, hp.editor))
            entry = dataclasses.replace(entry, hyperparameters=hp)
            told = named([one.batches for one in found], batches)
            result = dataclasses.replace(entry.result, superseded=told)
            entry = dataclasses.replace(entry, batches=batches, result=result)
        found.append(entry)
    return found


class _Standing:
    """The facts that stand, with an index of their subjects as they were compared then."""

    def __init__(self) -> None:
        self._facts: dict[int, Fact] = {}
        self._about: dict[str, list[int]] = {}
        self._count = 0

    def replaced_by(self, facts: Sequence[Fact]) -> tuple[int, ...]:
        found = set()
        for fact in facts:
            for position in self._about.get(_folded(fact.subject), ()):
                there = self._facts.get(position)
                if there is not None and _same(there, fact):
                    found.add(position)
        return tuple(sorted(found))

    def take(self, batch: StoredBatch) -> None:
        for position in batch.superseded:
            del self._facts[position]
        for fact in batch.facts:
            self._facts[self._count] = fact
            self._about.setdefault(_folded(fact.subject), []).append(self._count)
            self._count += 1


def _same(one: Fact, other: Fact) -> bool:
    """Whether two facts of one subject were taken for statements about the same thing."""
    related = one.relation is not None and one.relation == other.relation
    return related or _folded(one.prompt) == _folded(other.prompt)


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", decomposed).split())
