"""The null space: which directions of a layer's keys ordinary text hardly uses.

``C = V diag(eigenvalues) V^T`` is the second moment of a layer's keys. Directions with a small
eigenvalue are hardly used by running text; the projector ``P`` keeps those and drops the rest, so
that an update ``dW = dW P`` cannot act on what lies in the dropped ones (Fang et al. 2025,
section 3.2; they take the eigenvalues under 2e-2).

A fraction of a key's energy is its share of the trace. Where a model has *massive activations* (one
token whose key is thousands of times longer than the others), the first eigenvalues say nothing
of ordinary text, so they are named and left out of the trace.
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

from .files import _rows
from .projectors import InverseCovariance, Projector
from .spectrum_figure import spectrum_svg
from .thresholds import Rule, Threshold

#: At most so many leading directions are looked at for massive ones …
_MASSIVE_MOST = 5
#: … and they are massive if the next eigenvalue is smaller by at least this factor.
_MASSIVE_RATIO = 10.0
#: What float32 rounds off, relative to the largest eigenvalue.
_ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one layer's second moment, and what thresholds on them mean.

    Attributes:
        layer: index of the block.
        eigenvalues: (d_in,), float64, descending.
        tokens: number of tokens behind the moment.
        vectors_file: safetensors file with the eigenvectors, read piece by piece when needed.
        orthogonality_error: largest entry of ``|V^T V - I|``, the orthonormality that rounding
            left.
        moment: checksum of the second moment that the file has to belong to; "" where any will do.
    """

    layer: int
    eigenvalues: np.ndarray
    tokens: int
    vectors_file: Path | None = field(default=None, repr=False)
    orthogonality_error: float = float("nan")
    moment: str = field(default="", repr=False)

    @property
    def size(self) -> int:
        """d_in, the number of directions."""
        return len(self.eigenvalues)

    @property
    def num_massive_directions(self) -> int:
        """How many leading directions are massive: those before the largest drop, if tenfold."""
        top = self._positive[: _MASSIVE_MOST + 1]
        top = top[top > 0]  # where nothing is left below, there is nothing to be massive against
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
        """exp of the entropy of the eigenvalues' shares of the trace (Roy & Vetterli 2007)."""
        ordinary = self._positive[self.num_massive_directions :]
        shares = ordinary[ordinary > 0] / self.trace
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0

    @property
    def _positive(self) -> np.ndarray:
        # A zero eigenvalue comes out of the solver as a tiny number of either sign.
        return np.maximum(self.eigenvalues, 0.0)

    def rank(self, threshold: float | str | Threshold) -> int:
        """Dimension of the kept space."""
        threshold = Threshold.parse(threshold)
        if threshold.rule == "absolute":
            return int((self._positive < threshold.value).sum())
        if threshold.rule == "rank":
            if threshold.value > self.size:
                raise InputError(
                    f"threshold {threshold} keeps more than the {self.size} directions of layer "
                    f"{self.layer}; give a smaller rank"
                )
            return int(threshold.value)
        return int(np.searchsorted(self._leakages, threshold.value, side="right")) - 1

    def leakage(self, threshold: float | str | Threshold) -> float:
        """Share of ordinary text's energy that the kept space still holds."""
        return float(self._leakages[self.rank(threshold)])

    @property
    def _leakages(self) -> np.ndarray:
        """Leakage of every rank 0 … d_in, ascending; over 1 once massive directions are kept."""
        sums = np.concatenate([[0.0], np.cumsum(self._positive[::-1])])
        shares = sums / self.trace if self.trace > 0 else sums
        ordinary = self.size - self.num_massive_directions + 1
        shares[:ordinary] = np.minimum(shares[:ordinary], 1.0)  # rounding of the sum
        return shares

    def convert(self, threshold: float | str | Threshold, rule: Rule) -> Threshold:
        """The threshold of another rule that keeps the same directions here.

        Equal eigenvalues are kept or dropped together by the other rules, and massive directions
        have no share of the energy: a rank that parts the one or keeps the other has no equal.
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
        """Eigenvectors start … stop - 1 as columns, (d_in, stop - start), float32.

        Raises:
            CorruptFileError: if the file of eigenvectors cannot be read, or what is read is not
                what was written there.
        """
        assert self.vectors_file is not None
        return _rows(self.vectors_file, self.moment, start, stop).T

    def projector(
        self, threshold: float | str | Threshold, device: torch.device | str = "cpu"
    ) -> Projector:
        """The projector on the kept space, held as the smaller basis: its own or the complement's.

        Raises:
            CorruptFileError: if the file of eigenvectors cannot be read.
        """
        rank = self.rank(threshold)
        dropped = self.size - rank
        if rank <= dropped:
            return Projector(self.vectors(dropped, self.size).to(device), kept=True)
        return Projector(self.vectors(0, dropped).to(device), kept=False)

    def inverse(
        self, threshold: float | str | Threshold | None, device: torch.device | str = "cpu"
    ) -> InverseCovariance:
        """``C^-1``, or with a threshold ``U Lambda^-1 U^T`` over the kept directions alone.

        Raises:
            CorruptFileError: if the file of eigenvectors cannot be read.
        """
        dropped = 0 if threshold is None else self.size - self.rank(threshold)
        # What is smaller than the rounding of C in float32 is not known, and may be negative.
        least = max(_ROUNDING * float(self._positive[0]), float(np.finfo(np.float32).tiny))
        values = torch.from_numpy(np.maximum(self.eigenvalues[dropped:], least))
        return InverseCovariance(
            self.vectors(dropped, self.size).to(device), values.rsqrt().float().to(device)
        )

    def threshold_warning(self, threshold: float | str | Threshold) -> str:
        """A sentence where the kept space is empty or everything, else ""."""
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
        """One line: rank, leakage, effective rank and massive directions."""
        massive = f", {self.num_massive_directions} massive" if self.num_massive_directions else ""
        return (
            f"layer {self.layer}: kept {self.rank(threshold)} of {self.size} at {threshold}, "
            f"leakage {self.leakage(threshold):.1%}, effective rank {self.effective_rank:.0f}"
            f"{massive}"
        )

    def __repr__(self) -> str:
        return f"Spectrum({self.summary()})"

    def svg(self, threshold: float | str | Threshold = 0.02) -> str:
        """The eigenvalues with a threshold, as a picture."""
        return spectrum_svg(
            self.eigenvalues,
            layer=self.layer,
            rank=self.rank(threshold),
            edge=self.convert(threshold, "absolute").value,
            massive=self.num_massive_directions,
            threshold=str(threshold),
        )

    def html(self, threshold: float | str | Threshold = 0.02) -> str:
        """A row of numbers at a threshold, and under it the picture."""
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
