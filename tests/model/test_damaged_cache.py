"""Damaged contexts and eigenvectors in the cache are computed again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import FACTS, quiet, small
from identities import edited
from tiny import tiny_model

from alphaedit_core.editing import context_prefixes as contexts_module
from alphaedit_core.editing.context_prefixes import OPENINGS, own_contexts, sample_contexts
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.tensor_files import load_tensors

# ---------------------------------------------------------------------------------------- contexts


def letter(stored: dict[str, Any]) -> None:
    stored["contexts"][1] = "x" + stored["contexts"][1]


def fewer(stored: dict[str, Any]) -> None:
    stored["contexts"] = stored["contexts"][:1]


def one_number(stored: dict[str, Any]) -> None:
    stored["seed"] += 1


@pytest.mark.parametrize("damage", [letter, fewer, one_number, "[]", '["a", "b"]', "{", "foreign"])
def test_damaged_contexts_are_sampled_again(
    cache: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = own_contexts(model, 0)
    (file,) = (cache / "contexts").iterdir()
    whole = file.read_bytes()
    if damage == "foreign":
        assert own_contexts(model, 1) != first
        (other,) = set((cache / "contexts").iterdir()) - {file}
        file.write_bytes(other.read_bytes())
    elif isinstance(damage, str):
        file.write_text(damage)
    else:
        stored = json.loads(whole)
        damage(stored)
        file.write_text(json.dumps(stored))
    with caplog.at_level(logging.WARNING, contexts_module.__name__):
        assert own_contexts(model, 0) == first and len(first) == len(OPENINGS)
    assert str(file) in caplog.text and "sampling again" in caplog.text
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    model = tiny_model("llama")
    with caplog.at_level(logging.WARNING, contexts_module.__name__):
        assert own_contexts(model, 0) == sample_contexts(model, 0)
    assert "cannot be written" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# ------------------------------------------------------------------------------------------ spectra


@pytest.mark.parametrize("damage", ["bit", "other layer", "gone"])
def test_eigenvectors_damaged_before_their_use_are_computed_again(
    cache: Path, text: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The damage occurs between the initial check and the read for the first projectors."""
    plain = edited(text, tiny_model("llama"))
    session = EditSession(tiny_model("llama"), hyperparameters=small(text.parent), contexts=())
    files = [spectrum.vectors_file for spectrum in session.spectra(quiet()).values()]
    assert files[0] is not None and files[1] is not None
    whole, vectors = files[0].read_bytes(), load_tensors(files[0])
    if damage == "bit":
        files[0].write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    elif damage == "other layer":
        files[0].write_bytes(files[1].read_bytes())
    else:
        files[0].unlink()
    session.edit(FACTS, monitor=quiet())
    assert session.weights_digest() == plain.weights_digest()
    again, metadata = load_tensors(files[0])
    assert metadata == vectors[1] and torch.equal(again["vectors"], vectors[0]["vectors"])
    assert str(files[0]) in caplog.text and "computed again" in caplog.text
