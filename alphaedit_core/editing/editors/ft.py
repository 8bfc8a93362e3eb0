"""FT and FT-L: fine-tuning of one layer's down-projection (Zhu et al. 2020; Meng et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.config_fields import Positive, Text, config

from .base import FineTuner

if TYPE_CHECKING:  # the editors are listed without torch
    from torch import Tensor

    from alphaedit_core.nullspace.projectors import Projector


@config
class FtConfig(EditConfig):
    """Hyperparameters of FT."""

    editor: Text = "ft"
    """Editing method that solves for the weight update."""
    ft_learning_rate: Positive = 5e-4
    """Learning rate of Adam on the weight."""


@config
class FtLConfig(FtConfig):
    """Hyperparameters of FT-L."""

    editor: Text = "ft-l"
    """Editing method that solves for the weight update."""
    ft_max_change: Positive = 5e-4
    """Largest change of any entry of the weight within a batch."""


class Ft(FineTuner[FtConfig]):
    """Adam on W with the loss ``-log p(target)``, averaged over the facts."""

    name = "ft"
    about = "Fine-tunes one layer on the facts and protects nothing else."
    source = "Meng et al. 2022, appendix E.1"
    departures: ClassVar[tuple[str, ...]] = (
        "Each step uses all facts of the batch; the released code takes a step per 64 facts.",
        "Each token of the target is scored after the tokens before it; the released code scores "
        "all of them at the last position of the prompt.",
    )
    config: ClassVar[type[EditConfig]] = FtConfig
    preset: ClassVar[str] = "ft"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return 25 steps and the released code's stop at a loss of 0.01, for all models."""
        return {"target_steps": 25, "loss_stop": 0.01}

    def constrain(self, change: Tensor, projector: Projector, hyperparameters: FtConfig) -> Tensor:
        """Project the change if the projection is on; Adam would rescale a projected gradient."""
        return projector(change.T).T if hyperparameters.projection else change


class FtL(Ft):
    """FT with every entry of W kept within ``ft_max_change`` of its value before the batch."""

    name = "ft-l"
    about = "Fine-tunes one layer on the facts; a batch changes no entry by more than a bound."
    source = "Zhu et al. 2020, Eq. 5; Meng et al. 2022, appendix E.1"
    config = FtLConfig
    preset: ClassVar[str] = "ft-l"

    def constrain(self, change: Tensor, projector: Projector, hyperparameters: FtConfig) -> Tensor:
        """Clamp the change, then project it if the projection is on."""
        assert isinstance(hyperparameters, FtLConfig)
        bound = hyperparameters.ft_max_change
        return super().constrain(change.clamp(-bound, bound), projector, hyperparameters)
