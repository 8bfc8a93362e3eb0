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
    """What fine-tuning is set to."""

    editor: Text = "ft"
    """What solves for the change of a weight."""
    ft_learning_rate: Positive = 5e-4
    """Adam's step for the weight."""


@config
class FtLConfig(FtConfig):
    """FT-L's own numbers."""

    editor: Text = "ft-l"
    """What solves for the change of a weight."""
    ft_max_change: Positive = 5e-4
    """Furthest that an entry of the weight may move."""


class Ft(FineTuner[FtConfig]):
    """Adam on W with the loss ``-log p(target)``, mean over the facts."""

    name = "ft"
    about = "Trains one layer on the facts, without a thought for anything else."
    source = "Meng et al. 2022, appendix E.1"
    departures: ClassVar[tuple[str, ...]] = (
        "Each step is of all facts of the batch; the released code takes one for every 64 facts.",
        "Each token of the target is scored behind those before it; the released code scores all "
        "of them at the last position of the prompt.",
    )
    config: ClassVar[type[EditConfig]] = FtConfig
    preset: ClassVar[str] = "ft"

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """As published for all models; the released code stops at a loss of 0.01."""
        return {"target_steps": 25, "loss_stop": 0.01}

    def constrain(self, change: Tensor, projector: Projector, hyperparameters: FtConfig) -> Tensor:
        """Projected, if that is on: the step, not the gradient, which Adam would scale again."""
        return projector(change.T).T if hyperparameters.projection else change


class FtL(Ft):
    """The same with every entry held within ``ft_max_change`` of where the batch found it."""

    name = "ft-l"
    about = (
        "Trains one layer on the facts; in one batch no entry of it may move further than a bound."
    )
    source = "Zhu et al. 2020, Eq. 5; Meng et al. 2022, appendix E.1"
    config = FtLConfig
    preset: ClassVar[str] = "ft-l"

    def constrain(self, change: Tensor, projector: Projector, hyperparameters: FtConfig) -> Tensor:
        """Clamped, then projected."""
        assert isinstance(hyperparameters, FtLConfig)
        most = hyperparameters.ft_max_change
        return super().constrain(change.clamp(-most, most), projector, hyperparameters)
