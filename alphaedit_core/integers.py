"""Whole numbers as callers give them: Python's own, or those of NumPy and PyTorch."""

from __future__ import annotations

import operator


def as_integer(value: object) -> int | None:
    """``value`` as an ``int``; None if it is not a whole number by type (a bool is not one).

    ``3``, ``numpy.int64(3)`` and ``torch.tensor(3)`` are; ``3.0`` and ``"3"`` are not.
    """
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None
