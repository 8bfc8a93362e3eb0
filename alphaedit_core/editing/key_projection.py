"""Fraction of each fact's key in the kept space, at every threshold, before an edit.

An edit writes ``dW = R (K P)^T ...`` (Fang et al. 2025, Eq. 14), which uses only the part P k of a
key k. As P keeps the directions of smallest eigenvalue, the fraction ``|P k|^2 / |k|^2`` is a
cumulative sum of squared coefficients ``(V^T k)^2`` from the smallest eigenvalue up. The sum is
computed once and looked up for every threshold.

Keys are read on the current weights. An edit reads a later layer's keys after the earlier layers
were updated, so its fractions can differ slightly.
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

#: Number of eigenvectors in memory; 60 MB in float64 for d_in = 14,336.
_CHUNK = 512


@dataclass(frozen=True, eq=False)
class KeyProjection:
    """Fraction of each fact's key in every possible kept space.

    Attributes:
        facts: n facts.
        by_layer: by layer, (d_in + 1, n), float32: row r is the fraction of each key's squared norm
            in the r directions of smallest eigenvalue.
    """

    facts: tuple[Fact, ...]
    by_layer: Mapping[int, np.ndarray] = field(repr=False)

    def at(self, ranks: Mapping[int, int]) -> dict[int, list[float]]:
        """Return the kept fraction of each fact's key, 0 to 1, by layer.

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
    """Project the keys of facts onto the kept spaces of every rank; needs no model.

    Args:
        facts: n facts.
        keys: their keys by layer, (d_in, n), from :func:`fact_keys`.
        spectra: spectrum of each layer, with a file of eigenvectors.
        monitor: receives progress.

    Raises:
        CorruptFileError: if a file of eigenvectors cannot be read.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    by_layer: dict[int, np.ndarray] = {}
    with monitor.stage("shares of the keys", len(keys), "layer"):
        for layer, layer_keys in keys.items():
            by_layer[layer] = shares_by_rank(spectra[layer], layer_keys, monitor).astype(np.float32)
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
    """Return the keys of facts by layer, (d_in, n), float32 or better, from one recorded pass.

    Args:
        model: the model, with its current weights.
        facts: n facts, at least one.
        contexts: texts placed before the prompts.
        layers: indices of blocks, ascending.
        monitor: checked for cancellation between blocks.

    Raises:
        InputError: if a fact cannot be tokenized.
        Canceled: if canceled.
    """
    requests = prepare(model, facts, contexts, layers[-1])
    states = SubjectStates(model, requests, layers, plan_batches(model), monitor or Monitor())
    return {layer: states.read(layer).keys for layer in layers}


def shares_by_rank(spectrum: Spectrum, keys: Tensor, monitor: Monitor | None = None) -> np.ndarray:
    """Return the fraction of each key's squared norm in the kept space of every rank.

    Eigenvectors are read in chunks, from the smallest eigenvalue up.

    Args:
        spectrum: spectrum of the layer, with a file of eigenvectors.
        keys: (d_in, n).
        monitor: checked for cancellation between chunks.

    Returns:
        (d_in + 1, n), float64, increasing from 0 to 1 down each column; all 0 for a zero key.

    Raises:
        CorruptFileError: if the file of eigenvectors cannot be read.
        Canceled: if canceled.
    """
    size, keys = spectrum.size, keys.detach().cpu().double()
    squares = np.zeros((size + 1, keys.shape[1]))
    for stop in range(size, 0, -_CHUNK):
        if monitor is not None:
            monitor.check()
        start = max(0, stop - _CHUNK)
        coefficients = spectrum.vectors(start, stop).double().T @ keys
        # Row r of the result ends with direction size - r, the r-th smallest.
        squares[size - stop + 1 : size - start + 1] = coefficients.square().flip(0).numpy()
    norms = keys.square().sum(dim=0).numpy()
    sums = np.cumsum(squares, axis=0) / np.where(norms > 0, norms, 1.0)
    return np.minimum(sums, 1.0)  # the eigenvectors are orthonormal only up to rounding
