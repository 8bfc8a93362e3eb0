"""MEMIT: mass-editing memory in a transformer (Meng et al., ICLR 2023, Eq. 14)."""

from __future__ import annotations

from alphaedit_core.editing.closed_form import closed_form
from alphaedit_core.editing.weight_updates import LowRank

from .base import Editor, LayerInputs


class Memit(Editor):
    """``dW = R K^T (lambda C + K K^T)^-1``, that is G = C^-1 and mu = lambda."""

    name = "memit"
    about = (
        "Spares ordinary text in proportion to how much it uses a direction, weighed by one number."
    )
    source = "Meng et al. 2023, Eq. 14"
    weight = "covariance_weight"

    def update(self, inputs: LayerInputs) -> LowRank:
        """The residual is shared alike by the layers that are left."""
        residual = inputs.residual / inputs.layers_left
        weight = inputs.hyperparameters.covariance_weight
        return closed_form(
            keys=inputs.keys,
            residual=residual,
            preconditioner=inputs.preconditioner,
            mu=weight,
            previous=inputs.previous,
        )
