"""A few numbers of each change of a weight that tell later how far a matrix is from it.

A digest says whether two matrices are equal and nothing else: sums are rounded otherwise on another
machine, and every digest then differs, as it does where somebody changed the edits. So with each
edit ``u_i^T dW v_i`` is kept for eight pairs of fixed random vectors of signs. For two changes the
differences of these numbers have mean 0 and the variance ``|dW - dW'|^2`` (Frobenius; Girard 1989,
Hutchinson 1990 for the trace), so their root mean square estimates how far apart the two are.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .layer_write import SKETCH_LENGTH
from .weight_updates import in_float64

_CHUNK = 1024


def sketch(weight: Tensor, original: Tensor) -> list[float]:
    """Numbers of ``weight - original``.

    Args:
        weight: (d_out, d_in), before it is rounded to the model's dtype.
        original: the same shape.

    Returns:
        Eight numbers in the unit of the weights, the same on every machine but for rounding.
    """
    rows, columns = weight.shape
    left, right = _signs(rows, "left").to(weight.device), _signs(columns, "right")
    right = in_float64(right.to(weight.device))
    total = in_float64(weight[:0, :1]).new_zeros(SKETCH_LENGTH)
    for top in range(0, rows, _CHUNK):
        part = slice(top, top + _CHUNK)
        change = in_float64(weight[part]) - in_float64(original[part])
        total += (in_float64(left[part]) * (change @ right)).sum(dim=0)
    return [float(value) for value in total]


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Estimate of how far apart two changes are, from their sketches: Frobenius norm."""
    squares = [(a - b) ** 2 for a, b in zip(one, other, strict=True)]
    return math.sqrt(sum(squares) / len(squares))


def _signs(length: int, side: str) -> Tensor:
    """Signs (length, 8), float32; drawn by Python, whose generator is the same everywhere."""
    draw = random.Random(f"{side} {length}")
    drawn = np.frombuffer(draw.randbytes(SKETCH_LENGTH * length), np.uint8).reshape(
        SKETCH_LENGTH, length
    )
    return torch.from_numpy(2.0 * (drawn.T & 1) - 1).float()
