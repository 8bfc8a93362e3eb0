"""Numbers about one layer's update; without torch, so that a session can be listed fast."""

from __future__ import annotations

import math
from dataclasses import dataclass

SKETCH_LENGTH = 8
"""Numbers of a sketch, see :mod:`.update_sketches`."""


def relative(change: float, original: float) -> float:
    """A change's norm as a multiple of the original's; infinite where that is all zeros."""
    return 0.0 if change == 0 else change / original if original else math.inf


@dataclass(frozen=True)
class LayerWrite:
    """What one layer wrote for one batch.

    Attributes:
        layer: index of the block.
        update_norm: Frobenius norm of the change of the weight; of PRUNE, before pruning.
        unprojected_norm: the norm that the same keys and residuals would have given with no
            projection and no earlier keys; of an editor that trains, the norm of what it did.
        surviving_norm: the norm that would be left of that update if it were projected afterwards.
        weight_norm: norm of the original weight.
        key_norm: norm of each fact's key, n numbers.
        kept: share of each key's squared norm that survives the projection, n numbers.
        residual: norm of what each output still lacked before this layer wrote, n numbers; none
            where nothing was searched for.
    """

    layer: int
    update_norm: float
    unprojected_norm: float
    surviving_norm: float
    weight_norm: float
    key_norm: list[float]
    kept: list[float]
    residual: list[float]

    @property
    def relative(self) -> float:
        """``update_norm`` as a multiple of ``weight_norm``; infinite where the weight was zero."""
        return relative(self.update_norm, self.weight_norm)

    @property
    def unprojected_relative(self) -> float:
        """``unprojected_norm`` as a multiple of ``weight_norm``."""
        return relative(self.unprojected_norm, self.weight_norm)
