"""The eigenvectors of one layer on one device, as projectors and inverses."""

from __future__ import annotations

import torch

from .projectors import InverseCovariance, Projector
from .spectrum import Spectrum
from .thresholds import Threshold


class LayerEigenspace:
    """The eigenvectors of one layer on one device, as projectors and inverses; each read once.

    Args:
        spectrum: of the layer.
        device: where they are to be.
    """

    def __init__(self, spectrum: Spectrum, device: torch.device | str = "cpu") -> None:
        self._spectrum, self._device = spectrum, device
        self._projectors: dict[str, Projector] = {}
        self._inverse: InverseCovariance | None = None

    @property
    def size(self) -> int:
        """d_in."""
        return self._spectrum.size

    def projector(self, threshold: float | str | Threshold) -> Projector:
        """P at a threshold."""
        name = str(threshold)
        if name not in self._projectors:
            self._projectors[name] = self._spectrum.projector(threshold, self._device)
        return self._projectors[name]

    def identity(self) -> Projector:
        """P = I."""
        return Projector.identity(self.size, self._device)

    def inverse(self, threshold: float | str | Threshold | None = None) -> InverseCovariance:
        """``C^-1``, or with a threshold inside the kept space alone: a part of the same basis."""
        if self._inverse is None:
            self._inverse = self._spectrum.inverse(None, self._device)
        if threshold is None:
            return self._inverse
        dropped = self.size - self._spectrum.rank(threshold)
        return InverseCovariance(self._inverse.basis[:, dropped:], self._inverse.scale[dropped:])
