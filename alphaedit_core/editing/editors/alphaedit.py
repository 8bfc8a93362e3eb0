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

    def metric(self, bases: LayerEigenspace, hyperparameters: HyperParameters) -> Preconditioner:
        """G = P, or I where the projection is off: C plays no part but for P."""
        kept = hyperparameters.threshold
        return bases.projector(kept) if hyperparameters.projection else bases.identity()

    def update(self, work: LayerInputs) -> WeightUpdate:
        """The residual is shared alike by the layers that are left."""
        residual = work.residual / work.layers_left
        return closed_form(
            work.keys, residual, work.metric, work.hyperparameters.ridge, work.earlier
        )
