"""ROME: rank-one model editing (Meng et al. 2022, Eq. 2), and R-ROME (Gupta et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.config_fields import Text, config

from .base import Editor, LayerInputs

if TYPE_CHECKING:  # the editors are listed without torch
    from torch import Tensor

    from alphaedit_core.editing.target_rows import Place
    from alphaedit_core.editing.weight_updates import LowRank


@config
class RomeConfig(EditConfig):
    """Hyperparameters of ROME: only the common ones."""

    editor: Text = "rome"
    """Editing method that solves for the weight update."""


class Rome(Editor[RomeConfig]):
    """``dW = ((v* - W k_b) / (k_b^T u)) u^T`` with ``u = C^-1 k`` (Meng et al. 2022, Eq. 2).

    Writes one fact at a time. As in the released code, u uses the mean key k over the prompts with
    and without contexts; the other factors use the bare prompt's key k_b. With ``contexts`` = 0
    the two keys are equal, and this is R-ROME.
    """

    name = "rome"
    about = "Writes one fact at a time, exactly, into one layer."
    source = "Meng et al. 2022, Eq. 2"
    departures: ClassVar[tuple[str, ...]] = (
        "u is C^-1 k for every model; the code released with AlphaEdit omits C for Llama-3.",
        "The field contexts sets the number of contexts; the released code uses 20.",
    )
    config: ClassVar[type[EditConfig]] = RomeConfig
    preset = "rome"
    previous_keys: ClassVar[bool | None] = None
    one_layer: ClassVar[bool] = True
    at_once = 1
    place: ClassVar[Place | None] = "mlp"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the released settings for GPT-2 XL and GPT-J."""
        return {"target_steps": 20, "target_learning_rate": 0.5, "clamp_norm_factor": 4.0}

    def update(self, inputs: LayerInputs[RomeConfig]) -> LowRank:
        """Return the rank-one update; the residual is ``v* - W k_b``, (d_out, 1)."""
        return rank_one(inputs, inputs.mean_keys, inputs.prompt_keys, inputs.residual)


class RRome(Rome):
    """``dW = ((v* - W k) / (k^T u)) u^T``: ROME with the mean key throughout.

    Single edits that destroy a model come from the two different keys in the released ROME (Gupta
    et al. 2024, R-ROME, Eq. 3).
    """

    name = "r-rome"
    about = "ROME with the same key throughout, which keeps single edits from exploding."
    source = "Gupta et al. 2024 (R-ROME), Eq. 3"

    def update(self, inputs: LayerInputs[RomeConfig]) -> LowRank:
        """Return the rank-one update with ``v* - W k = (v* - W k_b) + W (k_b - k)``."""
        residual = inputs.residual + inputs.weight @ (inputs.prompt_keys - inputs.mean_keys)
        return rank_one(inputs, inputs.mean_keys, inputs.mean_keys, residual)


def rank_one(
    inputs: LayerInputs[RomeConfig], key: Tensor, constrained: Tensor, residual: Tensor
) -> LowRank:
    """Return ``(residual / (constrained^T u)) u^T`` with ``u = G key``.

    Args:
        inputs: provide G.
        key: key of the update's direction, (d_in, 1).
        constrained: key at which the output moves by ``residual``, (d_in, 1).
        residual: (d_out, 1).
    """
    from alphaedit_core.editing.weight_updates import LowRank

    u = inputs.preconditioner.sqrt_matmul_T(inputs.preconditioner.sqrt_matmul(key))
    return LowRank(residual / (constrained * u).sum(dim=0), u)
