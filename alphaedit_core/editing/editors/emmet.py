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
    """EMMET's own numbers."""

    editor: Text = "emmet"
    """What solves for the change of a weight."""
    emmet_lambda: Positive = 0.1
    """mu, in units of the weight on C; with 1 it is MEMIT."""


class Emmet(Editor[EmmetConfig]):
    """``dW = R (K^T C^-1 K + mu I)^-1 K^T C^-1``: ROME's equality for many facts at once.

    C is scaled by MEMIT's weight, so mu counts in units of it: with ``emmet_lambda`` = 1 this is
    MEMIT.
    """

    name = "emmet"
    about = "Asks for every fact exactly, as ROME does for one, and only then spares ordinary text."
    source = "Gupta et al. 2024, Eq. 9"
    departures: ClassVar[tuple[str, ...]] = (
        "The weight on C is that of MEMIT in the model's preset (20,000 for GPT-2 XL, 15,000 for "
        "GPT-J); the authors' settings have 1,000 and 1, EasyEdit's 10,000 and 100,000.",
        "mu is added for a single fact, too; the released code adds it to two or more only.",
    )
    config = EmmetConfig
    weight = "covariance_weight"
    preset = "emmet"

    def update(self, inputs: LayerInputs[EmmetConfig]) -> LowRank:
        """The residual is shared alike by the layers that are left; as published there is one."""
        residual = inputs.residual / inputs.layers_left
        hp = inputs.hyperparameters
        mu = hp.emmet_lambda * hp.covariance_weight
        return inputs.closed_form(residual, mu=mu)
