"""Key statistics of others, taken into the cache after a look at whether they can be true.

A matrix that no pass over text could have given, or one of another layer, would be used by every
later edit without a word. So the file is compared with the model part by part, every matrix is
tested for being a second moment, and the few keys of a short text are asked which layer it is of.
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

#: What float32 sums over a pass may be off by, as a share of the largest entry of the diagonal.
_ROUNDED_OFF = 1e-4
#: How many times larger or smaller than those of a short text energies over another text may be.
_SCALE = 50.0
#: More than anybody reads.
_MOST_TOKENS = 10**12
#: Energies under this share of their mean are as good as none.
_FLOOR = 1e-6
#: A text whose keys tell layers apart.
_TEXT = (
    "The river rises in the hills north of the town and flows south for ninety miles to the sea.",
    "In 1887 she published her first novel, which was translated into French two years later.",
    "Water is a molecule of two atoms of hydrogen and one of oxygen; it boils at 100 degrees.",
    "He was elected to the council in May, but resigned after a dispute over the new railway.",
    "The album was recorded in London and reached number four in the charts the same week.",
)


def import_statistics(path: str | Path, model: EditableModel) -> KeyStatistics:
    """Read statistics that somebody else exported, and put them into the cache.

    Args:
        path: the file.
        model: the model that they shall serve.

    Raises:
        InputError: if the file does not exist, or holds what cannot be second moments of this
            model's keys; nothing enters the cache.
        CorruptFileError: if it is damaged or not such a file.
        FingerprintError: if it belongs to other weights or was made otherwise than this model
            would make it; names what differs.
        SessionError: if another thread uses the model, or its weights were changed by hand since a
            session took it.
    """
    file = Path(path)
    try:
        recipe, layers = read_layers(file)
    except FileNotFoundError:
        raise InputError(f"{file}: does not exist; give a file that an export wrote") from None
    with unedited(model) as here:
        _compare(file, recipe.model, here)
        try:
            if not layers:
                raise ValueError("holds no layer")
            for statistics in layers.values():
                _check_moment(statistics, recipe, model)
            _check_layers(layers, model)
        except ValueError as error:
            raise InputError(f"{file}: {error}; have it exported anew") from None
    recipe = replace(recipe, model=here)  # buffers may differ in their last bits
    for layer, statistics in layers.items():
        write_layers(layer_file(recipe, layer), recipe, [statistics])
    return KeyStatistics(recipe, layers, cached=True)


def _compare(file: Path, was: Identity, here: Identity) -> None:
    """Refuse statistics of another model, or of the same that was run otherwise."""
    differences = was.differences(here)
    if "fingerprint" in differences:
        raise FingerprintError(
            f"{file}: belongs to weights {was.fingerprint}, this model has {here.fingerprint}; "
            "load the model that the statistics were collected on"
        )
    if differences:
        raise FingerprintError(
            f"{file}: was collected otherwise than this model would: {describe(differences)}; load "
            "the model as it was, or collect anew"
        )


def _check_moment(
    statistics: LayerStatistics, recipe: StatisticsSpec, model: EditableModel
) -> None:
    """Refuse, by a ValueError, what no pass over text could have given."""
    moment, size, layer = statistics.moment, model.architecture.inner_size, statistics.layer
    if recipe.window != (own := window_length(model)):
        raise ValueError(f"was read in windows of {recipe.window} tokens, this model reads {own}")
    if not 0 < recipe.tokens <= _MOST_TOKENS:
        # The number itself may have thousands of digits.
        raise ValueError(f"does not say that 1 to {_MOST_TOKENS:,} tokens were to be read")
    if not 0 <= layer < model.layers:
        raise ValueError(
            f"layer {layer} is no block of this model, which has 0 to {model.layers - 1}"
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
    if not 0 < statistics.tokens <= recipe.tokens or statistics.tokens % recipe.window:
        raise ValueError(f"layer {layer} says {statistics.tokens} of {recipe.tokens} tokens")
    # The eigenvalues of the widest keys take minutes; a Cholesky factor exists if and only if all
    # are positive, here after as much is added as float32 may have rounded off.
    raised = moment.double()
    raised.diagonal().add_(_ROUNDED_OFF * float(moment.diagonal().max()))
    if int(torch.linalg.cholesky_ex(raised).info) != 0:
        raise ValueError(f"layer {layer} has negative eigenvalues")


def _check_layers(layers: Mapping[int, LayerStatistics], model: EditableModel) -> None:
    """Refuse, by a ValueError, a matrix whose diagonal looks like that of another layer.

    How much energy each dimension of the keys carries is a layer's own pattern, which any text
    shows; the order of the dimensions in another layer has nothing to do with it.
    """
    seen = _energies(model)
    for layer, statistics in layers.items():
        own = statistics.moment.diagonal().double()
        alike = torch.tensor([_correlation(own, energies) for energies in seen])
        best = int(alike.argmax())
        if best != layer:
            raise ValueError(
                f"layer {layer} is not that of this model's keys, but looks like layer {best} "
                f"(correlation {float(alike[best]):.2f}, with its own {float(alike[layer]):.2f})"
            )
        read = seen[layer] > 0
        times = float((own[read] / seen[layer][read]).median()) if bool(read.any()) else 1.0
        if not 1 / _SCALE <= times <= _SCALE:
            raise ValueError(
                f"layer {layer} is about {times:.2g} times the second moment of this model's keys; "
                "it has to be a mean over tokens, and no sum"
            )


@torch.no_grad()
def _energies(model: EditableModel) -> list[Tensor]:
    """Mean square of every dimension of the keys over a short text: (d_in,) for every layer."""
    every = range(model.layers)
    sums = [torch.zeros(model.architecture.inner_size, dtype=torch.float64) for _ in every]
    tokens = 0
    for text in _TEXT:
        row = encode(model.tokenizer, text)[0][: model.max_length]
        tokens += len(row) - 1
        keys = keys_of(model, torch.tensor([row], device=model.device), every, model.layers - 1)
        for layer in every:
            # Without the first token, which many models give keys of hundreds of times the length.
            sums[layer] += keys[layer][1:].double().square().sum(dim=0).cpu()
    return [total / max(tokens, 1) for total in sums]


def _correlation(one: Tensor, other: Tensor) -> float:
    """Of the logarithms of two patterns of energy."""
    logs = torch.stack([(x / x.mean()).clamp_min(_FLOOR).log() for x in (one, other)])
    return float(torch.corrcoef(logs)[0, 1].nan_to_num())
