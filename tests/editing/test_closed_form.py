"""The small symmetric system, compared with the released code's large one in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alphaedit_core.editing.closed_form import PreviousKeys, ridge_update
from alphaedit_core.editing.weight_updates import LowRank
from alphaedit_core.nullspace.projectors import Projector


@dataclass
class Problem:
    """Keys K (d_in, n), earlier ones K_p (d_in, p), residuals R (d_out, n), projector, lambda."""

    new: Tensor
    previous: Tensor
    residual: Tensor
    projector: Projector
    ridge: float

    @property
    def dense(self) -> Tensor:
        """P as a matrix, (d_in, d_in)."""
        return self.projector(torch.eye(len(self.new), dtype=torch.float64))

    def textbook(self) -> Tensor:
        """dW = X^T with (P (K K^T + K_p K_p^T) + lambda I) X = P K R^T, by LU."""
        k, p, dense = self.new, self.previous, self.dense
        system = dense @ (k @ k.T + p @ p.T) + self.ridge * torch.eye(len(k), dtype=torch.float64)
        return torch.linalg.solve(system, dense @ k @ self.residual.T).T

    def update(self) -> LowRank:
        earlier = PreviousKeys.none(len(self.new)).append(self.projector(self.previous))
        return ridge_update(
            projected=self.projector(self.new),
            residual=self.residual,
            ridge=self.ridge,
            previous=earlier,
        )


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 32)))
    size = draw(st.integers(2, 24))
    n = draw(st.one_of(st.just(1), st.integers(1, 12), st.integers(25, 40)))
    earlier = draw(st.one_of(st.just(0), st.integers(1, 12), st.integers(25, 40)))
    k, p = normal(generator, size, n), normal(generator, size, earlier)
    if draw(st.booleans()):  # the same key several times, now and before
        k = k[:, torch.randint(n, (n,), generator=generator)]
        p = torch.cat([p, k[:, :1]], dim=1)
    basis = torch.linalg.qr(normal(generator, size, size)).Q
    kind = draw(st.sampled_from(["kept", "complement", "identity"]))
    if kind == "identity":
        projector = Projector.identity(size)
    else:
        columns = draw(st.integers(1, size // 2))
        projector = Projector(basis[:, :columns], kept=kind == "kept")
    residual = normal(generator, draw(st.integers(1, 10)), n)
    return Problem(k, p, residual, projector, draw(st.sampled_from([0.1, 1.0, 10.0])))


def product(change: LowRank) -> Tensor:
    return change.left @ change.right.T


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


@given(problems())
def test_update_matches_large_system(problem: Problem) -> None:
    assert relative(product(problem.update()), problem.textbook()) < 1e-10


@given(problems())
def test_update_is_zero_on_dropped_space(problem: Problem) -> None:
    change, dense = product(problem.update()), problem.dense
    assert relative(change @ dense, change) < 1e-12
    dropped = torch.eye(len(dense), dtype=torch.float64) - dense
    assert float((change @ dropped).norm()) <= 1e-12 * float(change.norm())


@pytest.mark.parametrize(("size", "n", "earlier"), [(20, 3, 0), (20, 3, 9), (20, 8, 30), (6, 9, 0)])
def test_both_solve_forms(size: int, n: int, earlier: int) -> None:
    """With fewer facts than d_in, an m x m system is solved; otherwise a d_in x d_in system."""
    g = torch.Generator().manual_seed(size + n)
    problem = Problem(
        normal(g, size, n),
        normal(g, size, earlier),
        normal(g, 5, n),
        Projector(torch.linalg.qr(normal(g, size, 2)).Q, kept=False),
        ridge=2.0,
    )
    change = problem.update()
    assert change.left.shape == (5, n) and change.right.shape == (size, n)
    assert relative(product(change), problem.textbook()) < 1e-12


def test_small_ridge_writes_residual_and_preserves_earlier_keys() -> None:
    g = torch.Generator().manual_seed(0)
    k, p, residual = normal(g, 30, 3), normal(g, 30, 5), normal(g, 7, 3)
    problem = Problem(k, p, residual, Projector.identity(30), ridge=1e-9)
    change = product(problem.update())
    assert relative(change @ k, residual) < 1e-8
    assert float((change @ p).abs().max()) < 1e-8
    heavy = product(Problem(k, p, residual, Projector.identity(30), ridge=1e6).update())
    assert float(heavy.norm()) < 1e-3 * float(change.norm())


def test_float32_inputs_are_solved_in_float64() -> None:
    """With nearly equal keys, a float32 Gram matrix would lose the ridge."""
    g = torch.Generator().manual_seed(0)
    key = normal(g, 40, 1) * 100
    k = (key + 1e-2 * normal(g, 40, 6)).float()
    residual = normal(g, 5, 6).float()
    change = ridge_update(
        projected=k, residual=residual, ridge=1e-4, previous=PreviousKeys.none(40)
    )
    assert change.left.dtype == change.right.dtype == torch.float32
    none = PreviousKeys.none(40).append(k[:, :0].double())
    exact = ridge_update(
        projected=k.double(), residual=residual.double(), ridge=1e-4, previous=none
    )
    assert relative(product(change).double(), product(exact)) < 2e-3


# ---------------------------------------------------------------------------------- earlier keys


@given(st.lists(st.integers(0, 5), max_size=5), st.integers(0, 1 << 32), st.sampled_from([3, 1100]))
def test_appending_in_parts_equals_appending_at_once(
    parts: list[int], seed: int, size: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    columns = normal(g, size, sum(parts))
    keys = PreviousKeys.none(size)
    for part in columns.split(parts, dim=1) if parts else ():
        keys = keys.append(part)
    assert len(keys) == columns.shape[1]
    assert torch.equal(keys.columns.double(), columns)
    assert keys.gram.dtype == torch.float64
    torch.testing.assert_close(keys.gram, columns.T @ columns, rtol=1e-12, atol=1e-10)


@given(st.integers(0, 8).flatmap(lambda m: st.tuples(st.just(m), st.sets(st.integers(0, 7)))))
def test_select_equals_building_from_selection(case: tuple[int, set[int]]) -> None:
    count, chosen = case
    kept = sorted(i for i in chosen if i < count)
    columns = normal(torch.Generator().manual_seed(count), 9, count)
    keys = PreviousKeys.none(9).append(columns).select(kept)
    assert torch.equal(keys.columns, columns[:, kept])
    scratch = PreviousKeys.none(9).append(columns[:, kept])
    torch.testing.assert_close(keys.gram, scratch.gram, rtol=1e-12, atol=1e-12)


@given(problems(), st.sampled_from([0.25, 0.5, 0.9]))
def test_scaled_keys_match_large_system(problem: Problem, share: float) -> None:
    """``K_p K_p^T`` is scaled for the earlier keys only."""
    p = problem.previous
    half = p.shape[1] // 2
    earlier = PreviousKeys.none(len(p)).append(problem.projector(p[:, :half])).scale(share)
    earlier = earlier.append(problem.projector(p[:, half:]))
    change = ridge_update(
        projected=problem.projector(problem.new),
        residual=problem.residual,
        ridge=problem.ridge,
        previous=earlier,
    )
    weighed = torch.cat([math.sqrt(share) * p[:, :half], p[:, half:]], dim=1)
    assert relative(product(change), replace(problem, previous=weighed).textbook()) < 1e-10


def test_scale_by_one_keeps_every_bit() -> None:
    keys = PreviousKeys.none(4).append(torch.rand(4, 2))
    assert keys.scale(1.0) is keys


def test_removed_key_does_not_affect_update() -> None:
    g = torch.Generator().manual_seed(5)
    k, p, residual = normal(g, 20, 3), normal(g, 20, 6), normal(g, 4, 3)
    without = PreviousKeys.none(20).append(p).select([0, 1, 3, 5])
    never = PreviousKeys.none(20).append(p[:, [0, 1, 3, 5]])
    all_of_them = PreviousKeys.none(20).append(p)
    first, second, other = (
        product(ridge_update(projected=k, residual=residual, ridge=10.0, previous=keys))
        for keys in (without, never, all_of_them)
    )
    assert relative(first, second) < 1e-12
    assert relative(other, second) > 1e-3


# ----------------------------------------------------------------------------------- thin products


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(0, 1 << 32))
def test_norm_matches_product(rows: int, columns: int, n: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    change = LowRank(normal(g, rows, n), normal(g, columns, n))
    assert change.norm == pytest.approx(float(product(change).norm()), rel=1e-10)


def test_norm_with_canceling_columns() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = normal(g, 50, 1).float(), normal(g, 60, 1).float()
    small = 1e-4 * normal(g, 50, 1).float()
    change = LowRank(torch.cat([a + small, -a], dim=1), torch.cat([b, b], dim=1))
    exact = change.left.double() @ change.right.double().T
    assert change.norm == pytest.approx(float(exact.norm()), rel=1e-5)
