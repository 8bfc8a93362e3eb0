"""AlphaEdit: null-space constrained editing (Fang et al., ICLR 2025, Eq. 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.config_fields import Positive, Switch, Text, config

from .base import Editor, LayerInputs

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.closed_form import Preconditioner
    from alphaedit_core.editing.weight_updates import WeightUpdate
    from alphaedit_core.nullspace.eigenspace import LayerEigenspace


@config
class AlphaEditConfig(EditConfig):
    """AlphaEdit's own numbers."""

    lambda_fields: ClassVar[tuple[str, ...]] = ("ridge",)

    editor: Text = "alphaedit"
    """What solves for the change of a weight."""
    projection: Switch = True
    """Whether the change stays inside the null space."""
    previous_keys: Switch = True
    """Whether the facts written before are spared (the term K_p K_p^T)."""
    ridge: Positive = 10.0
    """lambda in ``(lambda I + ...)``; ``L2`` in the released code, 1 in the paper's Eq. 14."""


class AlphaEdit(Editor[AlphaEditConfig]):
    """``dW = R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1``."""

    name = "alphaedit"
    about = (
        "Writes only into directions that ordinary text hardly uses, and spares the facts written "
        "before."
    )
    source = "Fang et al. 2025, Eq. 14"
    config = AlphaEditConfig
    weight = "ridge"
    projection: ClassVar[bool] = True
    previous_keys: ClassVar[bool | None] = True

    def preconditioner(
        self, eigenspace: LayerEigenspace, hyperparameters: AlphaEditConfig
    ) -> Preconditioner:
        """G = P, or I where the projection is off: C plays no part but for P."""
        kept = hyperparameters.threshold
        return eigenspace.projector(kept) if hyperparameters.projection else eigenspace.identity()

    def update(self, inputs: LayerInputs[AlphaEditConfig]) -> WeightUpdate:
        """The residual is shared alike by the layers that are left."""
        residual = inputs.residual / inputs.layers_left
        return inputs.closed_form(residual, mu=inputs.hyperparameters.ridge)
