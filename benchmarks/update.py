"""The update of one layer: a small symmetric system against the dense d_in x d_in one.

Each side runs in a process of its own (``python -m benchmarks.update SIDE CASE FILE``), so that
neither's memory is seen in the other's. Memory is the process's resident set while the update runs,
sampled every few milliseconds, beyond that of the projector and of the batch's keys and residuals,
which both sides are given: so it holds what is kept of earlier facts as well as what the update
needs for itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch
from torch import Tensor

from alphaedit_core.editing.closed_form import PreviousKeys, closed_form
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.storage.tensor_files import load_tensors, save_tensors

from .machine import Machine
from .report import Ratio, Report, figure
from .textbook import plain_update
from .timing import T, say, timed

WANTED = 20.0
#: Columns that both changes are multiplied with to compare them.
_PROBES = 16
_SAMPLE_SECONDS = 0.005
#: Side of the matrices that are solved before anything is measured.
_WARM_UP = 2048
#: Dense matrices of the plain side that are there at once, at its peak, with the projector.
_DENSE_MATRICES = 7


@dataclass(frozen=True)
class Case:
    """Sizes of the update.

    Attributes:
        d_in: width of the keys.
        d_out: width of the outputs.
        facts: facts of the batch.
        earlier: facts written before.
        ridge: lambda.
    """

    d_in: int = 14_336
    d_out: int = 4_096
    facts: int = 100
    earlier: int = 2_000
    ridge: float = 10.0

    @property
    def rank(self) -> int:
        """Directions kept: half, where the projector's basis is largest."""
        return self.d_in // 2


@dataclass(frozen=True)
class Measured:
    """What one side's process measured.

    Attributes:
        seconds: of the update, projection of the keys included.
        peak: bytes resident beyond projector, keys and residuals, at most, while it ran.
        state: bytes kept from batch to batch besides the projector.
        projector: bytes of the projector.
    """

    seconds: float
    peak: int
    state: int
    projector: int


def benchmark(machine: Machine, case: Case | None = None) -> Report:
    """Time and memory of one layer's update on both sides.

    Raises:
        AlphaEditError: if there is not enough memory for the dense side.
    """
    case = case or Case()
    needed = _DENSE_MATRICES * 4 * case.d_in**2
    if needed > (free := psutil.virtual_memory().available):
        raise AlphaEditError(
            f"benchmark update: the dense form at d_in {case.d_in} needs {needed / 1e9:.0f} GB, "
            f"{free / 1e9:.0f} GB are free; give a smaller --d-in"
        )
    results: dict[str, tuple[Measured, Tensor]] = {}
    for side in SIDES:
        say(f"update: {side} at d_in {case.d_in}")
        results[side] = _in_process(side, case)
    (library, change), (plain, plain_change) = results["library"], results["plain"]

    report = Report("update", "The update in closed form")
    difference = float((change - plain_change).norm() / change.norm())
    # The dense side solves in float32.
    report.check(f"updates (on {_PROBES} random columns)", difference, 1e-3)
    report.columns = (
        "", "seconds", "floor GFLOP", "GFLOP/s", "share of peak", "peak beyond projector MB",
        "kept MB", "projector MB",
    )  # fmt: skip
    for name, measured, operations, peak in (
        ("library, solved in float64", library, _least(case), machine.peak_double),
        ("dense, float32", plain, _dense(case), machine.peak),
    ):
        rate = operations / measured.seconds / 1e9
        megabytes = (measured.peak, measured.state, measured.projector)
        report.rows.append(
            (
                name, figure(measured.seconds), figure(operations / 1e9), figure(rate),
                f"{rate / peak:.0%}", *(figure(size / 1e6) for size in megabytes),
            )
        )  # fmt: skip
    report.ratios = [
        Ratio("time of the update", plain.seconds / library.seconds, WANTED),
        Ratio("memory beyond the projector", plain.peak / library.peak, WANTED),
        Ratio("memory of the projector", plain.projector / library.projector, 2.0),
    ]
    report.notes = [
        f"d_in {case.d_in:,}, d_out {case.d_out:,}, {case.facts} facts, {case.earlier:,} previous "
        f"facts, random keys, projector of rank {case.rank:,}, at which its basis is largest.",
        "Floor of the library: projection of the keys, their products with the previous keys, one "
        "Cholesky of that size with its triangular solves, and the thin factor. Of the dense form: "
        "its products and one LU.",
        f"Resident set of a fresh process, sampled every {_SAMPLE_SECONDS * 1000:.0f} ms.",
    ]
    return report


def _in_process(side: str, case: Case) -> tuple[Measured, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "change.safetensors"
        # glibc keeps freed memory for itself unless told that pieces of this size are the system's.
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.update", side, json.dumps(asdict(case)), str(file)],
            cwd=Path(__file__).parents[1],
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise AlphaEditError(f"benchmark update: the {side} side failed: {done.stderr[-2000:]}")
        return Measured(**json.loads(done.stdout)), load_tensors(file)[0]["change"]


def _library(case: Case) -> tuple[Measured, Tensor]:
    basis = _basis(case)
    projector = Projector(basis, kept=True)
    keys, residual = _new(case)
    at_start = _resident()
    earlier = PreviousKeys.none(case.d_in).append(projector(_earlier(case)))
    hp = AlphaEditConfig(layers=(0,), ridge=case.ridge)
    change, seconds, peak = _watched(
        lambda: closed_form(
            keys=keys, residual=residual, preconditioner=projector, mu=hp.ridge, previous=earlier
        )
    )
    state = earlier.columns.nbytes + earlier.gram.nbytes
    measured = Measured(seconds, peak - at_start, state, basis.nbytes)
    return measured, change.left @ (change.right.T @ _probes(case))


def _plain(case: Case) -> tuple[Measured, Tensor]:
    projector = _dense_projector(case)
    keys, residual = _new(case)
    at_start = _resident()
    earlier_keys = _earlier(case)
    earlier = earlier_keys @ earlier_keys.T
    del earlier_keys
    change, seconds, peak = _watched(
        lambda: plain_update(keys, residual, projector, case.ridge, earlier)
    )
    measured = Measured(seconds, peak - at_start, earlier.nbytes, projector.nbytes)
    return measured, change @ _probes(case)


SIDES = {"library": _library, "plain": _plain}


def _direction(case: Case) -> Tensor:
    """Return v of the reflection H = I - 2 v v^T, |v| = 1; the basis is H's first columns."""
    v = torch.randn(case.d_in, generator=torch.Generator().manual_seed(1))
    return v / v.norm()


def _basis(case: Case) -> Tensor:
    """Return an orthonormal basis without a decomposition, (d_in, rank)."""
    v = _direction(case)
    return torch.eye(case.d_in, case.rank).addr_(v, v[: case.rank], alpha=-2.0)


def _dense_projector(case: Case) -> Tensor:
    """Return the dense projector H D H, D being the identity on the first ``rank`` coordinates."""
    v = _direction(case)
    kept = v.clone()
    kept[case.rank :] = 0.0
    projector = torch.zeros(case.d_in, case.d_in)
    projector.diagonal()[: case.rank] = 1.0
    projector.addr_(v, kept, alpha=-2.0).addr_(kept, v, alpha=-2.0)
    return projector.addr_(v, v, alpha=4.0 * float(kept @ kept))


def _earlier(case: Case) -> Tensor:
    # Entries of this size give keys about as long as those of an 8B model.
    return 0.05 * torch.randn(case.d_in, case.earlier, generator=torch.Generator().manual_seed(2))


def _new(case: Case) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    keys = 0.05 * torch.randn(case.d_in, case.facts, generator=generator)
    return keys, torch.randn(case.d_out, case.facts, generator=generator)


def _probes(case: Case) -> Tensor:
    return torch.randn(case.d_in, _PROBES, generator=torch.Generator().manual_seed(4))


def _least(case: Case) -> float:
    d, m, n = case.d_in, case.earlier, case.facts
    projection = 4 * d * case.rank * n
    products = 2 * d * m * n + d * n * n
    solve = m**3 / 3 + 2 * m * m * n + m * n * n + n**3
    return projection + products + solve + 2 * d * (m + n) * n


def _dense(case: Case) -> float:
    d, n = case.d_in, case.facts
    products = 2 * d * d * n + 2 * d**3 + 2 * d * d * n + 2 * d * n * case.d_out
    return products + 2 / 3 * d**3 + 2 * d * d * case.d_out


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _watched(work: Callable[[], T]) -> tuple[T, float, int]:
    """Return the result and seconds of ``work()``, and its peak resident set in bytes."""
    most, over = _resident(), threading.Event()

    def watch() -> None:
        nonlocal most
        process = psutil.Process()
        while not over.is_set():
            most = max(most, process.memory_info().rss)
            time.sleep(_SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result, seconds = timed(work)
    finally:
        over.set()
        watcher.join()
    return result, seconds, max(most, _resident())


def _warm_up(size: int) -> None:
    """Let the linear algebra start its threads and take its buffers, which are no part of this."""
    for dtype in (torch.float32, torch.float64):
        a = torch.randn(size, size, dtype=dtype)
        system = a @ a.T + size * torch.eye(size, dtype=dtype)
        torch.linalg.cholesky(system)
        torch.linalg.solve(system, a)
        torch.linalg.solve_triangular(system, a, upper=True)


def main(side: str, case: str, file: str) -> None:
    """One side, in a process of its own: figures to the output, the change to a file."""
    sizes = Case(**json.loads(case))
    _warm_up(min(sizes.d_in, _WARM_UP))
    measured, change = SIDES[side](sizes)
    save_tensors(Path(file), {"change": change}, {})
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main(*sys.argv[1:])
