"""Edited models as Hugging Face directories: whole, loadable by anyone, never over other files."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from commands import listing
from examples import CONTEXTS, FACTS, quiet, small
from tiny import KINDS, tiny_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.export import hugging_face as export
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.files import read_json


def edited(place: Path, layout: str = "llama", **changes: object) -> EditSession:
    """A session of a tiny model with one edit."""
    model = tiny_model(layout, **changes)  # type: ignore[arg-type]
    session = EditSession(model, hyperparameters=small(place), contexts=CONTEXTS)
    session.edit(FACTS, monitor=quiet())
    return session


@pytest.fixture
def session(tmp_path: Path, cache: Path) -> EditSession:
    return edited(tmp_path)


@pytest.mark.parametrize("layout", KINDS)
def test_loads_without_this_library_as_the_same_model(
    tmp_path: Path, cache: Path, layout: str
) -> None:
    session = edited(tmp_path, layout)
    before = {name: p.clone() for name, p in tiny_model(layout).model.named_parameters()}
    export.model(session, tmp_path / "out", quiet())

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    own = dict(session.model.model.named_parameters())
    theirs = dict(loaded.named_parameters())
    assert theirs.keys() == own.keys()
    assert all(torch.equal(theirs[name], own[name]) for name in own)
    changed = [name for name in own if not torch.equal(own[name], before[name])]
    assert len(changed) == 2  # one matrix in each of the two edited blocks
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    text = "Eiffel Tower is in 東京"
    assert tokenizer(text)["input_ids"] == session.model.tokenizer(text)["input_ids"]


def test_the_dtype_is_kept(tmp_path: Path, cache: Path) -> None:
    session = edited(tmp_path, dtype=torch.bfloat16)
    export.model(session, tmp_path / "out", quiet())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert loaded.dtype == torch.bfloat16
    assert all(
        torch.equal(theirs, own)
        for theirs, own in zip(loaded.parameters(), session.model.model.parameters(), strict=True)
    )


def test_it_can_be_edited_again(tmp_path: Path, session: EditSession) -> None:
    export.model(session, tmp_path / "out", quiet())
    again = load_model(tmp_path / "out", monitor=quiet())
    assert again.fingerprint != session.model.fingerprint  # other weights: another original
    second = EditSession(again, hyperparameters=small(tmp_path), contexts=CONTEXTS)
    assert second.weights_digest() == session.weights_digest()


def test_it_says_what_was_edited(tmp_path: Path, session: EditSession) -> None:
    export.model(session, tmp_path / "out", quiet())
    stored = read_json(tmp_path / "out" / "alphaedit.json")
    assert stored["fingerprint"] == session.model.fingerprint
    assert stored["weights_digest"] == session.weights_digest()
    assert stored["facts"] == [fact.to_dict() for fact in FACTS]
    assert set(stored["files"]) == {path.name for path in (tmp_path / "out").iterdir()}
    assert stored["hyperparameters"]["layers"] == [0, 1]
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    for fact in FACTS:
        assert f"| {fact.text} | {fact.target} |" in card


def test_it_does_not_say_where_it_was_made(tmp_path: Path, session: EditSession) -> None:
    source = tmp_path / "tiny"
    session.model.model.save_pretrained(source)
    session.model.tokenizer.save_pretrained(source)
    session = EditSession(load_model(source, monitor=quiet()), hyperparameters=small(tmp_path))
    session.edit(FACTS[:1], monitor=quiet())
    export.model(session, tmp_path / "out", quiet())
    assert read_json(tmp_path / "out" / "alphaedit.json")["model"] == "tiny"
    for file in (tmp_path / "out").iterdir():
        assert str(tmp_path).encode() not in file.read_bytes()


def test_corrections_and_edits_taken_back(tmp_path: Path, session: EditSession) -> None:
    corrected = FACTS[0].changed(target="Berlin")
    session.edit([corrected], monitor=quiet())
    export.model(session, tmp_path / "out", quiet())
    stored = read_json(tmp_path / "out" / "alphaedit.json")["facts"]
    assert stored == [fact.to_dict() for fact in (*FACTS[1:], corrected)]

    session.restore(0)
    export.model(session, tmp_path / "out", quiet())
    assert read_json(tmp_path / "out" / "alphaedit.json")["facts"] == []
    assert load_model(tmp_path / "out", monitor=quiet()).fingerprint == session.model.fingerprint


def test_special_characters_in_the_card(tmp_path: Path, session: EditSession) -> None:
    session.edit([FACTS[0].changed(subject="a|b\nc", target="*x*")], monitor=quiet())
    export.model(session, tmp_path / "out", quiet())
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "| a\\|b c is in the city of | \\*x\\* |" in card


class TestFolder:
    def test_empty_or_new_at_any_depth(self, tmp_path: Path, session: EditSession) -> None:
        (tmp_path / "empty").mkdir()
        for folder in (tmp_path / "empty", tmp_path / "a" / "b"):
            export.model(session, folder, quiet())
            assert (folder / "model.safetensors").is_file()
            assert [path.name for path in folder.parent.iterdir() if path.name[0] == "."] == []

    def test_an_earlier_export_is_replaced_as_a_whole(
        self, tmp_path: Path, session: EditSession
    ) -> None:
        export.model(session, tmp_path / "out", quiet())
        first = listing(tmp_path / "out")
        session.undo()
        export.model(session, tmp_path / "out", quiet())
        second = listing(tmp_path / "out")
        assert first.keys() == second.keys()
        weights = str(tmp_path / "out" / "model.safetensors")
        assert first[weights] != second[weights]

    @pytest.mark.parametrize(
        "marker", [None, "{", "[]", '{"format": "another", "files": ["mine.txt"]}']
    )
    def test_of_somebody_else(
        self, tmp_path: Path, session: EditSession, marker: str | None
    ) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "mine.txt").write_text("mine")
        if marker is not None:
            (out / "alphaedit.json").write_text(marker)
        before = listing(out)
        with pytest.raises(InputError, match="give a new folder"):
            export.model(session, out, quiet())
        assert listing(out) == before

    def test_of_ours_with_something_added(self, tmp_path: Path, session: EditSession) -> None:
        out = tmp_path / "out"
        export.model(session, out, quiet())
        (out / "notes.txt").write_text("mine")
        before = listing(out)
        with pytest.raises(InputError, match=r'"notes.txt", which no export wrote'):
            export.model(session, out, quiet())
        assert listing(out) == before

    def test_a_name_that_is_too_long(self, tmp_path: Path, session: EditSession) -> None:
        with pytest.raises(InputError, match="of 300 bytes cannot be used"):
            export.model(session, tmp_path / ("x" * 300), quiet())

    def test_a_file(self, tmp_path: Path, session: EditSession) -> None:
        (tmp_path / "out").write_text("mine")
        with pytest.raises(InputError, match="is a file"):
            export.model(session, tmp_path / "out", quiet())


def test_a_cancel_or_a_failure_leaves_the_earlier_export(
    tmp_path: Path, session: EditSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    export.model(session, out, quiet())
    before = listing(tmp_path)
    session.undo()
    with pytest.raises(Canceled):
        export.model(session, out, Monitor(show=None, cancel=lambda: True))
    assert listing(tmp_path) == before

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.model.tokenizer, "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        export.model(session, out, quiet())
    assert listing(tmp_path) == before


def test_a_closed_session_is_refused(tmp_path: Path, session: EditSession) -> None:
    session.close()
    with pytest.raises(SessionError, match="closed"):
        export.model(session, tmp_path / "out", quiet())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("edited_one", [True, False])
def test_weights_changed_by_hand_are_refused(
    tmp_path: Path, session: EditSession, edited_one: bool
) -> None:
    """The record beside the weights would not know of the change."""
    layers = session.hyperparameters.layers
    architecture = session.model.architecture
    layer = layers[0] if edited_one else next(n for n in range(3) if n not in layers)
    with torch.no_grad():
        architecture.matrix(layer)[:] += 0.25
    with pytest.raises(SessionError, match="changed by hand"):
        export.model(session, tmp_path / "out", quiet())
    assert not (tmp_path / "out").exists()


def test_nobody_edits_what_is_being_written_and_nothing_added_is_lost(
    tmp_path: Path, session: EditSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, model = tmp_path / "out", session.model.model
    export.model(session, out, quiet())
    real, errors = model.save_pretrained, []

    def undo() -> None:
        try:
            session.undo()
        except SessionError as error:
            errors.append(str(error))

    def slow(folder: Path) -> None:
        thread = threading.Thread(target=undo)
        thread.start()
        thread.join()
        (out / "notes.txt").write_text("mine")
        real(folder)

    monkeypatch.setattr(model, "save_pretrained", slow)
    with pytest.raises(InputError, match=r"notes\.txt"):
        export.model(session, out, quiet())
    assert errors == ["the model is busy with other work; wait for it, or cancel it"]
    assert (out / "notes.txt").read_text() == "mine" and session.applied == 1
    assert listing(tmp_path).keys() == listing(out.parent).keys()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_chat_template_and_generation_settings_come_along(
    tmp_path: Path, session: EditSession
) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    session.model.tokenizer.chat_template = template
    assert session.model.model.generation_config is not None
    session.model.model.generation_config.max_new_tokens = 7
    export.model(session, tmp_path / "out", quiet())
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == template
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.generation_config.max_new_tokens == 7
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"
