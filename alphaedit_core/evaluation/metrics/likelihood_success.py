"""Success as CounterFact counts it: which of two targets is the likelier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, LikelihoodQuery, Query

from .base import Metric, percent, scores

_SOURCE = "Meng et al. 2022 (ROME), section 3.4; Fang et al. 2025 (AlphaEdit), appendix"
_NOTE = (
    "Says which of the two is likelier, not that the model says it: see the accuracy beside it. "
    "NLL is the mean over the target's tokens."
)


class _Likelier(Metric):
    """A prompt counts where the wanted target is likelier than the other one."""

    source = _SOURCE
    note = _NOTE

    @abstractmethod
    def compared(self, record: Record) -> list[tuple[str, str, str]]:
        """Prompts with the wanted target and the other."""

    def queries(self, record: Record) -> list[Query]:
        return [
            LikelihoodQuery(prompt, target)
            for prompt, *targets in self.compared(record)
            for target in targets
        ]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        nlls = [score.nll for score in scores(answers)]
        return percent([a < b for a, b in zip(nlls[::2], nlls[1::2], strict=True)])


class Efficacy(_Likelier):
    """After the prompt of the edit."""

    name = "efficacy"
    title = "Efficacy"
    formula = "NLL(new target) < NLL(true target) after the rewrite prompt"
    needs = "a fact with a true target"
    default_for = ("counterfact:paper",)

    def compared(self, record: Record) -> list[tuple[str, str, str]]:
        return [(f.text, f.target, f.target_true) for f in record.facts if f.target_true]


class Generalization(_Likelier):
    """After paraphrases."""

    name = "generalization"
    title = "Generalization"
    formula = "NLL(new target) < NLL(true target) after each paraphrase"
    needs = "paraphrases of a fact with a true target"
    default_for = ("counterfact:paper",)

    def compared(self, record: Record) -> list[tuple[str, str, str]]:
        return [
            (prompt, fact.target, fact.target_true)
            for fact in record.facts
            if fact.target_true
            for prompt in fact.paraphrases
        ]


class Specificity(_Likelier):
    """After prompts about neighbors, for which the true target stays right."""

    name = "specificity"
    title = "Specificity"
    formula = "NLL(true target) < NLL(new target) after each neighborhood prompt"
    needs = "neighbors of a fact with a true target"
    default_for = ("counterfact:paper",)

    def compared(self, record: Record) -> list[tuple[str, str, str]]:
        return [
            (prompt, fact.target_true, fact.target)
            for fact in record.facts
            if fact.target_true
            for prompt in fact.neighbors
        ]
