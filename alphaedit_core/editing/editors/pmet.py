"""PMET: precise model editing in a transformer (Li et al., AAAI 2024, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import TYPE_CHECKING, Any, ClassVar

from alphaedit_core.editing.config_fields import Text, config

from .base import Editor, LayerInputs
from .memit import MemitConfig

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.target_rows import Place
    from alphaedit_core.editing.weight_updates import LowRank


@config
class PmetConfig(MemitConfig):
    """Hyperparameters of PMET, the same as MEMIT's."""

    editor: Text = "pmet"
    """Editing method that solves for the weight update."""


class Pmet(Editor[PmetConfig]):
    """MEMIT's closed form for a target value that is searched jointly with the attention output.

    The search optimizes the attention and MLP outputs of the last edited block together; only the
    MLP's target is written (Li et al. 2024, section 4.1).
    """

    name = "pmet"
    about = (
        "MEMIT with a target search that also optimizes the attention output, and a larger share "
        "of the update in early layers."
    )
    source = "Li et al. 2024, Eq. 13 to 15"
    departures: ClassVar[tuple[str, ...]] = (
        "The weight of the likelihood in the loss is constant; the released code uses a tenth "
        "of it in each step after one at which every target token is the most likely.",
        "The search stops only at a loss below loss_stop; the released code also stops once the "
        "target is the most likely and the KL term is at most 0.01.",
    )
    config = PmetConfig
    weight = "covariance_weight"
    place: ClassVar[Place | None] = "attention and mlp"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the settings for GPT-J; its weight on C is 6,000, and MEMIT's 15,000."""
        weight = 0.4 * preset["covariance_weight"]
        return {
            "target_steps": 30,
            "target_learning_rate": 0.2,
            "kl_factor": 1.0,
            "covariance_weight": weight,
        }

    def update(self, inputs: LayerInputs[PmetConfig]) -> LowRank:
        """Write the residual over ``sqrt(layers_left)``."""
        residual = inputs.residual / sqrt(inputs.layers_left)
        return inputs.closed_form(residual, mu=inputs.hyperparameters.covariance_weight)
