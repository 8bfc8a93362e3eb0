"""PMET: precise model editing in a transformer (Li et al., AAAI 2024, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

from alphaedit_core.editing.closed_form import closed_form
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.editing.target_rows import Place
from alphaedit_core.editing.weight_updates import LowRank

from .base import Editor, LayerInputs


class Pmet(Editor):
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
    weight = "covariance_weight"
    place: ClassVar[Place | None] = "attention and mlp"

    @classmethod
    def settings(cls, preset: HyperParameters) -> Mapping[str, Any]:
        """Of GPT-J: a weight on C of 6,000 where MEMIT has 15,000."""
        weight = 0.4 * preset.covariance_weight
        return {"steps": 30, "learning_rate": 0.2, "kl_factor": 1.0, "covariance_weight": weight}

    def update(self, inputs: LayerInputs) -> LowRank:
        """Each layer writes the residual over the root of the number of layers that are left."""
        residual = inputs.residual / sqrt(inputs.layers_left)
        weight = inputs.hyperparameters.covariance_weight
        return closed_form(
            keys=inputs.keys,
            residual=residual,
            preconditioner=inputs.preconditioner,
            mu=weight,
            previous=inputs.previous,
        )
