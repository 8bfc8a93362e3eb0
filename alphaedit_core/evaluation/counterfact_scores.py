"""How well edits hold: CounterFact's measures, before and after (Meng et al. 2022, section 3.4)."""

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

#: What the measures are; the perplexity is measured by itself.
METRICS = (Efficacy, Generalization, Specificity, EfficacyAccuracy)


@dataclass(frozen=True)
class Measures:
    """What a model makes of facts, each but the perplexity a mean over the facts, times 100.

    A prompt counts if the mean negative log-likelihood of the wanted target's tokens is the smaller
    one. None where no fact has what the measure asks for.

    Attributes:
        efficacy: the new target is the likelier one after the prompt. Higher is better.
        generalization: the same after the paraphrases, mean within a fact. Higher is better.
        specificity: the true target is the likelier one after the neighbors. Higher is better.
        exact: every token of the new target is the model's first choice after the prompt. Higher is
            better.
        perplexity: of a running text, see :func:`~.scoring.perplexity`. Lower is better.
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
    """Measure a model as it stands.

    Args:
        model: the model.
        facts: at least one; facts without a true target count for ``exact`` alone.
        text: running text for the perplexity; None for none.
        monitor: what to report to.

    Raises:
        Canceled: if canceled.
    """
    records = [Record("facts", f"fact {n}", (fact,)) for n, fact in enumerate(facts, 1)]
    found = evaluate(model, records, METRICS, monitor)
    read = None if text is None else perplexity(model, text, monitor)
    return Measures(
        found[Efficacy.name].mean,
        found[Generalization.name].mean,
        found[Specificity.name].mean,
        found[EfficacyAccuracy.name].mean or 0.0,
        read,
    )
