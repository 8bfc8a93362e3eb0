"""Migration of sessions of earlier versions.

Earlier versions did not store which facts a batch superseded. It is reconstructed with their rule:
subject and prompt were compared with case folded, and two facts with the same subject and relation
id were the same fact. The previous keys of later edits were selected by this rule, so it must be
used to load them. New edits follow :func:`~alphaedit_core.data.facts.replaced`.

The editor ``rect`` of earlier versions is ``rect-by-layer`` now.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import superseded_facts
from alphaedit_core.errors import CorruptFileError

if TYPE_CHECKING:
    from .edits import Edit, StoredBatch

UNKNOWN = (-1,)
"""``superseded`` of a batch whose file does not contain it."""

RENAMED = {"rect": "rect-by-layer"}
"""Current names of editors by their former names."""


def with_superseded(entries: Sequence[Edit]) -> list[Edit]:
    """Return edits with ``superseded`` filled in and current names of editors.

    Args:
        entries: edits as read from files, in order.

    Raises:
        CorruptFileError: if an edit supersedes a fact that does not exist at that point.
    """
    current = _CurrentFacts()
    migrated: list[Edit] = []
    for number, entry in enumerate(entries, 1):
        batches: list[StoredBatch] = []
        for batch in entry.batches:
            if batch.superseded == UNKNOWN:
                batch = dataclasses.replace(batch, superseded=current.replaced_by(batch.facts))
            try:
                current.add(batch)
            except (KeyError, TypeError):
                raise CorruptFileError(
                    f"edit {number}: superseded {list(batch.superseded)} are not all earlier "
                    "facts; restore a copy"
                ) from None
            batches.append(batch)
        if any(old is not new for old, new in zip(entry.batches, batches, strict=True)):
            hp = entry.hyperparameters
            hp = dataclasses.replace(hp, editor=RENAMED.get(hp.editor, hp.editor))
            entry = dataclasses.replace(entry, hyperparameters=hp)
            superseded = superseded_facts([edit.batches for edit in migrated], batches)
            result = dataclasses.replace(entry.result, superseded=superseded)
            entry = dataclasses.replace(entry, batches=batches, result=result)
        migrated.append(entry)
    return migrated


class _CurrentFacts:
    """Facts that are not superseded, with an index of their case-folded subjects."""

    def __init__(self) -> None:
        self._facts: dict[int, Fact] = {}
        self._by_subject: dict[str, list[int]] = {}
        self._count = 0

    def replaced_by(self, facts: Sequence[Fact]) -> tuple[int, ...]:
        replaced = set()
        for fact in facts:
            for position in self._by_subject.get(_folded(fact.subject), ()):
                earlier = self._facts.get(position)
                if earlier is not None and _same(earlier, fact):
                    replaced.add(position)
        return tuple(sorted(replaced))

    def add(self, batch: StoredBatch) -> None:
        for position in batch.superseded:
            del self._facts[position]
        for fact in batch.facts:
            self._facts[self._count] = fact
            self._by_subject.setdefault(_folded(fact.subject), []).append(self._count)
            self._count += 1


def _same(earlier: Fact, other: Fact) -> bool:
    """Whether earlier versions treated two facts of one subject as the same fact."""
    related = earlier.relation is not None and earlier.relation == other.relation
    return related or _folded(earlier.prompt) == _folded(other.prompt)


def _folded(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", decomposed).split())
