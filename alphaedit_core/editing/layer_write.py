"""Norms of one layer's update; imports no torch, so that sessions are listed fast."""

from __future__ import annotations

import math
from dataclasses import dataclass

SKETCH_LENGTH = 8
"""Number of values in a sketch, see :mod:`.update_sketches`."""


def relative(change: float, original: float) -> float:
    """Return ``change / original`` for two norms; infinite if only ``original`` is 0."""
    return 0.0 if change == 0 else change / original if original else math.inf


@dataclass(frozen=True)
class LayerWrite:
    """Norms of one layer's update for one batch of n facts.

    Attributes:
        layer: index of the block.
        update_norm: Frobenius norm of the update; before pruning for PRUNE.
        unprojected_norm: Frobenius norm of the update from the same keys and residuals without
            projection and previous keys; ``update_norm`` for an editor that trains.
        surviving_norm: Frobenius norm of that unprojected update after projection.
        weight_norm: Frobenius norm of the original weight.
        key_norm: norm of each fact's key, n numbers.
        kept: fraction of each key's squared norm in the kept space, n numbers.
        residual: norm of ``z - h`` of each fact before this layer's update, n numbers; empty if no
            target was searched.
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
        """``update_norm / weight_norm``; infinite if the weight was zero."""
        return relative(self.update_norm, self.weight_norm)

    @property
    def unprojected_relative(self) -> float:
        """``unprojected_norm / weight_norm``; infinite if the weight was zero."""
        return relative(self.unprojected_norm, self.weight_norm)
