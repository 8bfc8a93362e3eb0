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

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from alphaedit_core.covariance.files import KeyStatistics
from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import spectra_dir
from alphaedit_core.storage.tensor_files import (
    check_seal,
    load_tensors,
    opened_tensors,
    save_tensors,
    tensor_digest,
)

log = logging.getLogger(__name__)

Rule = Literal["absolute", "energy", "rank"]

#: At most so many leading directions are looked at for massive ones …
_MASSIVE_MOST = 5
#: … and they are massive if the next eigenvalue is smaller by at least this factor.
_MASSIVE_RATIO = 10.0
#: Eigenvectors that have a checksum together.
_PIECE = 128
#: What float32 rounds off, relative to the largest eigenvalue.
_ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Threshold:
    """Where the kept space ends.

    Attributes:
        rule: ``absolute`` keeps the directions with an eigenvalue under ``value`` (the paper's
            rule, 0.02); ``energy`` keeps as many as leave the leakage at or under ``value``;
            ``rank`` keeps ``value`` of them, from the smallest eigenvalue up.
        value: in the unit of the rule: squared key norm per token, a fraction, a number.
    """

    rule: Rule
    value: float

    @classmethod
    def parse(cls, text: str | float | Threshold) -> Threshold:
        """From ``0.02``, ``"absolute:0.02"``, ``"energy:0.1"`` or ``"rank:1000"``.

        Raises:
            InputError: if it is none of these, or out of range.
        """
        if isinstance(text, Threshold):
            return text
        rule, _, number = str(text).rpartition(":")
        rule = rule or "absolute"
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        bounds = {"absolute": (0.0, np.inf), "energy": (0.0, 1.0), "rank": (0.0, np.inf)}
        low, high = bounds.get(rule, (np.nan, np.nan))
        if not low <= value <= high or (rule == "rank" and not value.is_integer()):
            raise InputError(
                f'threshold "{text}" is not understood; give a number such as 0.02, "energy:0.1" '
                'with a fraction from 0 to 1, or "rank:1000"'
            )
        return cls(rule, value)  # type: ignore[arg-type]

    def __str__(self) -> str:
        number = str(int(self.value)) if self.rule == "rank" else repr(float(self.value))
        return number if self.rule == "absolute" else f"{self.rule}:{number}"


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one layer's second moment, and what thresholds on them mean.

    Attributes:
        layer: index of the block.
        eigenvalues: (d_in,), float64, descending.
        tokens: number of tokens behind the moment.
        vectors_file: safetensors file with the eigenvectors, read piece by piece when needed.
        health: largest entry of ``|V^T V - I|``, the orthonormality that rounding left.
        moment: checksum of the second moment that the file has to belong to; "" where any will do.
    """

    layer: int
    eigenvalues: np.ndarray
    tokens: int
    vectors_file: Path | None = field(default=None, repr=False)
    health: float = float("nan")
    moment: str = field(default="", repr=False)

    @property
    def size(self) -> int:
        """d_in, the number of directions."""
        return len(self.eigenvalues)

    @property
    def massive(self) -> int:
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
        return float(self._positive[self.massive :].sum())

    @property
    def effective_rank(self) -> float:
        """exp of the entropy of the eigenvalues' shares of the trace (Roy & Vetterli 2007)."""
        ordinary = self._positive[self.massive :]
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
        ordinary = self.size - self.massive + 1
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
    ) -> InverseMoment:
        """``C^-1``, or with a threshold ``U Lambda^-1 U^T`` over the kept directions alone.

        Raises:
            CorruptFileError: if the file of eigenvectors cannot be read.
        """
        dropped = 0 if threshold is None else self.size - self.rank(threshold)
        # What is smaller than the rounding of C in float32 is not known, and may be negative.
        least = max(_ROUNDING * float(self._positive[0]), float(np.finfo(np.float32).tiny))
        values = torch.from_numpy(np.maximum(self.eigenvalues[dropped:], least))
        return InverseMoment(
            self.vectors(dropped, self.size).to(device), values.rsqrt().float().to(device)
        )

    def warning(self, threshold: float | str | Threshold) -> str:
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
        massive = f", {self.massive} massive" if self.massive else ""
        return (
            f"layer {self.layer}: kept {self.rank(threshold)} of {self.size} at {threshold}, "
            f"leakage {self.leakage(threshold):.1%}, effective rank {self.effective_rank:.0f}"
            f"{massive}"
        )

    def __repr__(self) -> str:
        return f"Spectrum({self.summary()})"

    def _repr_html_(self) -> str:
        from alphaedit_core.display.svg import spectrum_html

        return spectrum_html(self)


@dataclass(frozen=True, eq=False)
class Projector:
    """The orthogonal projector P on a kept space, without the dense matrix.

    ``P = U U^T`` with the basis U of the kept space, or ``P = I - Q Q^T`` with the basis Q of its
    complement, whichever has fewer columns.

    Attributes:
        basis: U or Q, (d_in, r), float32, orthonormal columns, r <= d_in / 2.
        kept: True if ``basis`` spans the kept space, False if it spans the complement.
    """

    basis: Tensor
    kept: bool

    @property
    def size(self) -> int:
        """d_in."""
        return self.basis.shape[0]

    @property
    def rank(self) -> int:
        """Dimension of the kept space."""
        return self.basis.shape[1] if self.kept else self.size - self.basis.shape[1]

    @property
    def width(self) -> int:
        """Numbers of a projected vector: it is one of d_in numbers again."""
        return self.size

    @property
    def device(self) -> torch.device:
        """Where the basis is."""
        return self.basis.device

    def half(self, keys: Tensor) -> Tensor:
        """``P keys``: as a metric, ``P = P P^T``."""
        return self(keys)

    def back(self, coordinates: Tensor) -> Tensor:
        """The coordinates as they are: ``P P = P``."""
        return coordinates

    def __call__(self, vectors: Tensor) -> Tensor:
        """``P vectors`` for columns (d_in, n), in their dtype."""
        basis = self.basis.to(vectors.dtype)
        inside = basis @ (basis.T @ vectors)
        return inside if self.kept else vectors - inside

    @classmethod
    def identity(cls, size: int, device: torch.device | str = "cpu") -> Projector:
        """P = I: no projection at all."""
        return cls(torch.zeros(size, 0, device=device), kept=False)


@dataclass(frozen=True, eq=False)
class InverseMoment:
    """``U Lambda^-1 U^T``, the inverse of C over some or all of its eigenvectors.

    Attributes:
        basis: U, (d_in, r), float32, orthonormal columns.
        scale: ``Lambda^(-1/2)``, (r,), float32.
    """

    basis: Tensor
    scale: Tensor

    @property
    def width(self) -> int:
        """r."""
        return self.basis.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the basis is."""
        return self.basis.device

    def half(self, keys: Tensor) -> Tensor:
        """``Lambda^(-1/2) U^T keys`` for columns (d_in, n): (r, n), in their dtype."""
        return self.scale.to(keys.dtype)[:, None] * (self.basis.to(keys.dtype).T @ keys)

    def back(self, coordinates: Tensor) -> Tensor:
        """``U Lambda^(-1/2) coordinates`` for columns (r, n): (d_in, n)."""
        scale = self.scale.to(coordinates.dtype)[:, None]
        return self.basis.to(coordinates.dtype) @ (scale * coordinates)


class Bases:
    """The eigenvectors of one layer on one device, as projectors and inverses; each read once.

    Args:
        spectrum: of the layer.
        device: where they are to be.
    """

    def __init__(self, spectrum: Spectrum, device: torch.device | str = "cpu") -> None:
        self._spectrum, self._device = spectrum, device
        self._projectors: dict[str, Projector] = {}
        self._inverse: InverseMoment | None = None

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

    def inverse(self, threshold: float | str | Threshold | None = None) -> InverseMoment:
        """``C^-1``, or with a threshold inside the kept space alone: a part of the same basis."""
        if self._inverse is None:
            self._inverse = self._spectrum.inverse(None, self._device)
        if threshold is None:
            return self._inverse
        dropped = self.size - self._spectrum.rank(threshold)
        return InverseMoment(self._inverse.basis[:, dropped:], self._inverse.scale[dropped:])


def save_spectrum(file: Path, values: Tensor, rows: Tensor, metadata: Mapping[str, str]) -> None:
    """Write eigenvalues (d_in,) and eigenvectors as rows (d_in, d_in), largest first.

    Every piece of rows has a checksum of its own, since only some are read later.

    Raises:
        OSError: if it cannot be written.
    """
    pieces = [tensor_digest(piece) for piece in rows.split(_PIECE)]
    save_tensors(
        file,
        {"eigenvalues": values, "vectors": rows},
        {**metadata, "pieces": json.dumps(pieces)},
    )


def _rows(file: Path, moment: str, start: int, stop: int) -> Tensor:
    """Eigenvectors start … stop - 1 as rows, those of a piece checked together."""
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            check_seal(file, metadata)
            if moment and metadata["moment"] != moment:
                raise ValueError("belongs to other statistics")
            pieces, every = json.loads(metadata["pieces"]), stored.get_slice("vectors")
            # Stored as rows, so that a range of them is one piece of the file.
            # Copied, because a slice of a mapped file holds on to the whole of it.
            found = torch.empty(stop - start, *every.get_shape()[1:])
            for number in range(start // _PIECE, -(-stop // _PIECE)):
                first = number * _PIECE
                piece = every[first : first + _PIECE].contiguous()
                if tensor_digest(piece) != pieces[number]:
                    raise ValueError(f"rows from {first} do not have their checksum")
                begin, end = max(start, first), min(stop, first + len(piece))
                found[begin - start : end - start] = piece[begin - first : end - first]
    except FileNotFoundError:
        raise CorruptFileError(f"{file}: is no longer there; read the spectrum again") from None
    except (SafetensorError, ValueError, KeyError, IndexError) as error:
        raise CorruptFileError(f"{file}: damaged ({error}); remove it") from error
    return found


def spectra(
    statistics: KeyStatistics, cache: bool = True, monitor: Monitor | None = None
) -> dict[int, Spectrum]:
    """The spectrum of every layer of the statistics."""
    monitor = monitor or Monitor()
    with monitor.stage("null space", len(statistics.layers), "layer"):
        result = {}
        for layer in statistics.layers:
            result[layer] = spectrum(statistics, layer, cache)
            monitor.advance()
    return result


def spectrum_file(checksum: str) -> Path:
    """Where the cache keeps eigenvalues and eigenvectors of the moment with this checksum."""
    # The form of the file is part of the name: earlier ones hold no checksums of pieces.
    name = blake2b(f"2 {checksum}".encode(), digest_size=8).hexdigest()
    return spectra_dir() / f"{name}.safetensors"


def spectrum(statistics: KeyStatistics, layer: int, cache: bool = True) -> Spectrum:
    """Eigenvalues and eigenvectors of one layer's second moment, from the cache or computed.

    The eigenvectors are written to a file in either case and read from it when a projector is made
    (they are d_in^2 numbers, most of which a session never holds), where what is read is checked
    again. A file that is damaged, or belongs to other statistics, is made again.

    Args:
        statistics: as :func:`~.statistics.collect_statistics` gives them.
        layer: one of their layers.
        cache: False to compute again even if a good file is there.
    """
    moment = statistics[layer]
    file = spectrum_file(moment.checksum)
    if cache:
        try:
            stored, metadata = load_tensors(file, sealed=True)
            if metadata["moment"] != moment.checksum:
                raise CorruptFileError(f"{file}: belongs to other statistics")
            values = stored["eigenvalues"].numpy()
            if not np.isfinite(values).all():  # which an earlier version did not look at
                raise CorruptFileError(f"{file}: eigenvalues that are no numbers")
            health = float(metadata["health"])
            return Spectrum(layer, values, moment.tokens, file, health, moment.checksum)
        except FileNotFoundError:
            pass
        except (CorruptFileError, KeyError, ValueError) as error:
            log.warning("%s; made again", error)
    if not bool(moment.moment.isfinite().all()):
        raise SessionError(
            f"layer {layer}: its statistics are not finite; remove them from the cache, and load "
            "the model in bfloat16 or float32"
        )
    # eigh, because C is symmetric; in float64 because its eigenvalues span ten orders of magnitude.
    values, vectors = torch.linalg.eigh(moment.moment.double())
    values, rows = values.flip(0), vectors.T.flip(0).float()
    health = float((rows @ rows.T - torch.eye(len(rows))).abs().max())
    save_spectrum(file, values, rows, {"health": repr(health), "moment": moment.checksum})
    return Spectrum(layer, values.numpy(), moment.tokens, file, health, moment.checksum)
