"""What key statistics are, and how they lie on the disk.

One safetensors file per layer in the cache; one file for any number of layers to share with others.
Both have the same form and carry the recipe and a checksum of every matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .cache import statistics_dir
from .errors import CorruptFileError, FingerprintError, InputError
from .identity import Identity, describe, identity
from .models import EditableModel
from .tensor_files import check_seal, load_tensors, save_tensors, tensor_digest

_FORMAT = "alphaedit key statistics 2"
_FORMER = ("alphaedit key statistics 1",)
#: What float32 sums over a pass may be off by, as a share of the largest entry of the diagonal.
_ROUNDED_OFF = 1e-4


@dataclass(frozen=True)
class Recipe:
    """What determines statistics: equal recipes give equal matrices, but for rounding.

    Attributes:
        model: what the model is.
        text: checksum of the running text.
        text_name: its name, for people.
        tokens: number of tokens read.
        window: tokens in a window.
    """

    model: Identity
    text: str
    text_name: str
    tokens: int
    window: int

    @property
    def fingerprint(self) -> str:
        """Digest of the model's weights."""
        return self.model.fingerprint

    @property
    def dtype(self) -> str:
        """Dtype of the forward pass."""
        return self.model.dtype

    def key(self) -> str:
        """A short digest that names the files of this recipe."""
        text = repr((self.model.key(), self.text, self.tokens, self.window))
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, str]:
        """All parts as texts by name, the model's among them."""
        own = {name: str(value) for name, value in vars(self).items() if name != "model"}
        return own | self.model.to_dict()


@dataclass(frozen=True)
class LayerStatistics:
    """Second moment of one layer's keys.

    Attributes:
        layer: index of the block.
        moment: C, (d_in, d_in), float32, symmetric, the mean over tokens of ``k k^T``.
        tokens: number of tokens that were read (fewer than asked for where the text was short).
    """

    layer: int
    moment: Tensor
    tokens: int

    @property
    def checksum(self) -> str:
        """Hex digest of the matrix's bytes."""
        return tensor_digest(self.moment)


@dataclass(frozen=True)
class KeyStatistics:
    """Second moments of several layers, from one recipe.

    Attributes:
        recipe: what they were made from.
        layers: the matrices by layer.
        cached: True if nothing had to be computed.
    """

    recipe: Recipe
    layers: dict[int, LayerStatistics]
    cached: bool = False

    def __getitem__(self, layer: int) -> LayerStatistics:
        return self.layers[layer]

    def __repr__(self) -> str:
        widths = {len(s.moment) for s in self.layers.values()}
        return (
            f"KeyStatistics(layers {', '.join(map(str, self.layers))}, d_in "
            f"{', '.join(map(str, widths))}, {self.recipe.tokens:,} tokens of "
            f"{self.recipe.text_name}{', from cache' if self.cached else ''})"
        )


def export_statistics(statistics: KeyStatistics, path: str | Path) -> None:
    """Write statistics as one safetensors file that others can import, with its checksums inside.

    Raises:
        OSError: if the file cannot be written.
    """
    write_layers(Path(path), statistics.recipe, statistics.layers.values())


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
    """
    file = Path(path)
    try:
        recipe, layers = read_layers(file)
    except FileNotFoundError:
        raise InputError(f"{file}: does not exist; give a file that an export wrote") from None
    here = identity(model)
    differences = recipe.model.differences(here)
    if "fingerprint" in differences:
        raise FingerprintError(
            f"{file}: belongs to weights {recipe.fingerprint}, this model has {here.fingerprint}; "
            "load the model that the statistics were collected on"
        )
    if differences:
        raise FingerprintError(
            f"{file}: was collected otherwise than this model would: {describe(differences)}; load "
            "the model as it was, or collect anew"
        )
    for layer, statistics in layers.items():
        try:
            _check_moment(statistics, recipe, model)
        except ValueError as error:
            raise InputError(f"{file}: layer {layer} {error}; export it anew") from None
    recipe = replace(recipe, model=here)  # buffers may differ in their last bits
    for layer, statistics in layers.items():
        write_layers(layer_file(recipe, layer), recipe, [statistics])
    return KeyStatistics(recipe, layers, cached=True)


def _check_moment(statistics: LayerStatistics, recipe: Recipe, model: EditableModel) -> None:
    """Refuse, by a ValueError, what no pass over text could have given."""
    moment, size = statistics.moment, model.anatomy.inner_size
    if not 0 <= statistics.layer < model.layers:
        raise ValueError(f"is no block of this model, which has 0 to {model.layers - 1}")
    if moment.dtype != torch.float32:
        raise ValueError(f"has the dtype {str(moment.dtype).removeprefix('torch.')}, not float32")
    if tuple(moment.shape) != (size, size):
        raise ValueError(f"has the shape {list(moment.shape)}, not {[size, size]}")
    if not bool(moment.isfinite().all()):
        raise ValueError("has numbers that are not finite")
    if not torch.equal(moment, moment.T):
        raise ValueError("is not symmetric")
    if bool((moment.diagonal() < 0).any()) or not bool((moment.diagonal() > 0).any()):
        raise ValueError("has a diagonal that is negative or all zero")
    if not 0 < statistics.tokens <= recipe.tokens or statistics.tokens % recipe.window:
        raise ValueError(f"says {statistics.tokens} of {recipe.tokens} tokens were read")
    # eigvalsh would take minutes for the widest keys; a Cholesky factor exists if and only if all
    # eigenvalues are positive, here after as much is added as float32 may have rounded off.
    scale = float(moment.diagonal().max())
    raised = moment.double()
    raised.diagonal().add_(_ROUNDED_OFF * scale)
    if int(torch.linalg.cholesky_ex(raised).info) != 0:
        raise ValueError("has negative eigenvalues")


def layer_file(recipe: Recipe, layer: int) -> Path:
    """Where the cache keeps one layer."""
    return statistics_dir() / recipe.key() / f"layer-{layer:03}.safetensors"


def write_layers(file: Path, recipe: Recipe, layers: Iterable[LayerStatistics]) -> None:
    """Write one file; it replaces what stands there only when it is whole."""
    metadata = {"format": _FORMAT} | recipe.to_dict()
    moments = {}
    for statistics in layers:
        moments[str(statistics.layer)] = statistics.moment
        metadata[f"tokens.{statistics.layer}"] = str(statistics.tokens)
    save_tensors(file, moments, metadata)


def read_layers(file: Path) -> tuple[Recipe, dict[int, LayerStatistics]]:
    """Recipe and layers of a file.

    Raises:
        FileNotFoundError: if there is none.
        CorruptFileError: if it is damaged or holds something else.
    """
    tensors, metadata = load_tensors(file, sealed=True)
    try:
        recipe = _recipe_of(metadata, file)
        layers = {
            int(name): LayerStatistics(int(name), moment, int(metadata[f"tokens.{name}"]))
            for name, moment in tensors.items()
        }
    except (KeyError, ValueError):
        raise CorruptFileError(
            f"{file}: not a file of key statistics; give one that an export wrote"
        ) from None
    return recipe, dict(sorted(layers.items()))


def read_head(file: Path) -> tuple[Recipe, dict[int, str]]:
    """Recipe of a file and the checksum of each layer's matrix as written there; reads no matrix.

    Raises:
        CorruptFileError: if it cannot be read or holds something else.
    """
    try:
        with safe_open(file, "pt") as stored:
            metadata = stored.metadata() or {}
            checksums = {int(name): metadata[f"checksum.{name}"] for name in stored.keys()}  # noqa: SIM118
        check_seal(file, metadata)
        return _recipe_of(metadata, file), checksums
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{file}: not a file of key statistics ({error})") from error


def _recipe_of(metadata: Mapping[str, str], file: Path) -> Recipe:
    """The recipe in a file's metadata; KeyError or ValueError if there is none."""
    if metadata["format"] in _FORMER:
        raise CorruptFileError(
            f"{file}: key statistics of an earlier version, which do not say what tokenizer and "
            "configuration they were made with; collect and export them anew"
        )
    if metadata["format"] != _FORMAT:
        raise KeyError("format")
    return Recipe(
        Identity.from_dict(metadata, str(file)),
        metadata["text"],
        metadata["text_name"],
        int(metadata["tokens"]),
        int(metadata["window"]),
    )
