"""The eigenvectors of one layer on one device, as projectors and inverses."""

from __future__ import annotations

import torch

from .projectors import InverseCovariance, Projector
from .spectrum import Spectrum
from .thresholds import Threshold


class LayerEigenspace:
    """The eigenvectors of one layer on one device, as projectors and inverses.

    Each projector and the inverse are read from the file once.

    Args:
        spectrum: the layer's spectrum.
        device: where the eigenvectors go.
    """

    def __init__(self, spectrum: Spectrum, device: torch.device | str = "cpu") -> None:
        self._spectrum, self._device = spectrum, device
        self._projectors: dict[str, Projector] = {}
        self._inverse: InverseCovariance | None = None

    @property
    def size(self) -> int:
        """The number of directions, d_in."""
        return self._spectrum.size

    def projector(self, threshold: float | str | Threshold) -> Projector:
        """Return P at a threshold.

        Raises:
            InputError: if the threshold cannot be used for this layer.
            CorruptFileError: if the file of eigenvectors cannot be read.
        """
        name = str(threshold)
        if name not in self._projectors:
            self._projectors[name] = self._spectrum.projector(threshold, self._device)
        return self._projectors[name]

    def identity(self) -> Projector:
        """Return P = I."""
        return Projector.identity(self.size, self._device)

    def inverse(self, threshold: float | str | Threshold | None = None) -> InverseCovariance:
        """Return ``C^-1``, restricted to the kept space if a threshold is passed.

        Both share one basis in memory.

        Raises:
            InputError: if the threshold cannot be used for this layer.
            CorruptFileError: if the file of eigenvectors cannot be read.
        """
        if self._inverse is None:
            self._inverse = self._spectrum.inverse(None, self._device)
        if threshold is None:
            return self._inverse
        dropped = self.size - self._spectrum.rank(threshold)
        return InverseCovariance(self._inverse.basis[:, dropped:], self._inverse.scale[dropped:])
