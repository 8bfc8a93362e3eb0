"""The score: one number for efficacy, generalization and specificity together."""

from __future__ import annotations

from collections.abc import Sequence

from .base import CompositeMetric


class HarmonicScore(CompositeMetric):
    """Low as soon as one of the three is."""

    name = "score"
    title = "Score"
    formula = "harmonic mean of the means of efficacy, generalization and specificity"
    source = "Meng et al. 2022 (ROME), section 3.4"
    unit = "%"
    note = "Made from the three means, so there is no value of a single record."
    default_for = ("counterfact:paper",)
    of = ("efficacy", "generalization", "specificity")

    def combine(self, means: Sequence[float]) -> float:
        return len(means) / sum(1 / mean for mean in means) if all(means) else 0.0
