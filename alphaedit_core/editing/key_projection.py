"""What a threshold leaves of a fact's key, for all thresholds at once, before anything is edited.

An edit writes ``dW = R (K P)^T ...`` (Fang et al. 2025, Eq. 14): of a fact's key k only the part
P k can be used. P keeps the directions of smallest eigenvalue, so the share ``|P k|^2 / |k|^2`` is
a running sum of squared coefficients ``(V^T k)^2`` from the smallest eigenvalue up. That sum is
taken once; then every threshold is one look-up.

Keys are read on the model as it stands. In an edit the keys of a later layer are read after the
earlier layers were changed, so its shares may come out a little different there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.progress import Monitor

from .subject_keys import SubjectStates

#: Eigenvectors that are in memory at once; of d_in = 14,336 they take 60 MB in float64.
_PIECE = 512


@dataclass(frozen=True, eq=False)
class KeyProjection:
    """How much of each fact's key every possible kept space keeps.

    Attributes:
        facts: n facts.
        by_layer: for each layer (d_in + 1, n), float32: row r has the shares of the keys' squared
            norms that lie in the r directions of smallest eigenvalue.
    """

    facts: tuple[Fact, ...]
    by_layer: Mapping[int, np.ndarray] = field(repr=False)

    def at(self, ranks: Mapping[int, int]) -> dict[int, list[float]]:
        """Shares that survive, one for each fact, 0 to 1, by layer.

        Args:
            ranks: dimension of the kept space of each layer.
        """
        return {layer: self.by_layer[layer][rank].tolist() for layer, rank in ranks.items()}


def project_keys(
    facts: Sequence[Fact],
    keys: Mapping[int, Tensor],
    spectra: Mapping[int, Spectrum],
    monitor: Monitor | None = None,
) -> KeyProjection:
    """Spread the keys of facts over the eigenvectors of every layer; needs no model.

    Args:
        facts: n facts.
        keys: their keys by layer, (d_in, n), as :func:`fact_keys` gives them.
        spectra: by layer, with eigenvectors.
        monitor: what to report to.

    Raises:
        CorruptFileError: if a file of eigenvectors cannot be read.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    by_layer: dict[int, np.ndarray] = {}
    with monitor.stage("shares of the keys", len(keys), "layer"):
        for layer, own in keys.items():
            by_layer[layer] = shares_by_rank(spectra[layer], own, monitor).astype(np.float32)
            monitor.advance()
    return KeyProjection(tuple(facts), by_layer)


@torch.no_grad()
def fact_keys(
    model: EditableModel,
    facts: Sequence[Fact],
    contexts: Sequence[str],
    layers: Sequence[int],
    monitor: Monitor | None = None,
) -> dict[int, Tensor]:
    """Keys of facts by layer, (d_in, n), float32 or better, all from one recorded pass.

    Args:
        model: the model, as it stands.
        facts: n facts, at least one.
        contexts: texts to put before prompts.
        layers: indices of blocks, ascending.
        monitor: asked between blocks whether to stop.

    Raises:
        InputError: if a fact cannot be read as tokens.
        Canceled: if canceled.
    """
    requests = prepare(model, facts, contexts, layers[-1])
    states = SubjectStates(model, requests, layers, plan_batches(model), monitor or Monitor())
    return {layer: states.read(layer).keys for layer in layers}


def shares_by_rank(spectrum: Spectrum, keys: Tensor, monitor: Monitor | None = None) -> np.ndarray:
    """The share of each key that the kept space of every rank keeps.

    Eigenvectors are read piece by piece, from the smallest eigenvalue up, and never held whole.

    Args:
        spectrum: of the layer, with its file of eigenvectors.
        keys: (d_in, n).
        monitor: asked between pieces whether to stop.

    Returns:
        (d_in + 1, n), float64, rising from 0 to 1 down each column; 0 throughout for a zero key.
    """
    size, keys = spectrum.size, keys.detach().cpu().double()
    squares = np.zeros((size + 1, keys.shape[1]))
    for stop in range(size, 0, -_PIECE):
        if monitor is not None:
            monitor.check()
        start = max(0, stop - _PIECE)
        coefficients = spectrum.vectors(start, stop).double().T @ keys
        # Row r of the result ends with direction size - r, the r-th smallest.
        squares[size - stop + 1 : size - start + 1] = coefficients.square().flip(0).numpy()
    norms = keys.square().sum(dim=0).numpy()
    sums = np.cumsum(squares, axis=0) / np.where(norms > 0, norms, 1.0)
    return np.minimum(sums, 1.0)  # eigenvectors are orthonormal up to the spectrum's health only
