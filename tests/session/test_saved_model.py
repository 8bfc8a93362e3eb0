"""session.save_pretrained and session.push_to_hub."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from commands import listing
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.files import read_json

SECRET = "hf_a-token-of-the-test"


@pytest.fixture
def session(tmp_path: Path, cache: Path) -> EditSession:
    model = tiny_model("llama")
    session = EditSession(model, hyperparameters=small(tmp_path), contexts=CONTEXTS)
    session.edit(FACTS, monitor=quiet())
    return session


def assert_same_weights(session: EditSession, folder: Path) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    for theirs, own in zip(loaded.parameters(), session.model.model.parameters(), strict=True):
        assert torch.equal(theirs, own)


def test_a_saved_model_is_the_edited_one(tmp_path: Path, session: EditSession) -> None:
    session.save_pretrained(tmp_path / "out", monitor=quiet())
    assert_same_weights(session, tmp_path / "out")
    record = read_json(tmp_path / "out" / "alphaedit.json")
    assert record["facts"] == [fact.to_dict() for fact in FACTS]


def test_an_earlier_export_is_replaced_only_if_asked_for(
    tmp_path: Path, session: EditSession
) -> None:
    out = tmp_path / "out"
    session.save_pretrained(out, monitor=quiet())
    before = listing(out)
    session.undo()
    with pytest.raises(InputError, match="holds an earlier export; give a new folder, or overwr"):
        session.save_pretrained(out, monitor=quiet())
    assert listing(out) == before
    session.save_pretrained(out, overwrite=True, monitor=quiet())
    assert_same_weights(session, out)


def test_foreign_files_are_never_replaced(tmp_path: Path, session: EditSession) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r'"mine.txt", which no export wrote'):
            session.save_pretrained(tmp_path / "out", overwrite=overwrite, monitor=quiet())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


# ---------------------------------------------------------------------------------------- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A hub that keeps what is uploaded in a folder; ``error`` is raised by an upload if set."""
    state = SimpleNamespace(calls={}, files=[".gitattributes"], error=None, folder=tmp_path / "hub")

    def create_repo(_self: object, repo_id: str, **options: Any) -> None:
        state.calls["create_repo"] = (repo_id, options)

    def create_branch(_self: object, repo_id: str, **options: Any) -> None:
        state.calls["create_branch"] = (repo_id, options)

    def list_repo_files(_self: object, _repo_id: str, **_: Any) -> list[str]:
        return list(state.files)

    def upload_folder(_self: object, *, folder_path: Path, **options: Any) -> SimpleNamespace:
        if state.error is not None:
            raise state.error
        state.calls["upload_folder"] = options
        Path(folder_path).rename(state.folder)
        return SimpleNamespace(commit_url="https://hub/me/edited/commit/1")

    for fake in (create_repo, create_branch, list_repo_files, upload_folder):
        monkeypatch.setattr(f"huggingface_hub.HfApi.{fake.__name__}", fake)
    return state


def test_a_pushed_model_is_the_edited_one(
    session: EditSession, hub: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    address = session.push_to_hub("me/edited", private=True, token=SECRET, monitor=quiet())
    assert address == "https://hub/me/edited/commit/1"
    assert_same_weights(session, hub.folder)
    assert hub.calls["create_repo"] == (
        "me/edited",
        {"private": True, "exist_ok": True, "token": SECRET},
    )
    assert hub.calls["upload_folder"]["commit_message"] == f"Edit {len(FACTS)} facts with AlphaEdit"
    assert "create_branch" not in hub.calls
    assert 'from_pretrained("me/edited")' in (hub.folder / "README.md").read_text("utf-8")
    for file in hub.folder.iterdir():
        assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in caplog.text + repr(session.manifest())


def test_a_repository_with_files_is_replaced_only_if_asked_for(
    session: EditSession, hub: SimpleNamespace
) -> None:
    hub.files.append("model.safetensors")
    with pytest.raises(InputError, match=r'has files already, such as "model.safetensors"; give'):
        session.push_to_hub("me/edited", monitor=quiet())
    assert "upload_folder" not in hub.calls
    session.push_to_hub("me/edited", revision="v2", overwrite=True, monitor=quiet())
    assert hub.calls["create_branch"][1]["branch"] == "v2"
    assert hub.calls["upload_folder"]["revision"] == "v2"
    assert "*.safetensors" in hub.calls["upload_folder"]["delete_patterns"]


def test_a_refusal_is_one_line_without_the_token(
    session: EditSession, hub: SimpleNamespace, tmp_path: Path
) -> None:
    hub.error = OSError(f"401 Client Error:\nInvalid credentials {SECRET}")
    with pytest.raises(InputError) as caught:
        session.push_to_hub("me/edited", token=SECRET, monitor=quiet())
    message = str(caught.value)
    assert message.startswith('repository "me/edited": could not be written (401 Client Error: Inv')
    assert "give token=, with write access" in message
    assert SECRET not in message and "\n" not in message


def test_a_closed_session_is_refused(
    tmp_path: Path, session: EditSession, hub: SimpleNamespace
) -> None:
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.save_pretrained(tmp_path / "out", monitor=quiet())
    with pytest.raises(SessionError, match="closed"):
        session.push_to_hub("me/edited", monitor=quiet())
    assert hub.calls == {} and not (tmp_path / "out").exists()
