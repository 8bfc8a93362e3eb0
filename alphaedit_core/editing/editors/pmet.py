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
    """PMET's own numbers: MEMIT's."""

    editor: Text = "pmet"
    """What solves for the change of a weight."""


class Pmet(Editor[PmetConfig]):
    """MEMIT's solve for a value searched with attention's help; later layers carry more.

    The search moves the attention's and the MLP's output of the last edited block together; only
    what is to come out of the MLP is written.
    """

    name = "pmet"
    about = (
        "MEMIT with a search that lets the attention help, and a larger share of the change in the "
        "early layers."
    )
    source = "Li et al. 2024, Eq. 13 to 15"
    departures: ClassVar[tuple[str, ...]] = (
        "The likelihood keeps its weight in the loss; the released code takes a tenth of it in the "
        "next step whenever every token of the target is the likeliest.",
        "The search stops at a loss under loss_stop alone; the released code also stops as soon as "
        "the target is the likeliest and the KL term is at most 0.01.",
    )
    config = PmetConfig
    weight = "covariance_weight"
    place: ClassVar[Place | None] = "attention and mlp"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of GPT-J: a weight on C of 6,000 where MEMIT has 15,000."""
        weight = 0.4 * preset["covariance_weight"]
        return {
            "target_steps": 30,
            "target_learning_rate": 0.2,
            "kl_factor": 1.0,
            "covariance_weight": weight,
        }

    def update(self, inputs: LayerInputs[PmetConfig]) -> LowRank:
        """Each layer writes the residual over the root of the number of layers that are left."""
        residual = inputs.residual / sqrt(inputs.layers_left)
        return inputs.closed_form(residual, mu=inputs.hyperparameters.covariance_weight)
