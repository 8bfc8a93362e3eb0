"""The closed-form update, solved as a small symmetric system.

For each layer and batch, the released code solves the non-symmetric d_in x d_in system
``(P (K K^T + K_p K_p^T) + lambda I) X = P K R^T`` and adds ``X^T`` to the weight (Fang et al. 2025,
Eq. 14). With ``M = [K_p, K]`` (d_in x m) and ``B = P M``, the same X is

    X = B (lambda I_m + B^T B)^-1 [0; R^T]

because ``P X = X`` and ``B (lambda I + B^T B)^-1 = (lambda I + B B^T)^-1 B``. An m x m Cholesky
factorization replaces the d_in x d_in LU. Only ``P K_p`` and its Gram matrix are kept of earlier
facts. If m exceeds d_in, the second form is smaller and is used.

MEMIT's ``R K^T (lambda C + K K^T)^-1`` (Meng et al. 2023, Eq. 14) has the same form, with
``B = C^(-1/2) M`` and one more factor of ``C^(-1/2)``. An editor therefore only provides its
preconditioner ``G = H H^T``, see :class:`Preconditioner`.
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
    """The preconditioner ``G = H H^T`` of the closed form, as products with H and ``H^T``."""

    @property
    def width(self) -> int:
        """The number of columns of H, at most d_in."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of H."""
        ...

    def sqrt_matmul(self, keys: Tensor) -> Tensor:
        """Return ``H^T keys`` for columns (d_in, n): (width, n), in their dtype."""
        ...

    def sqrt_matmul_T(self, coordinates: Tensor) -> Tensor:
        """Return ``H coordinates`` for columns from :meth:`sqrt_matmul`: (d_in, n)."""
        ...


@dataclass(frozen=True, eq=False)
class PreviousKeys:
    """Keys K_p of m earlier facts in a preconditioner's coordinates, and their Gram matrix.

    Attributes:
        columns: ``H^T K_p``, (width, m), float32; ``P K_p`` for a projector.
        gram: ``K_p^T G K_p``, (m, m), float64, on the device of the solve.
    """

    columns: Tensor
    gram: Tensor

    @classmethod
    def none(cls, size: int, device: torch.device | str = "cpu") -> PreviousKeys:
        """Return the keys of no facts, with ``size`` coordinates."""
        columns = torch.zeros(size, 0, device=device)
        return cls(columns, in_float64(columns).new_zeros(0, 0))

    def __len__(self) -> int:
        return self.columns.shape[1]

    def append(self, new: Tensor) -> PreviousKeys:
        """Return these keys with new columns (width, n); only new Gram entries are computed."""
        m, size = len(self), len(self) + new.shape[1]
        cross = gram_matrix(self.columns, new)
        gram = self.gram.new_empty(size, size)
        gram[:m, :m], gram[:m, m:] = self.gram, cross
        gram[m:, :m], gram[m:, m:] = cross.T, gram_matrix(new, new)
        return PreviousKeys(torch.cat([self.columns, new], dim=1), gram)

    def scale(self, factor: float) -> PreviousKeys:
        """Return these keys with ``K_p K_p^T`` multiplied by a factor; 1 changes no bit."""
        if factor == 1:
            return self
        return PreviousKeys(self.columns * math.sqrt(factor), self.gram * factor)

    def select(self, kept: list[int]) -> PreviousKeys:
        """Return the keys with the given indices, ascending."""
        index = torch.tensor(kept, dtype=torch.long)
        on_gram = index.to(self.gram.device)
        return PreviousKeys(
            self.columns[:, index.to(self.columns.device)], self.gram[on_gram][:, on_gram]
        )


def closed_form(
    *,
    keys: Tensor,
    residual: Tensor,
    preconditioner: Preconditioner,
    mu: float,
    previous: PreviousKeys,
) -> LowRank:
    """Return ``dW = [0, R] (mu I + M^T G M)^-1 M^T G`` with ``M = [K_p, K]``.

    Args:
        keys: K, (d_in, n), float32.
        residual: R, the change of each output, (d_out, n), float32.
        preconditioner: G.
        mu: ridge, > 0.
        previous: K_p, m earlier keys in the preconditioner's coordinates.

    Raises:
        DivergedError: if the system is singular up to rounding.
    """
    solved = ridge_update(
        projected=preconditioner.sqrt_matmul(keys),  # H^T K, (width, n)
        residual=residual,
        ridge=mu,
        previous=previous,
    )
    return LowRank(solved.left, preconditioner.sqrt_matmul_T(solved.right))


def ridge_update(
    *, projected: Tensor, residual: Tensor, ridge: float, previous: PreviousKeys
) -> LowRank:
    """Return the update that moves the outputs at new keys and preserves those at earlier keys.

    Args:
        projected: ``H^T K`` of the n new facts, (width, n), float32.
        residual: R, the change of each output, (d_out, n), float32.
        ridge: lambda, > 0.
        previous: ``H^T K_p`` of the m earlier facts.

    Returns:
        ``dW = R Y^T B^T`` as two thin matrices, where Y (m + n, n) holds the columns of
        ``(lambda I + B^T B)^-1`` that belong to the new facts.

    Raises:
        DivergedError: if the system is singular up to rounding.
    """
    if len(previous) + projected.shape[1] > len(projected):
        all_keys = in_float64(torch.cat([previous.columns, projected], dim=1))  # B
        factor = _factor(all_keys @ all_keys.T, ridge)
        return LowRank(residual, torch.cholesky_solve(in_float64(projected), factor).to(projected))
    # Block-wise with B = [previous, new]: Y = [-E S^-1; S^-1], where E (m, n) regresses the new
    # keys on the earlier ones and S (n, n) is the Schur complement.
    cross = gram_matrix(previous.columns, projected)
    regression = _solve(previous.gram, ridge, cross)
    schur = gram_matrix(projected, projected) - cross.T @ regression
    y = torch.cholesky_inverse(_factor(schur, ridge))
    old = previous.columns.to(projected)  # PreviousKeys.none is float32 for any model
    right = projected @ y.to(projected) - old @ (regression @ y).to(projected)
    return LowRank(residual, right)


def _solve(gram: Tensor, ridge: float, right: Tensor) -> Tensor:
    """Return ``(gram + ridge I)^-1 right``, with one temporary copy of ``gram``."""
    factor = _factor(gram.clone(), ridge)
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    solution: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return solution


def _factor(system: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of ``system + ridge I``, computed in place."""
    system.diagonal().add_(ridge)
    # LAPACK wants column-major order; the transpose of the symmetric matrix avoids a copy.
    factor = system.T
    try:
        cholesky: Tensor = torch.linalg.cholesky(factor, out=factor)
        return cholesky
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        raise DivergedError(
            "the facts' keys are equal up to rounding, and the regularization is too weak; raise "
            "ridge or covariance_weight"
        ) from None
