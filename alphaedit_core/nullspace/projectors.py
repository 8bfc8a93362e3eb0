"""The projector P onto the kept space, and the inverse of C, without dense matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Projector:
    """The orthogonal projector P onto a kept space, without the dense matrix.

    ``P = U U^T`` with the basis U of the kept space, or ``P = I - Q Q^T`` with the basis Q of its
    complement, whichever has fewer columns (Fang et al. 2025, section 3.2).

    Attributes:
        basis: U or Q, (d_in, r), float32, orthonormal columns, r <= d_in / 2.
        kept: True if ``basis`` spans the kept space, False if it spans the complement.
    """

    basis: Tensor
    kept: bool

    @property
    def size(self) -> int:
        """The number of directions, d_in."""
        return self.basis.shape[0]

    @property
    def rank(self) -> int:
        """Dimension of the kept space."""
        return self.basis.shape[1] if self.kept else self.size - self.basis.shape[1]

    @property
    def width(self) -> int:
        """The number of coordinates of a projected vector, d_in."""
        return self.size

    @property
    def device(self) -> torch.device:
        """The device of the basis."""
        return self.basis.device

    def sqrt_matmul(self, keys: Tensor) -> Tensor:
        """Return ``P keys`` for columns (d_in, n); P is its own square root, as ``P = P P^T``."""
        return self(keys)

    def sqrt_matmul_T(self, coordinates: Tensor) -> Tensor:
        """Return projected columns (d_in, n) unchanged, as ``P P = P``."""
        return coordinates

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return ``P vectors`` for columns (d_in, n), in their dtype."""
        basis = self.basis.to(vectors.dtype)
        in_basis = basis @ (basis.T @ vectors)
        return in_basis if self.kept else vectors - in_basis

    @classmethod
    def identity(cls, size: int, device: torch.device | str = "cpu") -> Projector:
        """Return P = I, which projects nothing away."""
        return cls(torch.zeros(size, 0, device=device), kept=False)


@dataclass(frozen=True, eq=False)
class InverseCovariance:
    """``U Lambda^-1 U^T``, the inverse of C over some or all of its eigenvectors.

    Attributes:
        basis: U, (d_in, r), float32, orthonormal columns.
        scale: ``Lambda^(-1/2)``, (r,), float32.
    """

    basis: Tensor
    scale: Tensor

    @property
    def width(self) -> int:
        """The number of coordinates, r."""
        return self.basis.shape[1]

    @property
    def device(self) -> torch.device:
        """The device of the basis."""
        return self.basis.device

    def sqrt_matmul(self, keys: Tensor) -> Tensor:
        """Return ``Lambda^(-1/2) U^T keys`` for columns (d_in, n): (r, n), in their dtype."""
        return self.scale.to(keys.dtype)[:, None] * (self.basis.to(keys.dtype).T @ keys)

    def sqrt_matmul_T(self, coordinates: Tensor) -> Tensor:
        """Return ``U Lambda^(-1/2) coordinates`` for columns (r, n): (d_in, n)."""
        scale = self.scale.to(coordinates.dtype)[:, None]
        return self.basis.to(coordinates.dtype) @ (scale * coordinates)
