"""A session can be loaded into its own model only."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from examples import FACTS, quiet, small
from identities import edited, other_norm, others
from tiny import tiny_model

from alphaedit_core.errors import CorruptFileError, FingerprintError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import identity
from alphaedit_core.model.loading import load_model
from alphaedit_core.session.files import load_manifest
from alphaedit_core.session.files import save_session as write_session
from alphaedit_core.session.session import EditSession


@pytest.fixture
def kept(text: Path, tmp_path: Path) -> Path:
    edited(text, tiny_model("llama"), 1).save(tmp_path / "kept")
    return tmp_path / "kept"


@others
def test_another_model_of_the_same_weights_is_refused_with_the_differences(
    kept: Path, other: Callable[[], EditableModel], part: str, words: str
) -> None:
    model = other()
    with pytest.raises(FingerprintError) as caught:
        EditSession.load(kept, model)
    assert words in str(caught.value) and "same weights" in str(caught.value)
    assert model.owner is None and model.fingerprint == tiny_model("llama").fingerprint


def test_differences_that_only_affect_rounding_give_a_warning(
    kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    model.model.set_attn_implementation("eager")
    model.model.config.a_new_field = 1
    with caplog.at_level(logging.WARNING):
        assert EditSession.load(kept, model).applied == 1
    assert "attention sdpa, here eager" in caplog.text and "a_new_field" in caplog.text
    caplog.clear()
    assert EditSession.load(kept, tiny_model("llama")).applied == 1
    assert not caplog.records


def rewritten(kept: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = load_manifest(kept)
    change(manifest)
    session = EditSession.load(kept, tiny_model("llama"))
    manifest.pop("entries"), manifest.pop("applied"), manifest.pop("format")
    write_session(kept, manifest, session._entries, 1, overwrite=True)


def test_sessions_of_earlier_versions_are_loaded(
    kept: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewritten(kept, lambda manifest: manifest.pop("identity"))
    rewritten(kept, lambda manifest: manifest["statistics"].update(recipe="of old"))
    assert "identity" not in load_manifest(kept)
    session = EditSession.load(kept, tiny_model("llama"))
    session.edit(FACTS[1:2], monitor=quiet())
    assert not caplog.records  # the statistics are the same, only under another name
    session.save(kept)
    assert load_manifest(kept)["identity"] == identity(session.model).to_dict()


@pytest.mark.parametrize(
    "wrong", [None, 5, [], {}, {"places": 3}, {"configuration": "{"}, {"buffers": "[]"}]
)
def test_a_manifest_with_an_invalid_identity_is_refused(kept: Path, wrong: Any) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        small_change = isinstance(wrong, dict) and wrong
        manifest["identity"] = manifest["identity"] | wrong if small_change else wrong

    rewritten(kept, spoil)
    with pytest.raises(CorruptFileError, match="of its model is missing or invalid"):
        EditSession.load(kept, tiny_model("llama"))


def test_only_equal_models_share_targets(cache: Path, text: Path) -> None:
    shared: dict[str, Any] = {}
    for model in (tiny_model("llama"), tiny_model("llama"), other_norm()):
        session = EditSession(
            model, hyperparameters=small(text.parent), contexts=(), targets=shared
        )
        session.edit(FACTS[:1], monitor=quiet())
    assert len(shared) == 2


def test_a_model_folder_that_has_moved(text: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    for part in (model.model, model.tokenizer):
        part.save_pretrained(tmp_path / "model")
    session = edited(text, load_model(tmp_path / "model", "cpu", monitor=quiet()), 1)
    session.save(tmp_path / "kept")
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(Exception, match=r"no longer exists; give .*--model") as caught:
        EditSession.load(tmp_path / "kept", monitor=quiet())
    assert str(tmp_path / "model") in str(caught.value)
    moved = load_model(tmp_path / "moved", "cpu", monitor=quiet())
    loaded = EditSession.load(tmp_path / "kept", moved)
    assert loaded.weights_digest() == session.weights_digest()


def test_a_weight_that_changed_after_the_fingerprint_is_detected_on_load(
    cache: Path, tmp_path: Path
) -> None:
    session = EditSession(tiny_model(), hyperparameters=small(tmp_path, target_steps=2, contexts=0))
    session.edit(FACTS[:1], monitor=quiet())
    session.save(tmp_path / "saved")
    session.close()
    other = tiny_model()
    assert other.fingerprint == session.model.fingerprint  # computed and cached
    token = other.tokenizer("Rome", add_special_tokens=False)["input_ids"][0]
    other.model.get_input_embeddings().weight.data[token, 1:4] = 3.0
    with pytest.raises(FingerprintError, match="belongs to"):
        EditSession.load(tmp_path / "saved", model=other)
    assert other.owner is None
