"""The cache of key statistics: reuse and replacement."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from key_statistics import CHUNK, collect, same
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny_model

from alphaedit_core.covariance import collect as statistics
from alphaedit_core.covariance.collect import cached_checksums
from alphaedit_core.covariance.files import layer_file


def test_cached_statistics_are_reused(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    model.model.forward = None  # cannot run any more
    model.model.model.forward = None
    again = collect(model, text)
    assert again.cached and same(first, again)
    assert repr(again) == (
        f"KeyStatistics(layers 0, 2, d_in 48, 1,024 tokens of {text}, from cache)"
    )


def test_only_missing_layers_are_collected(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    collect(model, text, (0,))
    before = layer_file(collect(model, text, (0,)).spec, 0).stat().st_mtime_ns
    both = collect(model, text, (0, 2))
    assert not both.cached and list(both.layers) == [0, 2]
    assert layer_file(both.spec, 0).stat().st_mtime_ns == before
    assert same(both, collect(model, text, (2, 0, 0), cache=False))


def test_without_the_cache_nothing_is_written(cache: Path, text: Path) -> None:
    collect(tiny_model("llama"), text, cache=False)
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_damaged_file_is_replaced(
    cache: Path, text: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    file = layer_file(first.spec, 2)
    whole = file.read_bytes()
    contents = {
        "cut": whole[:-8],
        "changed": whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:],
        "empty": b"",
    }
    file.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert str(file) in caplog.text and "collecting it again" in caplog.text
    assert not again.cached and same(first, again)
    assert collect(model, text).cached


def test_other_weights_text_or_budget_have_own_statistics(
    cache: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = collect(tiny_model("llama"), text)
    for other in (
        collect(tiny_model("llama", seed=1), text),
        collect(tiny_model("llama"), text, tokens=CHUNK),
        collect(tiny_model("llama", dtype=torch.float64), text),
    ):
        assert not other.cached and not torch.equal(other[0].moment, first[0].moment)
    text.write_text(text.read_text(encoding="utf-8") + " old", encoding="utf-8")
    assert not collect(tiny_model("llama"), text).cached
    assert not caplog.records


def test_file_of_other_weights_is_replaced(
    cache: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    first, foreign = collect(model, text), collect(other, text)
    place = layer_file(first.spec, 0)
    place.write_bytes(layer_file(foreign.spec, 0).read_bytes())
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert "belongs to other settings; collecting it again" in caplog.text
    assert same(first, again)


@pytest.mark.parametrize("name", ["tokens", "tokens.0", "text_name", "configuration"])
def test_changed_header_is_replaced(
    cache: Path, text: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    file = layer_file(first.spec, 0)
    with safe_open(file, "pt") as stored:
        metadata, moment = dict(stored.metadata()), stored.get_tensor("0").clone()
    save_file({"0": moment}, file, metadata | {name: metadata[name] + "0"})
    assert cached_checksums(model, text, (0, 2), 2 * CHUNK) is None
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert "collecting it again" in caplog.text and same(first, again) and again.spec == first.spec
