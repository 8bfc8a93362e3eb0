"""Integers from Python, NumPy or PyTorch."""

from __future__ import annotations

import operator


def as_integer(value: object) -> int | None:
    """Return ``value`` as an ``int``; None if its type is not an integer type.

    ``3``, ``numpy.int64(3)`` and ``torch.tensor(3)`` are integers, but not ``True``, ``3.0`` or
    ``"3"``.
    """
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None
