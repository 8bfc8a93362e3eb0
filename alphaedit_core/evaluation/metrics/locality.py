"""Locality: whether answers are the same as those of the unedited model."""

from __future__ import annotations

from .judgments import UnchangedTarget, UnchangedTokens
from .prompt_metric import PromptMetric
from .prompt_sets import locality

_NEEDS = "neighbors or locality questions with an answer"


class Locality(PromptMetric):
    """Whole answers unchanged."""

    name = "locality"
    title = "Locality"
    formula = "the argmax at every position of the answer is the same as before the edit"
    source = "Yao et al. 2023, section 2; Zhang et al. 2024 (KnowEdit), section 4"
    note = "Counts unchanged answers, right or wrong."
    needs = _NEEDS
    default_for = ("knowedit:paper",)
    prompts = staticmethod(locality)
    judgment = UnchangedTarget()


class LocalityTokens(PromptMetric):
    """Tokens of the answers unchanged."""

    name = "locality_acc"
    title = "Locality, by token"
    formula = "share of the answer's positions whose argmax is the same as before the edit"
    source = "EasyEdit's definition (Wang et al. 2024)"
    note = (
        "Counts unchanged tokens, right or wrong; zsRE's papers count the true answer "
        "(neighborhood_acc)."
    )
    needs = _NEEDS
    default_for = ("zsre:easyedit", "counterfact:easyedit", "knowedit:easyedit")
    prompts = staticmethod(locality)
    judgment = UnchangedTokens()
