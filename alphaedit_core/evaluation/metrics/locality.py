"""Locality against the unedited model: does it still say what it said."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, ArgmaxQuery, Query

from . import questions
from .base import Metric, percent

_LACKING = "the unedited model was not asked; evaluate it first, and give that as before"


class _Unchanged(Metric):
    """What the model would say in place of each token of the answer, before and after."""

    needs = "neighbors or locality questions with an answer"
    needs_baseline = True

    @property
    def unavailable_reason(self) -> str:
        return _LACKING if self.given.before is None else ""

    def queries(self, record: Record) -> list[Query]:
        return [ArgmaxQuery(prompt, answer) for prompt, answer in questions.locality_pairs(record)]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        kept = []
        for ask, now in zip(self.queries(record), answers, strict=True):
            then = (self.given.before or {}).get(ask)
            if isinstance(now, tuple) and isinstance(then, tuple):
                kept.append([a == b for a, b in zip(now, then, strict=True)])
        return percent([self.judged(own) for own in kept])

    @abstractmethod
    def judged(self, kept: Sequence[bool]) -> float:
        """One prompt's value, 0 to 1, of which tokens are as they were."""


class Locality(_Unchanged):
    """The whole answer."""

    name = "locality"
    title = "Locality"
    formula = "the argmax in place of every token of the answer is what it was before the edit"
    source = "Yao et al. 2023, section 2; Zhang et al. 2024 (KnowEdit), section 4"
    note = "Right or wrong does not matter, only whether it is the same as before."
    default_for = ("knowedit:paper",)

    def judged(self, kept: Sequence[bool]) -> float:
        return float(all(kept))


class LocalityTokens(_Unchanged):
    """Token by token."""

    name = "locality_acc"
    title = "Locality, by token"
    formula = "share of the answer's places where the argmax is what it was before the edit"
    source = "EasyEdit's definition (Wang et al. 2024)"
    note = "Right or wrong does not matter; zsRE's papers count the true answer (neighborhood_acc)."
    default_for = ("zsre:easyedit", "counterfact:easyedit", "knowedit:easyedit")

    def judged(self, kept: Sequence[bool]) -> float:
        return sum(kept) / len(kept)
