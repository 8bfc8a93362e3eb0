"""CounterFact's metrics of a list of facts (Meng et al. 2022, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record
from alphaedit_core.evaluation.metrics.exact_match import EfficacyAccuracy
from alphaedit_core.evaluation.metrics.likelihood_success import (
    Efficacy,
    Generalization,
    Specificity,
)
from alphaedit_core.inference.scoring import perplexity
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor

from .evaluate import evaluate

#: All but perplexity.
METRICS = (Efficacy, Generalization, Specificity, EfficacyAccuracy)


@dataclass(frozen=True)
class Measures:
    """CounterFact's metrics; all but perplexity are means over the facts, times 100.

    A target is more likely if the mean negative log-likelihood of its tokens is lower. A metric is
    None if no fact has the prompts that it needs.

    Attributes:
        efficacy: the new target is more likely after the prompt. Higher is better.
        generalization: the same after paraphrases, mean within a fact. Higher is better.
        specificity: the true target is more likely after neighborhood prompts. Higher is better.
        exact: every token of the new target is the argmax after the prompt. Higher is better.
        perplexity: of running text, see :func:`~.scoring.perplexity`. Lower is better.
    """

    efficacy: float | None
    generalization: float | None
    specificity: float | None
    exact: float
    perplexity: float | None = None


def counterfact_scores(
    model: EditableModel,
    facts: Sequence[Fact],
    text: str | None = None,
    monitor: Monitor | None = None,
) -> Measures:
    """Measure a model with its current weights.

    Args:
        model: the model.
        facts: at least one; facts without a true target count only for ``exact``.
        text: running text for perplexity; None to skip it.
        monitor: reports progress, and cancels.

    Raises:
        Canceled: if canceled.
    """
    records = [Record("facts", f"fact {n}", (fact,)) for n, fact in enumerate(facts, 1)]
    evaluation = evaluate(model, records, METRICS, monitor)
    text_perplexity = None if text is None else perplexity(model, text, monitor)
    return Measures(
        evaluation[Efficacy.name].mean,
        evaluation[Generalization.name].mean,
        evaluation[Specificity.name].mean,
        evaluation[EfficacyAccuracy.name].mean or 0.0,
        text_perplexity,
    )
