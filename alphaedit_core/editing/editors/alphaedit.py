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
    """Hyperparameters of AlphaEdit."""

    lambda_fields: ClassVar[tuple[str, ...]] = ("ridge",)

    editor: Text = "alphaedit"
    """Editing method that solves for the weight update."""
    projection: Switch = True
    """Project the update onto the null space."""
    previous_keys: Switch = True
    """Protect previous facts (the term ``K_p K_p^T``)."""
    ridge: Positive = 10.0
    """Ridge lambda in Eq. 14, where the paper has 1; ``L2`` in the released code."""


class AlphaEdit(Editor[AlphaEditConfig]):
    """``dW = R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1`` (Fang et al. 2025, Eq. 14).

    In the closed form of :mod:`alphaedit_core.editing.editors.base`: ``G = P`` and ``mu = lambda``.
    """

    name = "alphaedit"
    about = (
        "Writes only into directions that ordinary text hardly uses, and protects previous facts."
    )
    source = "Fang et al. 2025, Eq. 14"
    config = AlphaEditConfig
    weight = "ridge"
    projection: ClassVar[bool] = True
    previous_keys: ClassVar[bool | None] = True

    def preconditioner(
        self, eigenspace: LayerEigenspace, hyperparameters: AlphaEditConfig
    ) -> Preconditioner:
        """Return ``G = P``, or ``G = I`` with the projection off."""
        if not hyperparameters.projection:
            return eigenspace.identity()
        return eigenspace.projector(hyperparameters.threshold)

    def update(self, inputs: LayerInputs[AlphaEditConfig]) -> WeightUpdate:
        """Write an equal share of the residual, ``R / layers_left``."""
        residual = inputs.residual / inputs.layers_left  # R, (d_out, n)
        return inputs.closed_form(residual, mu=inputs.hyperparameters.ridge)
