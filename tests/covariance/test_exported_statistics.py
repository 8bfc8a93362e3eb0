"""Export and import of key statistics, and rejection of invalid files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from key_statistics import CHUNK, collect, same
from safetensors.torch import save_file
from tiny import WINDOW, tiny_model
from torch import Tensor

from alphaedit_core.covariance.files import KeyStatistics, export_statistics
from alphaedit_core.covariance.importing import import_statistics
from alphaedit_core.errors import CorruptFileError, FingerprintError, InputError


@pytest.fixture
def exported(cache: Path, text: Path, tmp_path: Path) -> tuple[KeyStatistics, Path]:
    found = collect(tiny_model("llama"), text)
    export_statistics(found, tmp_path / "shared.safetensors")
    for file in cache.rglob("layer-*.safetensors"):
        file.unlink()
    return found, tmp_path / "shared.safetensors"


def test_export_and_import(exported: tuple[KeyStatistics, Path], text: Path) -> None:
    original, file = exported
    model = tiny_model("llama")
    imported = import_statistics(file, model)
    assert same(imported, original) and imported.spec == original.spec
    assert imported[0].checksum == original[0].checksum != original[2].checksum
    assert collect(model, text).cached  # they are in the cache now


def test_statistics_of_other_weights_are_refused(
    exported: tuple[KeyStatistics, Path], cache: Path
) -> None:
    original, file = exported
    other = tiny_model("llama", seed=1)
    with pytest.raises(FingerprintError) as caught:
        import_statistics(file, other)
    assert other.fingerprint in str(caught.value) and original.spec.fingerprint in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "other tensors"])
def test_damaged_exports_are_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, damage: str
) -> None:
    _, file = exported
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-4])
    elif damage == "changed":
        file.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    elif damage == "text":
        file.write_text("layer 0: all fine")
    else:
        tiny_model("llama").model.save_pretrained(file.parent / "model")
        file.write_bytes((file.parent / "model" / "model.safetensors").read_bytes())
    with pytest.raises(CorruptFileError) as caught:
        import_statistics(file, tiny_model("llama"))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; give an exported file"):
        import_statistics(tmp_path / "none.safetensors", tiny_model("llama"))


def asymmetric(c: Tensor) -> Tensor:
    c[3, 5] += 1e-3
    return c


def with_number(value: float) -> Callable[[Tensor], Tensor]:
    def put(c: Tensor) -> Tensor:
        c[7, 7] = value
        return c

    return put


def indefinite(c: Tensor) -> Tensor:
    """Return a matrix with a positive diagonal and one negative eigenvalue."""
    c[0, 1] = c[1, 0] = 2 * float((c[0, 0] * c[1, 1]).sqrt())
    return c


IMPOSSIBLE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nan": (with_number(float("nan")), "has numbers that are not finite"),
    "inf": (with_number(float("inf")), "has numbers that are not finite"),
    "asymmetric": (asymmetric, "is not symmetric"),
    "negative diagonal": (with_number(-1e-3), "has a diagonal that is negative"),
    "negative eigenvalues": (indefinite, "has negative eigenvalues"),
    "negated": (lambda c: -c, "has a diagonal that is negative"),
    "zero": (lambda c: 0 * c, "has a diagonal that is negative or all zero"),
    "not square": (lambda c: c[:, :-1], r"has the shape \[48, 47\], not \[48, 48\]"),
    "another width": (lambda c: c[:-1, :-1], r"has the shape \[47, 47\]"),
    "a vector": (lambda c: c[0], r"has the shape \[48\]"),
    "empty": (lambda c: c[:0, :0], r"has the shape \[0, 0\]"),
    "integers": (lambda c: c.long(), "has the dtype int64, not float32"),
    "float64": (lambda c: c.double(), "has the dtype float64, not float32"),
    "a sum": (lambda c: 1024 * c, "is about 1.*e.03 times the second moment"),
    "divided twice": (lambda c: c / 1024, "is about .* times the second moment"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_implausible_moment_is_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, what: str
) -> None:
    original, file = exported
    change, complaint = IMPOSSIBLE[what]
    bad = replace(original[2], moment=change(original[2].moment.clone()))
    export_statistics(replace(original, layers={0: original[0], 2: bad}), file)
    refused(file, f"layer 2 {complaint}", cache)


@pytest.mark.parametrize("layer", [-1, 3, 10**12])
def test_nonexistent_layer_is_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, layer: int
) -> None:
    original, file = exported
    layers = {0: original[0], layer: replace(original[2], layer=layer)}
    export_statistics(replace(original, layers=layers), file)
    refused(file, f"layer {layer} is not a block of this model, which has 0 to 2", cache)


@pytest.mark.parametrize("tokens", [0, -640, CHUNK + 1, 10**9])
def test_impossible_token_count_is_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, tokens: int
) -> None:
    original, file = exported
    bad = replace(original[0], tokens=tokens)
    export_statistics(replace(original, layers={0: bad, 2: original[2]}), file)
    refused(file, f"layer 0 has {tokens} of {original.spec.tokens} tokens", cache)


def test_swapped_layers_are_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, text: Path
) -> None:
    """Both are valid moments, but of the other layer, which a short text reveals."""
    original, file = exported
    layers = {0: replace(original[2], layer=0), 2: replace(original[0], layer=2)}
    export_statistics(replace(original, layers=layers), file)
    refused(file, "layer 0 does not match this model's keys", cache)


@pytest.mark.parametrize("window", [0, -1, 1, WINDOW // 2])
def test_other_window_length_is_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, window: int
) -> None:
    original, file = exported
    export_statistics(replace(original, spec=replace(original.spec, window=window)), file)
    refused(file, f"has windows of {window} tokens, this model's have {WINDOW}", cache)


@pytest.mark.parametrize("tokens", [0, -640, 10**13, 10**400])
def test_implausible_budget_is_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, tokens: int
) -> None:
    original, file = exported
    export_statistics(replace(original, spec=replace(original.spec, tokens=tokens)), file)
    refused(file, "its number of tokens is not from 1 to 1,000,000,000,000", cache)


def test_empty_file_is_refused(exported: tuple[KeyStatistics, Path], cache: Path) -> None:
    original, file = exported
    export_statistics(replace(original, layers={}), file)
    refused(file, "has no layers", cache)


def refused(file: Path, complaint: str, cache: Path) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        import_statistics(file, tiny_model("llama"))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))


def test_earlier_version_is_refused(
    exported: tuple[KeyStatistics, Path],
) -> None:
    original, file = exported
    metadata = {"format": "alphaedit key statistics 1", "checksum.0": original[0].checksum}
    save_file({"0": original[0].moment}, file, metadata)
    with pytest.raises(CorruptFileError, match=r"of an earlier version.*export them again"):
        import_statistics(file, tiny_model("llama"))
