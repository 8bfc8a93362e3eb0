"""Success as CounterFact defines it: which of two targets is more likely."""

from __future__ import annotations

from .judgments import LikelihoodSuccess
from .prompt_metric import PromptMetric
from .prompt_sets import neighborhood, paraphrase, rewrite


class _LikelihoodMetric(PromptMetric):
    source = "Meng et al. 2022 (ROME), section 3.4; Fang et al. 2025 (AlphaEdit), appendix"
    note = (
        "Compares two targets; the model may generate neither (see the accuracy metrics). "
        "NLL is the mean over the target's tokens."
    )
    default_for = ("counterfact:paper",)
    judgment = LikelihoodSuccess()


class Efficacy(_LikelihoodMetric):
    """New target more likely than the true one after the rewrite prompt."""

    name = "efficacy"
    title = "Efficacy"
    formula = "NLL(new target) < NLL(true target) after the rewrite prompt"
    needs = "a fact with a true target"
    prompts = staticmethod(rewrite)


class Generalization(_LikelihoodMetric):
    """New target more likely than the true one after paraphrases."""

    name = "generalization"
    title = "Generalization"
    formula = "NLL(new target) < NLL(true target) after each paraphrase"
    needs = "paraphrases of a fact with a true target"
    prompts = staticmethod(paraphrase)


class Specificity(_LikelihoodMetric):
    """True target more likely than the new one after neighborhood prompts."""

    name = "specificity"
    title = "Specificity"
    formula = "NLL(true target) < NLL(new target) after each neighborhood prompt"
    needs = "neighbors of a fact with a true target"
    prompts = staticmethod(neighborhood)
