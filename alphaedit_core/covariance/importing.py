"""Import of exported key statistics into the cache, with plausibility checks.

An invalid matrix, or one of another layer, would silently corrupt every later edit. So the
specification is compared with the model, every matrix is checked to be a second moment, and its
diagonal is compared with the keys of a short text to confirm the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from alphaedit_core.errors import FingerprintError, InputError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, describe, unedited
from alphaedit_core.model.tokenization import encode

from .collect import keys_of, window_length
from .files import (
    KeyStatistics,
    LayerStatistics,
    StatisticsSpec,
    layer_file,
    read_layers,
    write_layers,
)

#: Allowed rounding error of the float32 sums, relative to the largest diagonal entry.
_ROUNDING = 1e-4
#: Allowed ratio between the energies on the short text and in the file, either way.
_MAX_RATIO = 50.0
#: Largest plausible token budget.
_MAX_TOKENS = 10**12
#: Floor of the energies, relative to their mean, before the logarithm.
_FLOOR = 1e-6
#: Short text whose keys identify a layer.
_TEXT = (
    "The river rises in the hills north of the town and flows south for ninety miles to the sea.",
    "In 1887 she published her first novel, which was translated into French two years later.",
    "Water is a molecule of two atoms of hydrogen and one of oxygen; it boils at 100 degrees.",
    "He was elected to the council in May, but resigned after a dispute over the new railway.",
    "The album was recorded in London and reached number four in the charts the same week.",
)


def import_statistics(path: str | Path, model: EditableModel) -> KeyStatistics:
    """Read exported statistics and write them to the cache.

    Args:
        path: a file written by :func:`~.files.export_statistics`.
        model: the model that will use the statistics.

    Returns:
        The statistics, with ``cached`` True.

    Raises:
        InputError: if the file does not exist, or its matrices cannot be second moments of this
            model's keys; nothing is written to the cache.
        CorruptFileError: if the file is damaged or not a file of key statistics.
        FingerprintError: if the statistics belong to other weights, or were collected with other
            settings; names the differences.
        SessionError: if another thread uses the model, or its weights were changed outside its
            session.
    """
    file = Path(path)
    try:
        spec, layers = read_layers(file)
    except FileNotFoundError:
        raise InputError(f"{file}: does not exist; give an exported file") from None
    with unedited(model) as here:
        _compare(file, spec.model, here)
        try:
            if not layers:
                raise ValueError("has no layers")
            for statistics in layers.values():
                _check_moment(statistics, spec, model)
            _check_layers(layers, model)
        except ValueError as error:
            raise InputError(f"{file}: {error}; export it again") from None
    spec = replace(spec, model=here)  # buffers may differ in their last bits
    for layer, statistics in layers.items():
        write_layers(layer_file(spec, layer), spec, [statistics])
    return KeyStatistics(spec, layers, cached=True)


def _compare(file: Path, stored: Identity, here: Identity) -> None:
    """Check that the statistics belong to this model and its settings.

    Raises:
        FingerprintError: if they do not.
    """
    differences = stored.differences(here)
    if "fingerprint" in differences:
        raise FingerprintError(
            f"{file}: belongs to weights {stored.fingerprint}, this model has {here.fingerprint}; "
            "load the model that the statistics were collected on"
        )
    if differences:
        raise FingerprintError(
            f"{file}: was collected with other settings: {describe(differences)}; load the model "
            "as it was, or collect again"
        )


def _check_moment(statistics: LayerStatistics, spec: StatisticsSpec, model: EditableModel) -> None:
    """Check that a matrix can be a second moment of this model's keys.

    Raises:
        ValueError: if it cannot.
    """
    moment, size, layer = statistics.moment, model.architecture.inner_size, statistics.layer
    if spec.window != (window := window_length(model)):
        raise ValueError(f"has windows of {spec.window} tokens, this model's have {window}")
    if not 0 < spec.tokens <= _MAX_TOKENS:
        # Without the number, which can have thousands of digits.
        raise ValueError(f"its number of tokens is not from 1 to {_MAX_TOKENS:,}")
    if not 0 <= layer < model.layers:
        raise ValueError(
            f"layer {layer} is not a block of this model, which has 0 to {model.layers - 1}"
        )
    if moment.dtype != torch.float32:
        dtype = str(moment.dtype).removeprefix("torch.")
        raise ValueError(f"layer {layer} has the dtype {dtype}, not float32")
    if tuple(moment.shape) != (size, size):
        raise ValueError(f"layer {layer} has the shape {list(moment.shape)}, not {[size, size]}")
    if not bool(moment.isfinite().all()):
        raise ValueError(f"layer {layer} has numbers that are not finite")
    if not torch.equal(moment, moment.T):
        raise ValueError(f"layer {layer} is not symmetric")
    if bool((moment.diagonal() < 0).any()) or not bool((moment.diagonal() > 0).any()):
        raise ValueError(f"layer {layer} has a diagonal that is negative or all zero")
    if not 0 < statistics.tokens <= spec.tokens or statistics.tokens % spec.window:
        raise ValueError(f"layer {layer} has {statistics.tokens} of {spec.tokens} tokens")
    # A Cholesky factor exists if and only if all eigenvalues are positive; computing those takes
    # minutes for wide keys. The shift allows for the rounding of float32.
    shifted = moment.double()
    shifted.diagonal().add_(_ROUNDING * float(moment.diagonal().max()))
    if int(torch.linalg.cholesky_ex(shifted).info) != 0:
        raise ValueError(f"layer {layer} has negative eigenvalues")


def _check_layers(layers: Mapping[int, LayerStatistics], model: EditableModel) -> None:
    """Check that each matrix belongs to its layer, by its diagonal.

    The energies of the key dimensions are a pattern specific to a layer and similar on any text.

    Raises:
        ValueError: if a matrix resembles another layer's, or its scale is wrong.
    """
    measured = _energies(model)
    for layer, statistics in layers.items():
        stored = statistics.moment.diagonal().double()
        similarity = torch.tensor([_correlation(stored, energies) for energies in measured])
        best = int(similarity.argmax())
        if best != layer:
            raise ValueError(
                f"layer {layer} does not match this model's keys but resembles layer {best} "
                f"(correlation {float(similarity[best]):.2f}, with its own layer "
                f"{float(similarity[layer]):.2f})"
            )
        used = measured[layer] > 0
        ratio = float((stored[used] / measured[layer][used]).median()) if bool(used.any()) else 1.0
        if not 1 / _MAX_RATIO <= ratio <= _MAX_RATIO:
            raise ValueError(
                f"layer {layer} is about {ratio:.2g} times the second moment of this model's keys; "
                "it must be a mean over tokens, not a sum"
            )


@torch.no_grad()
def _energies(model: EditableModel) -> list[Tensor]:
    """Return the mean square of every key dimension on a short text, (d_in,) for each layer."""
    layers = range(model.layers)
    sums = [torch.zeros(model.architecture.inner_size, dtype=torch.float64) for _ in layers]
    tokens = 0
    for text in _TEXT:
        row = encode(model.tokenizer, text)[0][: model.max_length]
        tokens += len(row) - 1
        keys = keys_of(model, torch.tensor([row], device=model.device), layers, model.layers - 1)
        for layer in layers:
            # Skip the first token, whose key is hundreds of times longer in many models.
            sums[layer] += keys[layer][1:].double().square().sum(dim=0).cpu()
    return [total / max(tokens, 1) for total in sums]


def _correlation(one: Tensor, other: Tensor) -> float:
    """Return the correlation of the logarithms of two energy patterns."""
    logs = torch.stack([(x / x.mean()).clamp_min(_FLOOR).log() for x in (one, other)])
    return float(torch.corrcoef(logs)[0, 1].nan_to_num())
