"""All wraps of the same weights share one session at a time."""

from __future__ import annotations

import copy
import gc
import io
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import expected_places, tiny_model, tiny_tokenizer

from alphaedit_core.errors import SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import wrap
from alphaedit_core.session.session import EditSession


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "cache"))


def new_session(model: EditableModel, place: Path) -> EditSession:
    return EditSession(model, hyperparameters=small(place, target_steps=2), contexts=CONTEXTS[:1])


def twin(model: Any) -> Any:
    """Return another transformers model with the same blocks."""
    other = type(model)(model.config)
    other.model = model.model
    other.lm_head = model.lm_head
    return other


def assigned(model: Any) -> Any:
    """Return another model whose parameters are different objects in the same memory."""
    other = type(model)(model.config)
    other.load_state_dict(model.state_dict(), assign=True)
    return other


def test_the_same_wrap_is_the_same_model() -> None:
    model = tiny_model("llama")
    raw, tokenizer, name = model.model, model.tokenizer, model.name
    assert wrap(raw, tokenizer, name) is model
    assert wrap(raw, tokenizer, name, expected_places("llama")) is model
    assert wrap(raw, tokenizer, "another name") is not model
    assert wrap(copy.deepcopy(raw), tokenizer, name) is not model


@pytest.mark.parametrize("second", [lambda raw: raw, copy.copy, twin, assigned])
def test_a_second_wrap_does_not_lose_the_edits_of_the_first(second: Any, tmp_path: Path) -> None:
    """With a second session, an undo in the first one would erase the edits of the second."""
    model = tiny_model("llama")
    other = wrap(second(model.model), tiny_tokenizer(), "second")
    assert other is not model and other.ownership is model.ownership
    session = new_session(model, tmp_path)
    session.edit(FACTS[:1], monitor=quiet())
    digest = session.weights_digest()
    with pytest.raises(SessionError, match="holds 1 edits of another session"):
        new_session(other, tmp_path)
    with pytest.raises(SessionError, match="holds 1 edits of a session already"):
        wrap(second(model.model), tiny_tokenizer(), "third")
    assert session.weights_digest() == digest
    # Conversely, the first session refuses work after it was closed.
    session.close()
    later = new_session(other, tmp_path)
    later.edit(FACTS[1:2], monitor=quiet())
    digest = later.weights_digest()
    for change in (session.undo, lambda: session.edit(FACTS[:1], monitor=quiet())):
        with pytest.raises(SessionError, match="closed"):
            change()
    assert later.weights_digest() == digest


def test_every_wrap_knows_the_fingerprint_of_the_unedited_weights(tmp_path: Path) -> None:
    model = tiny_model("llama")
    other = wrap(model.model, tiny_tokenizer(), "second")
    expected = tiny_model("llama").fingerprint
    session = new_session(other, tmp_path)
    session.edit(FACTS[:1], monitor=quiet())
    assert model.fingerprint == other.fingerprint == expected
    session.close()


def test_all_wraps_share_one_lock() -> None:
    model = tiny_model("llama")
    assert wrap(twin(model.model), tiny_tokenizer(), "second").lock is model.lock


def test_edits_are_known_after_their_session_was_garbage_collected(tmp_path: Path) -> None:
    model = tiny_model("llama")
    raw, tokenizer = model.model, model.tokenizer
    new_session(model, tmp_path).edit(FACTS[:1], monitor=quiet())
    del model
    gc.collect()
    with pytest.raises(SessionError, match="holds 1 edits"):
        wrap(raw, tokenizer, "again")


def test_a_copy_has_weights_of_its_own(tmp_path: Path) -> None:
    model = tiny_model("llama")
    session = new_session(model, tmp_path)
    session.edit(FACTS[:1], monitor=quiet())
    copied = wrap(copy.deepcopy(model.model), model.tokenizer, "copy")
    assert copied.ownership is not model.ownership and copied.owner is None


def test_a_pickled_model_has_no_ownership_and_no_model_is_kept_alive() -> None:
    model = tiny_model("llama")
    buffer = io.BytesIO()
    torch.save(model.model, buffer)
    assert b"alphaedit_core" not in buffer.getvalue()
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert wrap(loaded, model.tokenizer, model.name).ownership is not model.ownership
    gone = weakref.ref(model.model)
    del model
    gc.collect()
    assert gone() is None


def test_an_interrupt_may_be_set_shortly_after_the_lock_is_acquired() -> None:
    model = tiny_model()
    taken, asked = threading.Event(), threading.Event()

    def hold() -> None:
        """Acquire the lock as ``exclusive`` does, but slowly."""
        with model.lock:
            taken.set()
            time.sleep(0.02)
            model.ownership.interrupt = asked.set
            assert asked.wait(10)
            model.ownership.interrupt = None

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    with model.exclusive():
        assert asked.is_set()
    thread.join()
