"""Every editor compared with its published formula, in float64 on random matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from configs import config_of
from editor_sessions import SOLVERS, SPARING
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alphaedit_core.editing.closed_form import PreviousKeys
from alphaedit_core.editing.editors.base import LayerInputs
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.weight_updates import Dense, LowRank, Pruned, Sparse, pruned_sum
from alphaedit_core.nullspace.projectors import InverseCovariance, Projector

HP = SimpleNamespace(
    layers=(0,), ridge=2.0, covariance_weight=3.0, emmet_lambda=0.4, rect_fraction=0.3
)


@dataclass
class Problem:
    """Random keys, residuals, moment C = V diag(values) V^T, weight, and what was written before.

    The kept space is spanned by the ``rank`` directions of smallest eigenvalue, as in a spectrum.
    """

    keys: Tensor
    prompt_keys: Tensor
    mean: Tensor
    residual: Tensor
    previous: Tensor
    weight: Tensor
    values: Tensor
    vectors: Tensor
    rank: int
    layers_left: int

    @property
    def moment(self) -> Tensor:
        return self.vectors @ self.values.diag() @ self.vectors.T

    @property
    def kept(self) -> Tensor:
        return self.vectors[:, len(self.values) - self.rank :]

    def work(self, name: str, projection: bool, previous: bool) -> LayerInputs:
        size = len(self.keys)
        projector = Projector(self.kept, kept=True) if projection else Projector.identity(size)
        preconditioner: Any = projector
        if name != "alphaedit":
            start = size - self.rank if projection else 0
            preconditioner = InverseCovariance(self.vectors[:, start:], self.values[start:].rsqrt())
        earlier = PreviousKeys.none(preconditioner.width)
        if previous:
            earlier = earlier.append(preconditioner.sqrt_matmul(self.previous))
        return LayerInputs(
            keys=self.keys,
            prompt_keys=self.prompt_keys,
            mean_keys=self.mean,
            residual=self.residual,
            layers_left=self.layers_left,
            weight=self.weight,
            max_singular_value=lambda: float(torch.linalg.matrix_norm(self.weight, 2)),
            preconditioner=preconditioner,
            projector=projector,
            previous=earlier,
            hyperparameters=config_of(
                name, projection=projection, previous_keys=previous, **vars(HP)
            ),
        )


@st.composite
def problems(draw: st.DrawFn, facts: int = 12) -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 32)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size, out = draw(st.integers(3, 20)), draw(st.integers(2, 9))
    n = draw(st.integers(1, facts))
    values = (normal(size).abs() + 0.05).sort(descending=True).values
    return Problem(
        keys=normal(size, n),
        prompt_keys=normal(size, n),
        mean=normal(size, n),
        residual=normal(out, n),
        previous=normal(size, draw(st.integers(1, 25))),
        weight=normal(out, size),
        values=values,
        vectors=torch.linalg.qr(normal(size, size)).Q,
        rank=draw(st.integers(1, size)),
        layers_left=draw(st.integers(1, 5)),
    )


def solved(name: str, problem: Problem, projection: bool = False, previous: bool = False) -> Tensor:
    editor, work = editor_class(name)(), problem.work(name, projection, previous)
    change = editor.final(work, editor.update(work))
    if isinstance(change, Sparse):
        whole = torch.zeros_like(problem.weight)
        change.add_to(whole)
        return whole
    if isinstance(change, LowRank | Pruned):
        return change.left @ change.right.T
    assert isinstance(change, Dense)
    return change.matrix


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-9 * b.norm().clamp_min(1e-9))


@pytest.mark.parametrize("previous", [False, True])
@given(problem=problems())
def test_memit_matches_eq_14(previous: bool, problem: Problem) -> None:
    """``R K^T (lambda C + K K^T)^-1``, with ``K_p K_p^T`` in the sum where it is switched on."""
    k, p = problem.keys, problem.previous
    system = HP.covariance_weight * problem.moment + k @ k.T + (p @ p.T if previous else 0)
    published = torch.linalg.solve(system, k @ problem.residual.T / problem.layers_left).T
    assert close(solved("memit", problem, previous=previous), published)
    # PRUNE's own updates are MEMIT's; their sum is pruned later.
    assert close(solved("prune", problem, previous=previous), published)


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("projection", [False, True])
@given(problem=problems())
def test_alphaedit_matches_eq_14(previous: bool, projection: bool, problem: Problem) -> None:
    """``R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1``, with P = I where it is switched off."""
    k, p, size = problem.keys, problem.previous, len(problem.keys)
    eye = torch.eye(size, dtype=torch.float64)
    projector = problem.kept @ problem.kept.T if projection else eye
    system = (k @ k.T + (p @ p.T if previous else 0)) @ projector + HP.ridge * eye
    share = problem.residual / problem.layers_left
    published = torch.linalg.solve(system.T, (share @ k.T @ projector).T).T
    assert close(solved("alphaedit", problem, projection, previous), published)


@given(problem=problems())
def test_pmet_divides_residual_by_roots(problem: Problem) -> None:
    k = problem.keys
    system = HP.covariance_weight * problem.moment + k @ k.T
    published = torch.linalg.solve(system, k @ problem.residual.T / problem.layers_left**0.5).T
    assert close(solved("pmet", problem), published)


@given(problem=problems())
def test_emmet_matches_eq_9_and_memit_at_mu_lambda(problem: Problem) -> None:
    """``R (K^T C^-1 K + mu I)^-1 K^T C^-1`` with C scaled by MEMIT's weight."""
    k, scaled = problem.keys, HP.covariance_weight * problem.moment
    inverse = torch.linalg.inv(scaled)
    gram = k.T @ inverse @ k + HP.emmet_lambda * torch.eye(k.shape[1], dtype=torch.float64)
    published = problem.residual / problem.layers_left @ torch.linalg.inv(gram) @ k.T @ inverse
    assert close(solved("emmet", problem), published)
    work = problem.work("emmet", False, False)
    same = replace(work, hyperparameters=work.hyperparameters.replace(emmet_lambda=1.0))
    change = editor_class("emmet")().update(same)
    assert isinstance(change, LowRank)
    assert close(change.left @ change.right.T, solved("memit", problem))


@given(problem=problems(facts=1))
def test_rome_matches_eq_2_with_two_keys(problem: Problem) -> None:
    """``((v* - W k_b) / (k_b^T u)) u^T``, u = C^-1 k; ``lacking`` is v* - W k_b."""
    u = torch.linalg.solve(problem.moment, problem.mean)
    published = problem.residual / (problem.prompt_keys.T @ u) @ u.T
    assert close(solved("rome", problem), published)


@given(problem=problems(facts=1))
def test_r_rome_writes_value_at_its_key(problem: Problem) -> None:
    value = problem.weight @ problem.prompt_keys + problem.residual  # v*
    u = torch.linalg.solve(problem.moment, problem.mean)
    lacks = value - problem.weight @ problem.mean
    change = solved("r-rome", problem)
    assert close(change, lacks / (problem.mean.T @ u) @ u.T)
    assert close((problem.weight + change) @ problem.mean, value)


@pytest.mark.parametrize(
    ("name", "over"), [("rect", "memit"), ("rect-by-layer", "memit"), ("rect-rome", "rome")]
)
@given(problem=problems(facts=1))
def test_rect_keeps_largest_relative_changes(name: str, over: str, problem: Problem) -> None:
    whole, found = solved(over, problem), solved(name, problem)
    relative = (whole / problem.weight).abs()
    count = max(1, round(HP.rect_fraction * whole.numel()))
    least = relative.flatten().sort(descending=True).values[count - 1]
    assert close(found, torch.where(relative >= least, whole, 0.0))
    assert int((found != 0).sum()) == count
    kept = problem.kept
    projected = solved(name, problem, projection=True)
    inside = solved(over, problem, projection=True)
    relative = (inside / problem.weight).abs()
    least = relative.flatten().sort(descending=True).values[count - 1]
    assert close(projected, torch.where(relative >= least, inside, 0.0) @ kept @ kept.T)


@pytest.mark.parametrize("previous", [False, True])
@given(problem=problems())
def test_projected_memit_solves_in_kept_space(previous: bool, problem: Problem) -> None:
    """Among all dW = X U^T, it minimizes MEMIT's least-squares objective."""
    u, k, p = problem.kept, problem.keys, problem.previous
    inner = HP.covariance_weight * u.T @ problem.moment @ u + u.T @ k @ k.T @ u
    inner = inner + (u.T @ p @ p.T @ u if previous else 0)
    x = torch.linalg.solve(inner, u.T @ k @ problem.residual.T / problem.layers_left).T
    assert close(solved("memit", problem, True, previous), x @ u.T)


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("projection", [False, True])
@given(problem=problems())
def test_emmet_and_pmet_equal_memit_up_to_mu_and_share(
    projection: bool, previous: bool, problem: Problem
) -> None:
    """With either switch, too: mu K-and-K_p's identity for EMMET, roots for PMET."""
    u = problem.kept if projection else torch.eye(len(problem.keys), dtype=torch.float64)
    k = torch.cat([problem.previous, problem.keys], dim=1) if previous else problem.keys
    weight = HP.covariance_weight
    for name, mu, share in (
        ("emmet", HP.emmet_lambda * weight, problem.layers_left),
        ("pmet", weight, problem.layers_left**0.5),
    ):
        inner = mu * u.T @ problem.moment @ u + u.T @ k @ k.T @ u
        x = torch.linalg.solve(inner, u.T @ problem.keys @ problem.residual.T / share).T
        assert close(solved(name, problem, projection, previous), x @ u.T)


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("thin", [False, True])
@given(problem=problems(), share=st.sampled_from([0.1, 0.5, 0.9]))
def test_prune_matches_eq_7_on_the_sum(
    projection: bool, thin: bool, problem: Problem, share: float
) -> None:
    """sigma above the weight's largest s becomes log sigma - log s + s; nothing leaves P."""
    some = solved("prune", problem, projection)
    left, right = (some, torch.eye(some.shape[1]).to(some)) if not thin else (
        some @ problem.keys[:, :1], problem.kept[:, :1]
    )  # fmt: skip
    most = share * torch.linalg.matrix_norm(left @ right.T, 2)
    halves = [Pruned(left / 2, right, most) for _ in range(2)]
    u, sigma, v = torch.linalg.svd(left @ right.T, full_matrices=False)
    less = torch.where(sigma > most, sigma.log() - most.log() + most, sigma)
    found = pruned_sum(halves)
    assert close(found, (u * less) @ v) and not close(found, left @ right.T)
    if projection:
        dropped = problem.vectors[:, : len(problem.values) - problem.rank]
        assert float((found @ dropped).norm()) <= 1e-9 * float(found.norm())


@pytest.mark.parametrize("facts", [1, 12])
@pytest.mark.parametrize("name", SOLVERS)
@given(data=st.data())
def test_update_is_zero_on_dropped_directions(name: str, facts: int, data: st.DataObject) -> None:
    """With the projection on, ``dW q = 0`` for every q with ``P q = 0``."""
    problem = data.draw(problems(1 if editor_class(name).at_once == 1 else facts))
    dropped = problem.vectors[:, : len(problem.values) - problem.rank]
    change = solved(name, problem, projection=True, previous=name in SPARING)
    assert float((change @ dropped).norm()) <= 1e-10 * float(change.norm())
    free = solved(name, problem)
    assert problem.rank == len(problem.values) or float((free @ dropped).norm()) > 1e-6


@given(problem=problems(facts=6))
def test_previous_keys_reduce_disturbance(problem: Problem) -> None:
    for name in sorted({"alphaedit", *SPARING} - {"rect", "rect-by-layer", "rect-rome"}):
        with_keys = solved(name, problem, previous=True) @ problem.previous
        without = solved(name, problem) @ problem.previous
        assert float(with_keys.norm()) <= float(without.norm()) * (1 + 1e-9)
