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
    """ROME has no number of its own."""

    editor: Text = "rome"
    """What solves for the change of a weight."""


class Rome(Editor[RomeConfig]):
    """``dW = ((v* - W k_b) / (k_b^T u)) u^T`` with ``u = C^-1 k``, one fact at a time.

    As in the released code, u is of k, the mean over the prompts with and without contexts, but the
    rest of the bare prompt's key k_b. (There are twenty contexts there, and as many as
    ``contexts`` says here; without any this is R-ROME.)
    """

    name = "rome"
    about = "Writes one fact at a time, exactly, into one layer."
    source = "Meng et al. 2022, Eq. 2"
    departures: ClassVar[tuple[str, ...]] = (
        "u is C^-1 k for every model; what was released with AlphaEdit leaves C out for Llama-3.",
        "There are as many contexts as contexts says; the released code has 20.",
    )
    config: ClassVar[type[EditConfig]] = RomeConfig
    preset = "rome"
    previous_keys: ClassVar[bool | None] = None
    one_layer: ClassVar[bool] = True
    at_once = 1
    place: ClassVar[Place | None] = "mlp"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of the released GPT-2 XL and GPT-J."""
        return {"target_steps": 20, "target_learning_rate": 0.5, "clamp_norm_factor": 4.0}

    def update(self, inputs: LayerInputs[RomeConfig]) -> LowRank:
        """The residual is v* - W k_b: the search starts from what the bare prompt gives."""
        return rank_one(inputs, inputs.mean_keys, inputs.prompt_keys, inputs.residual)


class RRome(Rome):
    """ROME with the mean over the prompts as the one key in all places.

    That the released ROME mixes two keys is what makes single edits destroy a model.
    """

    name = "r-rome"
    about = "ROME with one and the same key in all places, which keeps single edits from exploding."
    source = "Gupta et al. 2024 (R-ROME), Eq. 3"

    def update(self, inputs: LayerInputs[RomeConfig]) -> LowRank:
        """v* - W k is what the bare prompt lacks, and what the mean key gives otherwise."""
        residual = inputs.residual + inputs.weight @ (inputs.prompt_keys - inputs.mean_keys)
        return rank_one(inputs, inputs.mean_keys, inputs.mean_keys, residual)


def rank_one(
    inputs: LayerInputs[RomeConfig], key: Tensor, asked: Tensor, residual: Tensor
) -> LowRank:
    """``(residual / (asked^T u)) u^T`` with ``u = G key``; all of one column."""
    from alphaedit_core.editing.weight_updates import LowRank

    u = inputs.preconditioner.sqrt_matmul_T(inputs.preconditioner.sqrt_matmul(key))
    return LowRank(residual / (asked * u).sum(dim=0), u)
