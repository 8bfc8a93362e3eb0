"""Long texts about the subject and about something that is tied to it: the new fact, and no other.

What counts is whether the words stand there. A text that denies the new fact counts as saying it,
and one that says the old fact in other words as not saying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from alphaedit_core.data.records import Probe, Record
from alphaedit_core.inference.matching import mentions
from alphaedit_core.inference.queries import Answer, GenerationQuery, Query

from .base import Metric, percent, texts

_TOKENS, _TOP_K = 200, 5
_SOURCE = "after Rosati et al. 2024 (LEME), by words instead of a classifier or people"
_NOTE = (
    f"Texts of {_TOKENS} new tokens at most, drawn from the {_TOP_K} likeliest, seeded. Compared "
    "by words, without case and punctuation but for signs as in C++, -5 and $75."
)


class _Essay(Metric):
    """Texts of one kind, and whether something stands in them."""

    source = _SOURCE
    note = _NOTE
    unit = "% of texts, mean within each record first"
    kind: ClassVar[str]

    def queries(self, record: Record) -> list[Query]:
        return [GenerationQuery(p.prompt, _TOKENS, top_k=_TOP_K) for p in self._probes(record)]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        pairs = zip(self._probes(record), texts(answers), strict=True)
        return percent([self.hit(probe, text) for probe, text in pairs])

    def words(self, probe: Probe) -> tuple[str, ...]:
        """What is looked for; a probe without any is not asked."""
        return probe.answers

    def hit(self, probe: Probe, text: str) -> bool:
        """Whether a text is as it should be."""
        return mentions(text, self.words(probe))

    def _probes(self, record: Record) -> list[Probe]:
        own = [probe for probe in record.probes if probe.kind == self.kind]
        return [probe for probe in own if self.words(probe)]


class _Contrary(_Essay):
    """Texts in which the old target does not stand."""

    def words(self, probe: Probe) -> tuple[str, ...]:
        return probe.wrong

    def hit(self, probe: Probe, text: str) -> bool:
        return not mentions(text, self.words(probe))


class SubjectNew(_Essay):
    """The new fact in texts about the subject."""

    name = "essay_new"
    title = "New fact in texts about the subject"
    formula = "the new target stands in a long text about the subject"
    kind = "essay/subject"
    needs = "a prompt for a text about the subject, with the new target"
    default_for = ("longform",)


class SubjectOld(_Contrary):
    """The old fact in texts about the subject."""

    name = "essay_no_old"
    title = "No old fact in texts about the subject"
    formula = "the old target does not stand in a long text about the subject"
    kind = "essay/subject"
    needs = "a prompt for a text about the subject, with the old target"
    default_for = ("longform",)


class CoupledNew(_Essay):
    """The new fact in texts about what is tied to it."""

    name = "essay_coupled_new"
    title = "New fact in texts about the coupled subject"
    formula = "the new target stands in a long text about the coupled subject"
    kind = "essay/coupled"
    needs = "a prompt for a text about a coupled subject, with the new target"
    default_for = ("longform",)


class CoupledOld(_Contrary):
    """The old fact in texts about what is tied to it."""

    name = "essay_coupled_no_old"
    title = "No old fact in texts about the coupled subject"
    formula = "the old target does not stand in a long text about the coupled subject"
    kind = "essay/coupled"
    needs = "a prompt for a text about a coupled subject, with the old target"
    default_for = ("longform",)
