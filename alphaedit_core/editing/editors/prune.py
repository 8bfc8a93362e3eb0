"""PRUNE: perturbation restraint on the upper bound for editing (Ma et al., ICLR 2025, Eq. 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from alphaedit_core.editing.config_fields import Text, config
from alphaedit_core.errors import InputError

from .base import LayerInputs
from .memit import Memit, MemitConfig

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.weight_updates import WeightUpdate


@config
class PruneConfig(MemitConfig):
    """PRUNE's own numbers: MEMIT's."""

    editor: Text = "prune"
    """What solves for the change of a weight."""


class Prune(Memit):
    """MEMIT's updates, whose *sum* is added after its large singular values were brought down.

    Later batches are made on the sum as it is; what the model is left with is the original weight
    and the pruned sum. (The released comparison adds a pruned update on top of the unpruned one.)
    """

    name = "prune"
    about = "MEMIT, with the large singular values of all updates together brought down."
    source = "Ma et al. 2025, Eq. 7, over MEMIT"
    config = PruneConfig
    on_unpruned: ClassVar[bool] = True

    def update(self, inputs: LayerInputs[MemitConfig]) -> WeightUpdate:  # type: ignore[override]
        """MEMIT's update; :func:`~alphaedit_core.editing.weight_updates.compose` prunes the sum."""
        import torch

        from alphaedit_core.editing.weight_updates import Pruned

        solved = super().update(inputs)
        largest = torch.tensor(inputs.max_singular_value(), dtype=torch.float64)
        if largest == 0:
            raise InputError(
                "editor prune: the weight of an edited layer is all zeros, so it has no singular "
                "value to hold the change to; give other layers, or another editor"
            )
        return Pruned(solved.left, solved.right, largest)
