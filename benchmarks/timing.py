"""Seconds of a piece of work, with its result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return the result of ``work()`` and the wall-clock seconds it took."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def say(text: str) -> None:
    """Tell whoever waits what is being done, on the error stream."""
    print(text, file=sys.stderr, flush=True)
