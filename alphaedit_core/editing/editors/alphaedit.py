"""AlphaEdit: null-space constrained editing (Fang et al., ICLR 2025, Eq. 14)."""

from __future__ import annotations

from typing import ClassVar

from alphaedit_core.editing.closed_form import Preconditioner, closed_form
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.editing.weight_updates import WeightUpdate
from alphaedit_core.nullspace.eigenspace import LayerEigenspace

from .base import Editor, LayerInputs


class AlphaEdit(Editor):
    """``dW = R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1``."""

    name = "alphaedit"
    about = (
        "Writes only into directions that ordinary text hardly uses, and spares the facts written "
        "before."
    )
    source = "Fang et al. 2025, Eq. 14"
    weight = "ridge"
    projection: ClassVar[bool] = True
    previous_keys: ClassVar[bool | None] = True

    def preconditioner(
        self, eigenspace: LayerEigenspace, hyperparameters: HyperParameters
    ) -> Preconditioner:
        """G = P, or I where the projection is off: C plays no part but for P."""
        kept = hyperparameters.threshold
        return eigenspace.projector(kept) if hyperparameters.projection else eigenspace.identity()

    def update(self, inputs: LayerInputs) -> WeightUpdate:
        """The residual is shared alike by the layers that are left."""
        residual = inputs.residual / inputs.layers_left
        return closed_form(
            keys=inputs.keys,
            residual=residual,
            preconditioner=inputs.preconditioner,
            mu=inputs.hyperparameters.ridge,
            previous=inputs.previous,
        )
