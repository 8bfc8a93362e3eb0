"""Sessions that were saved: loaded as they were, those of earlier versions too."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from examples import FACTS, quiet, small
from sessions import CORRECTED, A, C, both, new_session, same, same_keys, weights
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Superseded
from alphaedit_core.errors import FingerprintError, SessionError
from alphaedit_core.export.hugging_face import facts_in_model
from alphaedit_core.session import files as session_files
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.files import read_json


def without_superseded(folder: Path) -> None:
    """Make a saved session one that was written before edits kept what they superseded."""
    manifest = session_files.load_manifest(folder)
    for named in manifest["entries"]:
        record = read_json(folder / named["record"])
        del record["result"]["superseded"]
        for batch in record["batches"]:
            del batch["superseded"]
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        named["sha256"] = sha256(text.encode()).hexdigest()
        (folder / named["record"]).write_text(text, "utf-8")
    session_files._write_manifest(folder, manifest)


def test_an_old_session_holds_the_keys_it_was_made_with(place: Path, tmp_path: Path) -> None:
    """Capitals were folded then, and one relation id was one thing; edits from now on differ."""
    lies, near = (
        Fact("Louvre", prompt, to, relation="P131")
        for prompt, to in (("{} lies in", "Oslo"), ("{} is near", "Rome"))
    )
    capitals = CORRECTED.changed(subject="EIFFEL TOWER")
    session = new_session(place)
    for facts in ([A[0], lies], [capitals, near], [CORRECTED.changed(subject="eiffel tower")]):
        session.edit(facts, monitor=quiet())
    session.save(tmp_path / "new")
    assert [len(entry.result.superseded) for entry in session.history] == [0, 0, 0]
    session.save(tmp_path / "old")
    without_superseded(tmp_path / "old")
    session.close()
    loaded = EditSession.load(tmp_path / "new", session.model)
    assert same_keys(loaded, session)
    loaded.close()
    old = EditSession.load(tmp_path / "old", session.model)
    assert old.weights_digest() == session.history[-1].digest
    assert held(old) == [near, old.history[2].facts[0]]
    assert [one.superseded for one in (entry.result for entry in old.history)] == [
        [],
        [Superseded(1, A[0], capitals), Superseded(1, lies, near)],
        [Superseded(2, capitals, old.history[2].facts[0])],
    ]
    old.restore(1)
    assert held(old) == [A[0], lies]
    old.restore(3)
    result = old.edit([lies.changed(subject="louvre")], monitor=quiet())
    assert result.superseded == []
    assert len(held(old)) == 3


def test_an_old_session_says_in_which_order_rect_made_its_edits(
    place: Path, tmp_path: Path
) -> None:
    """rect masked layer by layer then; what it is now called says so."""
    session = new_session(place, editor="rect-by-layer", projection=False, previous_keys=False)
    session.edit([A[0]], monitor=quiet())
    session.save(tmp_path / "old")
    session.close()
    as_rect(tmp_path / "old")
    kept = EditSession.load(tmp_path / "old", session.model)
    assert kept.history[0].hyperparameters.editor == "rect", "what says what it superseded is new"
    kept.close()
    without_superseded(tmp_path / "old")
    old = EditSession.load(tmp_path / "old", session.model)
    assert old.history[0].hyperparameters.editor == "rect-by-layer"
    assert "rect-by-layer" in old.history[0].hyperparameters.method
    assert old.weights_digest() == session.history[0].digest
    assert old.hyperparameters.editor == "rect", "what is written from now on, as published"
    old.close()


def as_rect(folder: Path) -> None:
    """Make the edits of a saved session ones that say that rect made them."""
    manifest = session_files.load_manifest(folder)
    manifest["editor"] = manifest["hyperparameters"]["editor"] = "rect"
    for named in manifest["entries"]:
        record = read_json(folder / named["record"])
        record["hyperparameters"]["editor"] = "rect"
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        named["sha256"] = sha256(text.encode()).hexdigest()
        (folder / named["record"]).write_text(text, "utf-8")
    session_files._write_manifest(folder, manifest)


def held(session: EditSession) -> list[Fact]:
    session._prepare(quiet())
    assert session._runner.memory is not None
    assert session._runner.memory.facts == facts_in_model(session)
    return session._runner.memory.facts


@both
@pytest.mark.parametrize("state", ["applied", "undone"])
def test_saving_and_loading_changes_nothing(
    place: Path, tmp_path: Path, layout: str, dtype: torch.dtype, state: str
) -> None:
    session = new_session(place, layout, dtype)
    session.edit(FACTS[:3], batch_size=2, monitor=quiet())
    session.edit([CORRECTED], monitor=quiet())
    session.restore({"applied": 2, "undone": 1}[state])
    session.save(tmp_path / "kept")
    model = tiny_model(layout, dtype=dtype)
    loaded = EditSession.load(tmp_path / "kept", model)

    assert loaded.weights_digest() == session.weights_digest()
    assert same(weights(model), weights(session.model))
    assert same_keys(session, loaded)
    assert loaded.contexts == session.contexts
    assert loaded.hyperparameters == session.hyperparameters
    assert loaded.history.rows() == session.history.rows()
    for ours, theirs in zip(session.history, loaded.history, strict=True):
        assert theirs.result == ours.result
        assert theirs.facts == ours.facts
    if state == "undone":
        for both_ in (session, loaded):
            both_.redo()
        assert same(weights(model), weights(session.model))
    for both_ in (session, loaded):
        both_.edit(C, monitor=quiet())
    assert same(weights(model), weights(session.model))
    assert same_keys(session, loaded)
    loaded.restore(0)
    assert same(weights(model), weights(tiny_model(layout, dtype=dtype)))


def test_loading_the_model_that_a_session_names(place: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.model.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    model.name = str(tmp_path / "model")
    session = EditSession(model, hyperparameters=small(place), contexts=())
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    loaded = EditSession.load(tmp_path / "kept", monitor=quiet())
    assert loaded.model is not model
    assert loaded.weights_digest() == session.weights_digest()


def test_loading_into_another_model_is_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    for other in (tiny_model(seed=1), tiny_model(dtype=torch.float64), tiny_model("gpt2")):
        before = weights(other)
        with pytest.raises(FingerprintError) as refusal:
            EditSession.load(tmp_path / "kept", other)
        assert session.model.fingerprint in str(refusal.value)
        assert other.fingerprint in str(refusal.value)
        assert same(weights(other), before)
        assert other.owner is None


def test_loading_over_edits_of_another_session_is_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    digest = session.weights_digest()
    with pytest.raises(SessionError, match="another session"):
        EditSession.load(tmp_path / "kept", session.model)
    assert session.weights_digest() == digest
    session.close()
    assert EditSession.load(tmp_path / "kept", session.model).weights_digest() == digest
