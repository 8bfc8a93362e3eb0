"""The null space: the directions of a layer's keys that ordinary text hardly uses.

``C = V diag(eigenvalues) V^T`` is the second moment of a layer's keys. Running text hardly uses
the directions with a small eigenvalue. The projector ``P`` keeps those and drops the rest, so that
an update ``dW = dW P`` cannot act on the dropped ones (Fang et al. 2025, section 3.2, who keep
eigenvalues below 2e-2).

The energy of a set of directions is the sum of their eigenvalues, as a fraction of the trace. In a
model with *massive activations* (one token whose key is thousands of times longer than the others)
the largest eigenvalues do not describe ordinary text. These directions are reported and left out of
the trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alphaedit_core.display.svg import figure_html
from alphaedit_core.display.tables import html_table
from alphaedit_core.errors import InputError

from .files import read_vectors
from .projectors import InverseCovariance, Projector
from .spectrum_figure import spectrum_svg
from .thresholds import Rule, Threshold

#: Largest number of massive directions.
_MAX_MASSIVE = 5
#: Leading directions are massive if the next eigenvalue is smaller by at least this factor.
_MASSIVE_RATIO = 10.0
#: Rounding error of float32, relative to the largest eigenvalue.
_ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one layer's second moment, and the kept space at any threshold.

    Attributes:
        layer: index of the block.
        eigenvalues: (d_in,), float64, descending.
        tokens: number of tokens that the moment averages over.
        vectors_file: safetensors file with the eigenvectors, read in blocks when needed.
        orthogonality_error: largest entry of ``|V^T V - I|``, from rounding.
        moment: checksum of the second moment that the file has to belong to; "" for any.
    """

    layer: int
    eigenvalues: np.ndarray
    tokens: int
    vectors_file: Path | None = field(default=None, repr=False)
    orthogonality_error: float = float("nan")
    moment: str = field(default="", repr=False)

    @property
    def size(self) -> int:
        """The number of directions, d_in."""
        return len(self.eigenvalues)

    @property
    def num_massive_directions(self) -> int:
        """The number of massive directions: those before the largest drop, if it is tenfold."""
        top = self._positive[: _MAX_MASSIVE + 1]
        top = top[top > 0]  # a ratio needs a positive eigenvalue on both sides
        if len(top) < 2:
            return 0
        ratios = top[:-1] / top[1:]
        drop = int(np.argmax(ratios))
        return drop + 1 if ratios[drop] >= _MASSIVE_RATIO else 0

    @property
    def trace(self) -> float:
        """Mean squared norm of a key, massive directions left out."""
        return float(self._positive[self.num_massive_directions :].sum())

    @property
    def effective_rank(self) -> float:
        """The exponential of the entropy of ``eigenvalues / trace`` (Roy & Vetterli 2007)."""
        ordinary = self._positive[self.num_massive_directions :]
        shares = ordinary[ordinary > 0] / self.trace
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0

    @property
    def _positive(self) -> np.ndarray:
        # The solver returns a zero eigenvalue as a tiny number of either sign.
        positive: np.ndarray = np.maximum(self.eigenvalues, 0.0)
        return positive

    def rank(self, threshold: float | str | Threshold) -> int:
        """Return the dimension of the kept space.

        Raises:
            InputError: if the threshold cannot be parsed, or is a rank above d_in.
        """
        threshold = Threshold.parse(threshold)
        if threshold.rule == "absolute":
            return int((self._positive < threshold.value).sum())
        if threshold.rule == "rank":
            if threshold.value > self.size:
                raise InputError(
                    f"threshold {threshold} keeps more than the {self.size} directions of layer "
                    f"{self.layer}; use a smaller rank"
                )
            return int(threshold.value)
        return int(np.searchsorted(self._leakages, threshold.value, side="right")) - 1

    def leakage(self, threshold: float | str | Threshold) -> float:
        """Return the fraction of ordinary text's energy that is in the kept space.

        Raises:
            InputError: as :meth:`rank`.
        """
        return float(self._leakages[self.rank(threshold)])

    @property
    def _leakages(self) -> np.ndarray:
        """Leakage of every rank 0 … d_in, ascending; above 1 once massive directions are kept."""
        sums = np.concatenate([[0.0], np.cumsum(self._positive[::-1])])
        shares = sums / self.trace if self.trace > 0 else sums
        ordinary = self.size - self.num_massive_directions + 1
        shares[:ordinary] = np.minimum(shares[:ordinary], 1.0)  # the sum rounds
        return shares

    def convert(self, threshold: float | str | Threshold, rule: Rule) -> Threshold:
        """Return the threshold of another rule that keeps the same directions in this layer.

        The rules ``absolute`` and ``energy`` keep or drop equal eigenvalues together, and massive
        directions do not count as energy. A rank that splits equal eigenvalues or keeps massive
        directions has therefore no exact counterpart.

        Raises:
            InputError: as :meth:`rank`.
        """
        rank = self.rank(threshold)
        if rule == "rank":
            return Threshold("rank", rank)
        if rule == "energy":
            return Threshold("energy", min(1.0, float(self._leakages[rank])))
        dropped = self.size - rank
        if dropped == 0:
            return Threshold("absolute", float(np.nextafter(self._positive[0], np.inf)))
        return Threshold("absolute", float(self._positive[dropped - 1]))

    def vectors(self, start: int, stop: int) -> Tensor:
        """Return eigenvectors start … stop - 1 as columns, (d_in, stop - start), float32.

        Raises:
            CorruptFileError: if the file of eigenvectors is missing or damaged.
        """
        assert self.vectors_file is not None
        return read_vectors(self.vectors_file, self.moment, start, stop).T

    def projector(
        self, threshold: float | str | Threshold, device: torch.device | str = "cpu"
    ) -> Projector:
        """Return the projector onto the kept space, from the smaller of its two bases.

        Raises:
            InputError: as :meth:`rank`.
            CorruptFileError: if the file of eigenvectors is missing or damaged.
        """
        rank = self.rank(threshold)
        dropped = self.size - rank
        if rank <= dropped:
            return Projector(self.vectors(dropped, self.size).to(device), kept=True)
        return Projector(self.vectors(0, dropped).to(device), kept=False)

    def inverse(
        self, threshold: float | str | Threshold | None, device: torch.device | str = "cpu"
    ) -> InverseCovariance:
        """Return ``C^-1``, or with a threshold ``U Lambda^-1 U^T`` over the kept directions.

        Raises:
            InputError: as :meth:`rank`.
            CorruptFileError: if the file of eigenvectors is missing or damaged.
        """
        dropped = 0 if threshold is None else self.size - self.rank(threshold)
        # Eigenvalues below the float32 rounding of C are noise, and may be negative.
        floor = max(_ROUNDING * float(self._positive[0]), float(np.finfo(np.float32).tiny))
        values = torch.from_numpy(np.maximum(self.eigenvalues[dropped:], floor))
        return InverseCovariance(
            self.vectors(dropped, self.size).to(device), values.rsqrt().float().to(device)
        )

    def threshold_warning(self, threshold: float | str | Threshold) -> str:
        """Return a warning if the kept space is empty or everything, else "".

        Raises:
            InputError: as :meth:`rank`.
        """
        rank = self.rank(threshold)
        if rank == 0:
            return (
                f"layer {self.layer}: no direction is under the threshold {threshold}, so nothing "
                "can be written; raise it"
            )
        if rank == self.size:
            return (
                f"layer {self.layer}: all {self.size} directions are under the threshold "
                f"{threshold}, so nothing is protected; lower it"
            )
        return ""

    def summary(self, threshold: float | str | Threshold = 0.02) -> str:
        """Return rank, leakage, effective rank and massive directions in one line."""
        massive = f", {self.num_massive_directions} massive" if self.num_massive_directions else ""
        return (
            f"layer {self.layer}: kept {self.rank(threshold)} of {self.size} at {threshold}, "
            f"leakage {self.leakage(threshold):.1%}, effective rank {self.effective_rank:.0f}"
            f"{massive}"
        )

    def __repr__(self) -> str:
        return f"Spectrum({self.summary()})"

    def svg(self, threshold: float | str | Threshold = 0.02) -> str:
        """Return a figure of the eigenvalues and a threshold."""
        return spectrum_svg(
            self.eigenvalues,
            layer=self.layer,
            rank=self.rank(threshold),
            edge=self.convert(threshold, "absolute").value,
            massive=self.num_massive_directions,
            threshold=str(threshold),
        )

    def html(self, threshold: float | str | Threshold = 0.02) -> str:
        """Return a table of one row for a threshold, and the figure below it."""
        cells = {
            "layer": str(self.layer),
            "directions": f"{self.size:,}",
            f"kept at {threshold}": f"{self.rank(threshold):,}",
            "leakage": f"{self.leakage(threshold):.1%}",
            "effective rank": f"{self.effective_rank:,.0f}",
            "massive": str(self.num_massive_directions),
            "tokens": f"{self.tokens:,}",
        }
        return html_table([*cells], [[*cells.values()]]) + figure_html(
            self.svg(threshold),
            f"Spectrum of layer {self.layer}: {self.size} eigenvalues on a log scale, largest "
            f"first. The threshold {threshold} keeps the smallest {self.rank(threshold)} of them. "
            f"Massive directions: {self.num_massive_directions}.",
        )

    def _repr_html_(self) -> str:
        return self.html()
