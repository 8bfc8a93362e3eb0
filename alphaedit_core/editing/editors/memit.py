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
    """MEMIT's own numbers, which all editors over it share."""

    lambda_fields: ClassVar[tuple[str, ...]] = ("covariance_weight",)

    editor: Text = "memit"
    """What solves for the change of a weight."""
    covariance_weight: Positive = 15_000.0
    """Weight on C (``mom2_update_weight``)."""


class Memit(Editor[MemitConfig]):
    """``dW = R K^T (lambda C + K K^T)^-1``, that is G = C^-1 and mu = lambda."""

    name = "memit"
    about = (
        "Spares ordinary text in proportion to how much it uses a direction, weighed by one number."
    )
    source = "Meng et al. 2023, Eq. 14"
    config: ClassVar[type[EditConfig]] = MemitConfig
    weight = "covariance_weight"

    def update(self, inputs: LayerInputs[MemitConfig]) -> LowRank:
        """The residual is shared alike by the layers that are left."""
        residual = inputs.residual / inputs.layers_left
        return inputs.closed_form(residual, mu=inputs.hyperparameters.covariance_weight)
