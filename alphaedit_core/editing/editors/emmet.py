"""EMMET: equality-constrained mass model editing (Gupta et al., EMNLP 2024, Eq. 9)."""

from __future__ import annotations

from typing import ClassVar

from alphaedit_core.editing.closed_form import closed_form
from alphaedit_core.editing.weight_updates import LowRank

from .base import Editor, LayerInputs


class Emmet(Editor):
    """``dW = R (K^T C^-1 K + mu I)^-1 K^T C^-1``: ROME's equality for many facts at once.

    C is scaled by MEMIT's weight, so mu counts in units of it: with ``emmet_weight`` = 1 this is
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
    weight = "covariance_weight"
    preset = "emmet"

    def update(self, inputs: LayerInputs) -> LowRank:
        """The residual is shared alike by the layers that are left; as published there is one."""
        residual = inputs.residual / inputs.layers_left
        hp = inputs.hyperparameters
        mu = hp.emmet_weight * hp.covariance_weight
        return closed_form(
            keys=inputs.keys,
            residual=residual,
            preconditioner=inputs.preconditioner,
            mu=mu,
            previous=inputs.previous,
        )
