"""Sketches of weight changes: a few numbers that estimate the distance of two changes.

A digest can only tell whether two matrices are equal, and rounding on another machine changes it
just as another edit would. So ``u_i^T dW v_i`` is stored with each edit for eight fixed pairs of
random sign vectors. For two changes, the differences of these numbers have mean 0 and variance
``|dW - dW'|^2`` (Frobenius; Girard 1989, Hutchinson 1990 for the trace). Their root mean square
therefore estimates the distance.
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

#: Number of rows converted to float64 at a time.
_CHUNK = 1024


def sketch(weight: Tensor, original: Tensor) -> list[float]:
    """Return the sketch of ``weight - original``.

    Args:
        weight: (d_out, d_in), before rounding to the model's dtype.
        original: (d_out, d_in).

    Returns:
        Eight numbers in the unit of the weights, equal on every machine up to rounding.
    """
    rows, columns = weight.shape
    left, right = _signs(rows, "left").to(weight.device), _signs(columns, "right")
    right = in_float64(right.to(weight.device))
    total = in_float64(weight[:0, :1]).new_zeros(SKETCH_LENGTH)
    for top in range(0, rows, _CHUNK):
        chunk = slice(top, top + _CHUNK)
        change = in_float64(weight[chunk]) - in_float64(original[chunk])
        total += (in_float64(left[chunk]) * (change @ right)).sum(dim=0)
    return [float(value) for value in total]


def apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Estimate the Frobenius distance of two changes from their sketches."""
    squares = [(a - b) ** 2 for a, b in zip(one, other, strict=True)]
    return math.sqrt(sum(squares) / len(squares))


def _signs(length: int, side: str) -> Tensor:
    """Return random signs (length, 8), float32, from Python's platform-independent generator."""
    generator = random.Random(f"{side} {length}")
    raw = np.frombuffer(generator.randbytes(SKETCH_LENGTH * length), np.uint8)
    return torch.from_numpy(2.0 * (raw.reshape(SKETCH_LENGTH, length).T & 1) - 1).float()
