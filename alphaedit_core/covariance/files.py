"""What key statistics are, and how they lie on the disk.

One safetensors file per layer in the cache; one file for any number of layers to share with others.
Both have the same form and carry the recipe and a checksum of every matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from alphaedit_core.errors import CorruptFileError
from alphaedit_core.model.identity import Identity
from alphaedit_core.storage.cache import statistics_dir
from alphaedit_core.storage.tensor_files import (
    check_seal,
    load_tensors,
    opened_tensors,
    save_tensors,
    tensor_digest,
)

_FORMAT = "alphaedit key statistics 2"
_FORMER = ("alphaedit key statistics 1",)


@dataclass(frozen=True)
class StatisticsSpec:
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

    recipe: StatisticsSpec
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


def layer_file(recipe: StatisticsSpec, layer: int) -> Path:
    """Where the cache keeps one layer."""
    return statistics_dir() / recipe.key() / f"layer-{layer:03}.safetensors"


def write_layers(file: Path, recipe: StatisticsSpec, layers: Iterable[LayerStatistics]) -> None:
    """Write one file; it replaces what stands there only when it is whole."""
    metadata = {"format": _FORMAT} | recipe.to_dict()
    moments = {}
    for statistics in layers:
        moments[str(statistics.layer)] = statistics.moment
        metadata[f"tokens.{statistics.layer}"] = str(statistics.tokens)
    save_tensors(file, moments, metadata)


def read_layers(file: Path) -> tuple[StatisticsSpec, dict[int, LayerStatistics]]:
    """Recipe and layers of a file.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be read; names the file and why.
        CorruptFileError: if it is damaged or holds something else.
    """
    tensors, metadata = load_tensors(file)
    try:
        recipe = _recipe_of(metadata, file)
        check_seal(file, metadata)
        layers = {
            int(name): LayerStatistics(int(name), moment, int(metadata[f"tokens.{name}"]))
            for name, moment in tensors.items()
        }
    except (KeyError, ValueError):
        raise CorruptFileError(
            f"{file}: not a file of key statistics; give one that an export wrote"
        ) from None
    return recipe, dict(sorted(layers.items()))


def read_head(file: Path) -> tuple[StatisticsSpec, dict[int, str]]:
    """Recipe of a file and the checksum of each layer's matrix as written there; reads no matrix.

    Raises:
        FileNotFoundError: if there is none.
        OSError: if it cannot be read; names the file and why.
        CorruptFileError: if it is damaged or holds something else.
    """
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            checksums = {int(name): metadata[f"checksum.{name}"] for name in stored.keys()}  # noqa: SIM118
        check_seal(file, metadata)
        return _recipe_of(metadata, file), checksums
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{file}: not a file of key statistics ({error})") from error


def _recipe_of(metadata: Mapping[str, str], file: Path) -> StatisticsSpec:
    """The recipe in a file's metadata; KeyError or ValueError if there is none."""
    if metadata["format"] in _FORMER:
        raise CorruptFileError(
            f"{file}: key statistics of an earlier version, which do not say what tokenizer and "
            "configuration they were made with; collect and export them anew"
        )
    if metadata["format"] != _FORMAT:
        raise KeyError("format")
    return StatisticsSpec(
        Identity.from_dict(metadata, str(file)),
        metadata["text"],
        metadata["text_name"],
        int(metadata["tokens"]),
        int(metadata["window"]),
    )
