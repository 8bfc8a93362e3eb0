"""The machine that the benchmarks run on, and its peak rate."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
import transformers


@dataclass(frozen=True)
class Machine:
    """What the figures depend on.

    Attributes:
        processor: its name.
        cores: logical cores that this process may use.
        memory: bytes.
        threads: threads that torch uses.
        peak: GFLOP/s of a large float32 matrix product.
        peak_double: the same in float64.
    """

    processor: str
    cores: int
    memory: int
    threads: int
    peak: float
    peak_double: float

    def share(self, rate: float) -> str:
        """Return a float32 rate in GFLOP/s as a share of the peak."""
        return f"{rate / self.peak:.0%}"

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory / 2**30:.0f} GiB memory, "
            f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__} "
            f"with {self.threads} threads, transformers {transformers.__version__}; a large matrix "
            f"product reaches {self.peak:.0f} GFLOP/s in float32, {self.peak_double:.0f} in float64"
        )


def this_machine(size: int = 2048) -> Machine:
    """Measure this machine; the peak takes a few seconds.

    Args:
        size: side of the matrices that the peak is measured with.
    """
    return Machine(
        _processor(),
        _cores(),
        psutil.virtual_memory().total,
        torch.get_num_threads(),
        _peak(size, torch.float32),
        _peak(size, torch.float64),
    )


def _peak(size: int, dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest of some square products."""
    a, b = torch.randn(2, size, size, dtype=dtype)
    out = torch.empty_like(a)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    # platform.processor() knows no more than "x86_64" on Linux.
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
