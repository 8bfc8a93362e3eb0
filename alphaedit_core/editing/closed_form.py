"""The update in closed form: a small symmetric system instead of a large one.

The released code solves, per layer and batch, the non-symmetric d_in x d_in system
``(P (K K^T + K_p K_p^T) + lambda I) X = P K R^T`` and adds ``X^T`` to the weight (Fang et al. 2025,
Eq. 14). With ``M = [K_p, K]`` (d_in x m) and ``B = P M`` the same X is

    X = B (lambda I_m + B^T B)^-1 [0; R^T]

because ``P X = X`` and ``B (lambda I + B^T B)^-1 = (lambda I + B B^T)^-1 B``. One Cholesky as large
as the number of earlier facts replaces the large LU; what must be kept of them is their part of B
and its Gram matrix. Where m outgrows d_in, the second form is the smaller one and is used.

MEMIT's ``R K^T (lambda C + K K^T)^-1`` (Meng et al. 2023, Eq. 14) is the same with
``B = C^(-1/2) M`` and one more factor of ``C^(-1/2)``. So all that an editor has to say is its
preconditioner ``G = H H^T``: :class:`Preconditioner`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from alphaedit_core.errors import DivergedError

from .weight_updates import LowRank, gram_matrix, in_float64


class Preconditioner(Protocol):
    """``G = H H^T``, by which the closed form measures keys."""

    @property
    def width(self) -> int:
        """Number of coordinates, H's columns."""
        ...

    @property
    def device(self) -> torch.device:
        """Where H is."""
        ...

    def sqrt_matmul(self, keys: Tensor) -> Tensor:
        """``H^T keys`` for columns (d_in, n): (width, n), in their dtype."""
        ...

    def sqrt_matmul_T(self, coordinates: Tensor) -> Tensor:
        """``H coordinates`` for columns that :meth:`sqrt_matmul` gave: (d_in, n)."""
        ...


@dataclass(frozen=True, eq=False)
class PreviousKeys:
    """The keys of facts written before, in a preconditioner's coordinates, and their Gram matrix.

    Attributes:
        columns: ``H^T K_p``, (width, m), float32; for a projector that is ``P K_p``.
        gram: its Gram matrix, (m, m), float64, on the device that solves.
    """

    columns: Tensor
    gram: Tensor

    @classmethod
    def none(cls, size: int, device: torch.device | str = "cpu") -> PreviousKeys:
        """No earlier facts, for ``size`` coordinates."""
        columns = torch.zeros(size, 0, device=device)
        return cls(columns, in_float64(columns).new_zeros(0, 0))

    def __len__(self) -> int:
        return self.columns.shape[1]

    def append(self, new: Tensor) -> PreviousKeys:
        """These and more columns (width, n); only the new part of the Gram is computed."""
        m, size = len(self), len(self) + new.shape[1]
        across = gram_matrix(self.columns, new)
        gram = self.gram.new_empty(size, size)
        gram[:m, :m], gram[:m, m:] = self.gram, across
        gram[m:, :m], gram[m:, m:] = across.T, gram_matrix(new, new)
        return PreviousKeys(torch.cat([self.columns, new], dim=1), gram)

    def scale(self, share: float) -> PreviousKeys:
        """The same with ``K_p K_p^T`` multiplied by a share; 1 leaves every bit as it is."""
        if share == 1:
            return self
        return PreviousKeys(self.columns * math.sqrt(share), self.gram * share)

    def select(self, kept: list[int]) -> PreviousKeys:
        """Some of these keys, by ascending index."""
        index = torch.tensor(kept, dtype=torch.long)
        there = index.to(self.gram.device)
        return PreviousKeys(
            self.columns[:, index.to(self.columns.device)], self.gram[there][:, there]
        )


def closed_form(
    *,
    keys: Tensor,
    residual: Tensor,
    preconditioner: Preconditioner,
    mu: float,
    previous: PreviousKeys,
) -> LowRank:
    """``dW = [0, R] (mu I + M^T G M)^-1 M^T G`` with ``M = [K_p, K]``.

    Args:
        keys: K, (d_in, n), float32.
        residual: R, what each output is to be moved by, (d_out, n), float32.
        preconditioner: ``G``.
        mu: above 0.
        previous: K_p in the preconditioner's coordinates.
    """
    solved = ridge_update(
        projected=preconditioner.sqrt_matmul(keys), residual=residual, ridge=mu, previous=previous
    )
    return LowRank(solved.left, preconditioner.sqrt_matmul_T(solved.right))


def ridge_update(
    *, projected: Tensor, residual: Tensor, ridge: float, previous: PreviousKeys
) -> LowRank:
    """The update that moves the outputs for new keys by ``residual`` and spares earlier ones.

    Args:
        projected: ``H^T K`` of the new facts, (width, n), float32.
        residual: R, what each output still lacks, (d_out, n), float32.
        ridge: lambda > 0.
        previous: the same of earlier facts.

    Returns:
        ``dW = R Y^T B^T`` as a pair of thin matrices, where Y holds the columns of
        ``(lambda I + B^T B)^-1`` that belong to the new facts.
    """
    if len(previous) + projected.shape[1] > len(projected):
        everything = in_float64(torch.cat([previous.columns, projected], dim=1))
        factor = _factor(everything @ everything.T, ridge)
        return LowRank(residual, torch.cholesky_solve(in_float64(projected), factor).to(projected))
    # By blocks, B = [previous, new]: Y = [-E S^-1; S^-1], where E writes the new keys in terms of
    # the earlier ones, and S is the system of what that leaves of the new ones (Schur complement).
    across = gram_matrix(previous.columns, projected)
    explained = _solve(previous.gram, ridge, across)
    left = gram_matrix(projected, projected) - across.T @ explained
    y = torch.cholesky_inverse(_factor(left, ridge))
    old = previous.columns.to(projected)  # none at all are float32, whatever the model
    right = projected @ y.to(projected) - old @ (explained @ y).to(projected)
    return LowRank(residual, right)


def _solve(gram: Tensor, ridge: float, right: Tensor) -> Tensor:
    """``(gram + ridge I)^-1 right``; in memory, one copy of ``gram`` for as long as this takes."""
    factor = _factor(gram.clone(), ridge)
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return solution


def _factor(system: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of ``system + ridge I``, in the place of ``system``."""
    system.diagonal().add_(ridge)
    # Columns first, as LAPACK reads a matrix: so the factor needs no memory of its own.
    factor = system.T
    try:
        cholesky: Tensor = torch.linalg.cholesky(factor, out=factor)
        return cholesky
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise DivergedError(
            "the facts' keys are the same up to rounding, and too little else holds the solve; "
            "raise ridge or covariance_weight"
        ) from None
