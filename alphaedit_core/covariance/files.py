"""Key statistics and their files.

The cache has one safetensors file per layer; an exported file has any number of layers. Both have
the same format, with the specification and a checksum of every matrix.
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
    """Settings of key statistics: equal settings give equal matrices up to rounding.

    Attributes:
        model: identity of the model.
        text: checksum of the running text.
        text_name: display name of the text.
        tokens: number of tokens to read.
        window: number of tokens in a window.
    """

    model: Identity
    text: str
    text_name: str
    tokens: int
    window: int

    @property
    def fingerprint(self) -> str:
        """The digest of the model's weights."""
        return self.model.fingerprint

    @property
    def dtype(self) -> str:
        """The dtype of the forward pass."""
        return self.model.dtype

    def key(self) -> str:
        """Return a short digest that names the cache folder of this specification."""
        text = repr((self.model.key(), self.text, self.tokens, self.window))
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, str]:
        """Return all fields as strings, with those of the model's identity."""
        fields = {name: str(value) for name, value in vars(self).items() if name != "model"}
        return fields | self.model.to_dict()


@dataclass(frozen=True)
class LayerStatistics:
    """Second moment of one layer's keys.

    Attributes:
        layer: index of the block.
        moment: C, mean of ``k k^T`` over tokens, (d_in, d_in), float32, symmetric.
        tokens: number of tokens read; fewer than requested if the text was too short.
    """

    layer: int
    moment: Tensor
    tokens: int

    @property
    def checksum(self) -> str:
        """The hex digest of the matrix's bytes."""
        return tensor_digest(self.moment)


@dataclass(frozen=True)
class KeyStatistics:
    """Second moments of several layers, from one specification.

    Attributes:
        spec: settings that determine the matrices.
        layers: second moments by layer.
        cached: True if all were in the cache.
    """

    spec: StatisticsSpec
    layers: dict[int, LayerStatistics]
    cached: bool = False

    def __getitem__(self, layer: int) -> LayerStatistics:
        return self.layers[layer]

    def __repr__(self) -> str:
        widths = {len(s.moment) for s in self.layers.values()}
        return (
            f"KeyStatistics(layers {', '.join(map(str, self.layers))}, d_in "
            f"{', '.join(map(str, widths))}, {self.spec.tokens:,} tokens of "
            f"{self.spec.text_name}{', from cache' if self.cached else ''})"
        )


def export_statistics(statistics: KeyStatistics, path: str | Path) -> None:
    """Write statistics to one safetensors file, which :func:`~.importing.import_statistics` reads.

    Args:
        statistics: the statistics.
        path: the file; replaced if it exists.

    Raises:
        OSError: if the file cannot be written.
    """
    write_layers(Path(path), statistics.spec, statistics.layers.values())


def layer_file(spec: StatisticsSpec, layer: int) -> Path:
    """Return the cache file of one layer."""
    return statistics_dir() / spec.key() / f"layer-{layer:03}.safetensors"


def write_layers(file: Path, spec: StatisticsSpec, layers: Iterable[LayerStatistics]) -> None:
    """Write layers to one file atomically.

    Raises:
        OSError: if the file cannot be written.
    """
    metadata = {"format": _FORMAT} | spec.to_dict()
    moments = {}
    for statistics in layers:
        moments[str(statistics.layer)] = statistics.moment
        metadata[f"tokens.{statistics.layer}"] = str(statistics.tokens)
    save_tensors(file, moments, metadata)


def read_layers(file: Path) -> tuple[StatisticsSpec, dict[int, LayerStatistics]]:
    """Return the specification and the layers of a file.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
        CorruptFileError: if it is damaged or not a file of key statistics.
    """
    tensors, metadata = load_tensors(file)
    try:
        spec = _spec_of(metadata, file)
        check_seal(file, metadata)
        layers = {
            int(name): LayerStatistics(int(name), moment, int(metadata[f"tokens.{name}"]))
            for name, moment in tensors.items()
        }
    except (KeyError, ValueError):
        raise CorruptFileError(
            f"{file}: not a file of key statistics; give an exported file"
        ) from None
    return spec, dict(sorted(layers.items()))


def read_head(file: Path) -> tuple[StatisticsSpec, dict[int, str]]:
    """Return a file's specification and each layer's stored checksum, without reading matrices.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
        CorruptFileError: if it is damaged or not a file of key statistics.
    """
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            # safe_open has keys() but cannot be iterated.
            checksums = {int(name): metadata[f"checksum.{name}"] for name in stored.keys()}  # noqa: SIM118
        check_seal(file, metadata)
        return _spec_of(metadata, file), checksums
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptFileError(f"{file}: not a file of key statistics ({error})") from error


def _spec_of(metadata: Mapping[str, str], file: Path) -> StatisticsSpec:
    """Return the specification in a file's metadata.

    Raises:
        CorruptFileError: if an earlier version wrote the file.
        KeyError: if a field is missing or the format is another one.
        ValueError: if a field is invalid.
    """
    if metadata["format"] in _FORMER:
        raise CorruptFileError(
            f"{file}: key statistics of an earlier version, without the tokenizer and "
            "configuration they were collected with; collect and export them again"
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
