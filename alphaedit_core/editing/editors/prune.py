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
    """Hyperparameters of PRUNE, the same as MEMIT's."""

    editor: Text = "prune"
    """Editing method that solves for the weight update."""


class Prune(Memit):
    """MEMIT with the large singular values of its *summed* updates reduced (Ma et al., Eq. 7).

    Later batches are solved on the unpruned sum. The final weight is the original weight plus the
    pruned sum. (The released comparison adds a pruned update on top of the unpruned one.)
    """

    name = "prune"
    about = "MEMIT with the large singular values of the summed updates reduced."
    source = "Ma et al. 2025, Eq. 7, over MEMIT"
    config = PruneConfig
    on_unpruned: ClassVar[bool] = True

    def update(self, inputs: LayerInputs[MemitConfig]) -> WeightUpdate:  # type: ignore[override]
        """Return MEMIT's update, unpruned.

        :func:`~alphaedit_core.editing.weight_updates.compose` prunes the sum of all updates.

        Raises:
            InputError: if the layer's original weight is all zeros.
        """
        import torch

        from alphaedit_core.editing.weight_updates import Pruned

        solved = super().update(inputs)
        largest = torch.tensor(inputs.max_singular_value(), dtype=torch.float64)
        if largest == 0:
            raise InputError(
                "editor prune: the weight of an edited layer is all zeros, so it has no singular "
                "value to compare with; give other layers or another editor"
            )
        return Pruned(solved.left, solved.right, largest)
