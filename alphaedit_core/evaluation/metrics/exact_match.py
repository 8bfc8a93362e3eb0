"""Accuracy: whether every token of a target is the argmax."""

from __future__ import annotations

from .judgments import ExactMatch, ExactMatchOfAny
from .prompt_metric import PromptMetric
from .prompt_sets import locality, paraphrase, portability, rewrite

_NOTE = (
    "Teacher-forced: each token is judged given the target's previous tokens, whatever the model "
    "itself would generate."
)


class _ExactMetric(PromptMetric):
    note = _NOTE
    judgment = ExactMatch()


class EfficacyAccuracy(_ExactMetric):
    """New target exact after the rewrite prompt."""

    name = "efficacy_accuracy"
    title = "Efficacy, accuracy"
    formula = "every token of the new target is the argmax after the rewrite prompt"
    source = "Yao et al. 2023, section 2 (reliability); KnowEdit's edit success, Zhang et al. 2024"
    default_for = ("counterfact:paper", "knowedit:paper", "mquake", "longform")
    prompts = staticmethod(rewrite)


class GeneralizationAccuracy(_ExactMetric):
    """New target exact after paraphrases."""

    name = "generalization_accuracy"
    title = "Generalization, accuracy"
    formula = "every token of the new target is the argmax after each paraphrase"
    source = "Yao et al. 2023, section 2 (generalization)"
    needs = "paraphrases"
    default_for = ("counterfact:paper", "longform")
    prompts = staticmethod(paraphrase)


class SpecificityAccuracy(_ExactMetric):
    """True answer exact after prompts about something else."""

    name = "specificity_accuracy"
    title = "Specificity, accuracy"
    formula = "every token of the true target is the argmax after each neighborhood prompt"
    source = "AlphaEdit's and MEMIT's released evaluation (neighborhood_prompts_correct)"
    needs = "neighbors or locality questions with an answer"
    note = f"{_NOTE} Also low for a model that did not know the answers before any edit."
    default_for = ("counterfact:paper",)
    prompts = staticmethod(locality)


class Portability(_ExactMetric):
    """An answer exact after questions that follow from the new fact."""

    name = "portability"
    title = "Portability"
    formula = "every token of the answer, or of one of its aliases, is the argmax after a question"
    source = "Yao et al. 2023; Zhang et al. 2024 (KnowEdit), section 4"
    note = "Teacher-forced. EasyEdit counts tokens of the published answer (portability_acc)."
    needs = "questions of portability"
    default_for = ("knowedit:paper",)
    prompts = staticmethod(portability)
    judgment = ExactMatchOfAny()
