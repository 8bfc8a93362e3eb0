"""EMMET: equality-constrained mass model editing (Gupta et al., EMNLP 2024, Eq. 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alphaedit_core.editing.config_fields import Positive, Text, config

from .base import Editor, LayerInputs
from .memit import MemitConfig

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.weight_updates import LowRank


@config
class EmmetConfig(MemitConfig):
    """Hyperparameters of EMMET."""

    editor: Text = "emmet"
    """Editing method that solves for the weight update."""
    emmet_lambda: Positive = 0.1
    """Ridge mu, in units of ``covariance_weight``; 1 gives MEMIT."""


class Emmet(Editor[EmmetConfig]):
    """``dW = R (K^T C^-1 K + mu I)^-1 K^T C^-1`` (Gupta et al. 2024, Eq. 9).

    ROME's equality constraint for a batch of facts: ``G = C^-1``. As C is scaled by
    ``covariance_weight``, ``mu = emmet_lambda * covariance_weight``.
    """

    name = "emmet"
    about = "Treats a batch as equality constraints, as ROME does one fact; text comes second."
    source = "Gupta et al. 2024, Eq. 9"
    departures: ClassVar[tuple[str, ...]] = (
        "The weight on C is MEMIT's in the model's preset (20,000 for GPT-2 XL, 15,000 for GPT-J); "
        "the authors use 1,000 and 1, EasyEdit 10,000 and 100,000.",
        "mu is also added for a single fact; the released code adds it only for two or more.",
    )
    config = EmmetConfig
    weight = "covariance_weight"
    preset = "emmet"

    def update(self, inputs: LayerInputs[EmmetConfig]) -> LowRank:
        """Write an equal share of the residual; the published method edits one layer."""
        residual = inputs.residual / inputs.layers_left
        hp = inputs.hyperparameters
        mu = hp.emmet_lambda * hp.covariance_weight
        return inputs.closed_form(residual, mu=mu)
