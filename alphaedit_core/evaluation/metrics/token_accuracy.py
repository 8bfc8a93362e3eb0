"""Token accuracy: the share of a target's tokens that are the argmax."""

from __future__ import annotations

from .judgments import TokenAccuracy
from .prompt_metric import PromptMetric
from .prompt_sets import locality, multi_hop, paraphrase, portability, rewrite

_ZSRE = "zsRE as Meng et al. 2023 (MEMIT) and Fang et al. 2025 (AlphaEdit) count it"
_EASYEDIT = "EasyEdit's definition (Wang et al. 2024)"
_NOTE = (
    "Teacher-forced. A target with half of its tokens right counts one half, so this is higher "
    "than the share of exact records."
)


class _TokenMetric(PromptMetric):
    note = _NOTE
    unit = "% of tokens, mean over prompts, then over records"
    judgment = TokenAccuracy()


class Rewrite(_TokenMetric):
    """Tokens of the new target after the rewrite prompt."""

    name = "rewrite_acc"
    title = "Rewrite accuracy, by token"
    formula = "share of the new target's tokens that are the argmax after the rewrite prompt"
    source = f"{_ZSRE} (efficacy); also {_EASYEDIT}"
    default_for = ("zsre", "counterfact:easyedit", "knowedit:easyedit", "mquake:easyedit")
    prompts = staticmethod(rewrite)


class Rephrase(_TokenMetric):
    """Tokens of the new target after paraphrases."""

    name = "rephrase_acc"
    title = "Rephrase accuracy, by token"
    formula = "share of the new target's tokens that are the argmax after each rephrased prompt"
    source = f"{_ZSRE} (generalization); also {_EASYEDIT}"
    needs = "paraphrases"
    default_for = ("zsre", "counterfact:easyedit", "knowedit:easyedit")
    prompts = staticmethod(paraphrase)


class Neighborhood(_TokenMetric):
    """Tokens of the true answer after locality questions."""

    name = "neighborhood_acc"
    title = "Locality accuracy, by token"
    formula = "share of the true answer's tokens that are the argmax after each locality question"
    source = f"{_ZSRE} (specificity)"
    needs = "neighbors or locality questions with an answer"
    note = (
        "Compares with the true answer, so an unedited model does not reach 100; EasyEdit compares "
        f"with the model's answer before the edit (locality_acc). {_NOTE}"
    )
    default_for = ("zsre:paper",)
    prompts = staticmethod(locality)


class PortabilityTokens(_TokenMetric):
    """Tokens of the answer to questions that follow from the new fact."""

    name = "portability_acc"
    title = "Portability, by token"
    formula = "share of the published answer's tokens that are the argmax after each question"
    source = _EASYEDIT
    needs = "questions of portability"
    default_for = ("knowedit:easyedit",)
    prompts = staticmethod(portability)


class MultiHopTokens(_TokenMetric):
    """Tokens of the answer to multi-hop questions."""

    name = "multi_hop_tokens"
    title = "Multi-hop accuracy, by token"
    formula = "share of the new answer's tokens that are the argmax, mean over the case's questions"
    source = "teacher-forced variant of Zhong et al. 2023 (MQuAKE), as editing toolkits count it"
    needs = "multi-hop questions"
    default_for = ("mquake",)
    prompts = staticmethod(multi_hop)
