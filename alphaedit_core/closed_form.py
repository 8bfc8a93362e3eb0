"""The update in closed form: a small symmetric system instead of a large one.

The released code solves, per layer and batch, the non-symmetric d_in x d_in system
``(P (K K^T + K_p K_p^T) + lambda I) X = P K R^T`` and adds ``X^T`` to the weight (Fang et al. 2025,
Eq. 14). With ``M = [K_p, K]`` (d_in x m) and ``B = P M`` the same X is

    X = B (lambda I_m + B^T B)^-1 [0; R^T]

because ``P X = X`` and ``B (lambda I + B^T B)^-1 = (lambda I + B B^T)^-1 B``. One Cholesky as large
as the number of earlier facts replaces the large LU; what must be kept of them is their part of B
and its Gram matrix. Where m outgrows d_in, the second form is the smaller one and is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

#: Rows of B that are brought to float64 at a time.
_CHUNK = 1024


class LowRank(NamedTuple):
    """A change of a weight, ``left @ right.T``.

    Attributes:
        left: (d_out, n), float32.
        right: (d_in, n), float32.
    """

    left: Tensor
    right: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm, without forming the product."""
        # In float64: where columns cancel each other, the sum is far smaller than its terms.
        gram = _product(self.left, self.left) * _product(self.right, self.right)
        return float(gram.sum().clamp_min(0).sqrt())


@dataclass(frozen=True, eq=False)
class EarlierKeys:
    """The projected keys of facts written before, and their Gram matrix.

    Attributes:
        columns: ``P K_p``, (d_in, m), float32.
        gram: its Gram matrix, (m, m), float64, on the device that solves.
    """

    columns: Tensor
    gram: Tensor

    @classmethod
    def none(cls, size: int, device: torch.device | str = "cpu") -> EarlierKeys:
        """No earlier facts, for keys of ``size`` numbers."""
        columns = torch.zeros(size, 0, device=device)
        return cls(columns, _solver(columns).new_zeros(0, 0))

    def __len__(self) -> int:
        return self.columns.shape[1]

    def joined(self, new: Tensor) -> EarlierKeys:
        """These and more projected keys (d_in, n); only the new part of the Gram is computed."""
        m, size = len(self), len(self) + new.shape[1]
        across = _product(self.columns, new)
        gram = self.gram.new_empty(size, size)
        gram[:m, :m], gram[:m, m:] = self.gram, across
        gram[m:, :m], gram[m:, m:] = across.T, _product(new, new)
        return EarlierKeys(torch.cat([self.columns, new], dim=1), gram)

    def only(self, kept: list[int]) -> EarlierKeys:
        """Some of these keys, by ascending index."""
        index = torch.tensor(kept, dtype=torch.long)
        there = index.to(self.gram.device)
        return EarlierKeys(
            self.columns[:, index.to(self.columns.device)], self.gram[there][:, there]
        )


def ridge_update(
    projected: Tensor, residual: Tensor, ridge: float, earlier: EarlierKeys
) -> LowRank:
    """The update that moves the outputs for new keys by ``residual`` and spares earlier ones.

    Args:
        projected: ``P K`` of the new facts, (d_in, n), float32.
        residual: R, what each output still lacks, (d_out, n), float32.
        ridge: lambda > 0.
        earlier: projected keys of earlier facts.

    Returns:
        ``dW = R Y^T B^T`` as a pair of thin matrices, where Y holds the columns of
        ``(lambda I + B^T B)^-1`` that belong to the new facts.
    """
    if len(earlier) + projected.shape[1] > len(projected):
        everything = _solver(torch.cat([earlier.columns, projected], dim=1))
        factor = _factor(everything @ everything.T, ridge)
        return LowRank(residual, torch.cholesky_solve(_solver(projected), factor).to(projected))
    # By blocks, B = [earlier, new]: Y = [-E S^-1; S^-1], where E writes the new keys in terms of
    # the earlier ones, and S is the system of what that leaves of the new ones (Schur complement).
    across = _product(earlier.columns, projected)
    explained = _solve(earlier.gram, ridge, across)
    left = _product(projected, projected) - across.T @ explained
    y = torch.cholesky_inverse(_factor(left, ridge))
    old = earlier.columns.to(projected)  # none at all are float32, whatever the model
    right = projected @ y.to(projected) - old @ (explained @ y).to(projected)
    return LowRank(residual, right)


def _solve(gram: Tensor, ridge: float, right: Tensor) -> Tensor:
    """``(gram + ridge I)^-1 right``; in memory, one copy of ``gram`` for as long as this takes."""
    factor = _factor(gram.clone(), ridge)
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.T, half, upper=True)


def _factor(system: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of ``system + ridge I``, in the place of ``system``."""
    system.diagonal().add_(ridge)
    # Columns first, as LAPACK reads a matrix: so the factor needs no memory of its own.
    factor = system.T
    return torch.linalg.cholesky(factor, out=factor)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a^T b`` in float64, without a float64 copy of either."""
    total = _solver(a[:0]).new_zeros(a.shape[1], b.shape[1])
    for top in range(0, len(a), _CHUNK):
        total += _solver(a[top : top + _CHUNK]).T @ _solver(b[top : top + _CHUNK])
    return total


def _solver(tensor: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none (MPS)."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
