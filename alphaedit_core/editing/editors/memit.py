"""MEMIT: mass-editing memory in a transformer (Meng et al., ICLR 2023, Eq. 14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.config_fields import Positive, Text, config

from .base import Editor, LayerInputs

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.weight_updates import LowRank


@config
class MemitConfig(EditConfig):
    """Hyperparameters of MEMIT, shared by the editors built on it."""

    lambda_fields: ClassVar[tuple[str, ...]] = ("covariance_weight",)

    editor: Text = "memit"
    """Editing method that solves for the weight update."""
    covariance_weight: Positive = 15_000.0
    """Weight of ordinary text: lambda in ``lambda C`` (``mom2_update_weight``)."""


class Memit(Editor[MemitConfig]):
    """``dW = R K^T (lambda C + K K^T)^-1`` (Meng et al. 2023, Eq. 14).

    In the closed form of :mod:`alphaedit_core.editing.editors.base`: ``G = C^-1`` and
    ``mu = lambda``.
    """

    name = "memit"
    about = (
        "Protects each direction in proportion to how much ordinary text uses it, with one weight."
    )
    source = "Meng et al. 2023, Eq. 14"
    config: ClassVar[type[EditConfig]] = MemitConfig
    weight = "covariance_weight"

    def update(self, inputs: LayerInputs[MemitConfig]) -> LowRank:
        """Write an equal share of the residual, ``R / layers_left``."""
        residual = inputs.residual / inputs.layers_left  # R, (d_out, n)
        return inputs.closed_form(residual, mu=inputs.hyperparameters.covariance_weight)
