"""The score: efficacy, generalization and specificity in one number."""

from __future__ import annotations

from collections.abc import Sequence

from typing_extensions import override

from .base import CompositeMetric


class HarmonicScore(CompositeMetric):
    """Harmonic mean; low if any of the three is low."""

    name = "score"
    title = "Score"
    formula = "harmonic mean of the means of efficacy, generalization and specificity"
    source = "Meng et al. 2022 (ROME), section 3.4"
    unit = "%"
    note = "Computed from the three means, so single records have no value."
    default_for = ("counterfact:paper",)
    of = ("efficacy", "generalization", "specificity")

    @override
    def combine(self, means: Sequence[float]) -> float:
        return len(means) / sum(1 / mean for mean in means) if all(means) else 0.0
