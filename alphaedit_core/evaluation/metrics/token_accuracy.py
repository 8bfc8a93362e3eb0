"""Accuracy by tokens: which share of a target's tokens are the model's first choice."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, LikelihoodQuery, Query

from . import questions
from .base import Metric, percent, scores

_ZSRE = "zsRE as Meng et al. 2023 (MEMIT) and Fang et al. 2025 (AlphaEdit) count it"
_EASYEDIT = "EasyEdit's definition (Wang et al. 2024)"
_NOTE = (
    "Teacher-forced, and a target half of whose tokens are right counts one half: higher than the "
    "share of records that are right."
)


class _Tokens(Metric):
    """Share of tokens, mean over the prompts."""

    note = _NOTE
    unit = "% of tokens, mean over prompts, then over records"

    @abstractmethod
    def pairs(self, record: Record) -> list[questions.Pair]:
        """Prompts with their targets."""

    def queries(self, record: Record) -> list[Query]:
        return [LikelihoodQuery(prompt, target) for prompt, target in self.pairs(record)]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        return percent([score.correct or 0.0 for score in scores(answers)])


class Rewrite(_Tokens):
    """After the prompt of the edit."""

    name = "rewrite_acc"
    title = "Rewrite accuracy, by token"
    formula = "share of the new target's tokens that are the argmax after the rewrite prompt"
    source = f"{_ZSRE} (efficacy); also {_EASYEDIT}"
    default_for = ("zsre", "counterfact:easyedit", "knowedit:easyedit", "mquake:easyedit")

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.rewrites(record)


class Rephrase(_Tokens):
    """After paraphrases."""

    name = "rephrase_acc"
    title = "Rephrase accuracy, by token"
    formula = "share of the new target's tokens that are the argmax after each rephrased prompt"
    source = f"{_ZSRE} (generalization); also {_EASYEDIT}"
    needs = "paraphrases"
    default_for = ("zsre", "counterfact:easyedit", "knowedit:easyedit")

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.paraphrase_pairs(record)


class Neighborhood(_Tokens):
    """After questions that have nothing to do with the edit."""

    name = "neighborhood_acc"
    title = "Locality accuracy, by token"
    formula = "share of the true answer's tokens that are the argmax after each locality question"
    source = f"{_ZSRE} (specificity)"
    needs = "neighbors or locality questions with an answer"
    note = (
        "Against the true answer, so an unedited model has no 100 here; EasyEdit's locality is "
        f"against what the model said before (locality_acc). {_NOTE}"
    )
    default_for = ("zsre:paper",)

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.locality_pairs(record)


class PortabilityTokens(_Tokens):
    """After questions whose answers follow from the new fact."""

    name = "portability_acc"
    title = "Portability, by token"
    formula = "share of the published answer's tokens that are the argmax after each question"
    source = _EASYEDIT
    needs = "questions of portability"
    default_for = ("knowedit:easyedit",)

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.answered(record, "portability")


class MultiHopTokens(_Tokens):
    """After multi-hop questions."""

    name = "multi_hop_tokens"
    title = "Multi-hop accuracy, by token"
    formula = "share of the new answer's tokens that are the argmax, mean over the case's questions"
    source = "teacher-forced variant of Zhong et al. 2023 (MQuAKE), as editing toolkits count it"
    needs = "multi-hop questions"
    default_for = ("mquake",)

    def pairs(self, record: Record) -> list[questions.Pair]:
        return questions.answered(record, "multi-hop")
