"""Accuracy: is every token of a target the model's first choice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, LikelihoodQuery, Query

from . import questions
from .base import Metric, percent, scores

_NOTE = (
    "Teacher-forced: each token is judged with the target's earlier tokens before it, whatever the "
    "model itself would have said there."
)


class _Exact(Metric):
    """A prompt counts where the whole target is what the model would choose."""

    note = _NOTE

    @abstractmethod
    def pairs(self, record: Record) -> list[questions.Pair]:
        """Prompts with their targets."""

    def queries(self, record: Record) -> list[Query]:
        return [LikelihoodQuery(prompt, target) for prompt, target in self.pairs(record)]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        return percent([score.exact for score in scores(answers)])


class EfficacyAccuracy(_Exact):
    """After the prompt of the edit."""

    name = "efficacy_accuracy"
    title = "Efficacy, accuracy"
    formula = "every token of the new target is the argmax after the rewrite prompt"
    source = "Yao et al. 2023, section 2 (reliability); KnowEdit's edit success, Zhang et al. 2024"
    default_for = ("counterfact:paper", "knowedit:paper", "mquake", "longform")

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.rewrites(record)


class GeneralizationAccuracy(_Exact):
    """After paraphrases."""

    name = "generalization_accuracy"
    title = "Generalization, accuracy"
    formula = "every token of the new target is the argmax after each paraphrase"
    source = "Yao et al. 2023, section 2 (generalization)"
    needs = "paraphrases"
    default_for = ("counterfact:paper", "longform")

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.paraphrase_pairs(record)


class SpecificityAccuracy(_Exact):
    """After prompts for which the true answer stays right."""

    name = "specificity_accuracy"
    title = "Specificity, accuracy"
    formula = "every token of the true target is the argmax after each neighborhood prompt"
    source = "AlphaEdit's and MEMIT's released evaluation (neighborhood_prompts_correct)"
    needs = "neighbors or locality questions with an answer"
    note = _NOTE + " Low for a model that did not know the answers before any edit, too."
    default_for = ("counterfact:paper",)

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.locality_pairs(record)
