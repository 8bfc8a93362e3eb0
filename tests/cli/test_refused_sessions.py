"""Sessions and folders that cannot be used: exit code 2, one line, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Workplace
from examples import FACTS
from refusals import refused
from tiny import tiny_model


class TestFolders:
    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_with_foreign_files(self, unloadable: Workplace, option: str) -> None:
        thesis = unloadable.folder / "thesis"
        thesis.mkdir()
        (thesis / "chapter-1.tex").write_text("All that I know.")
        line = refused(unloadable, "edit", unloadable.facts, option, thesis)
        assert str(thesis) in line
        assert '"chapter-1.tex"' in line
        assert "give a new folder" in line

    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_that_is_a_file(self, unloadable: Workplace, option: str) -> None:
        line = refused(unloadable, "edit", unloadable.facts, option, unloadable.config)
        assert f"{unloadable.config}: is a file; give a new folder" in line

    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_below_a_file(self, unloadable: Workplace, option: str) -> None:
        below = unloadable.config / "below"
        line = refused(unloadable, "edit", unloadable.facts, option, below)
        assert f"{below}: {unloadable.config} is not writable; give another folder" in line

    @pytest.mark.parametrize("session", ["m", "m/session"])
    def test_session_in_a_folder_that_is_replaced(
        self, unloadable: Workplace, session: str
    ) -> None:
        out, inside = unloadable.folder / "m", unloadable.folder / session
        line = refused(
            unloadable, "edit", unloadable.facts, "--save-model", out, "--session", inside
        )
        assert f"output folder {out}: contains the session {inside}" in line

    @pytest.mark.parametrize("command", ["history", "undo", "redo", "complete"])
    def test_without_a_session(self, unloadable: Workplace, command: str) -> None:
        given = ["Rome"] if command == "complete" else []
        line = refused(unloadable, command, *given, "--session", unloadable.folder / "none")
        assert line.startswith(f"session {unloadable.folder / 'none'}: ")
        assert "give a folder that has one" in line


class TestSessions:
    @pytest.fixture
    def session(self, place: Workplace) -> Path:
        """A session with one edit."""
        folder = place.folder / "s"
        assert place.edit(place.facts, "--session", folder).code == 0
        return folder

    def test_nothing_left_to_undo_or_redo(self, place: Workplace, session: Path) -> None:
        assert "there is no undone edit to redo" in refused(place, "redo", "--session", session)
        place.run("undo", "--session", session)
        assert "there is no edit to undo" in refused(place, "undo", "--session", session)

    @pytest.mark.parametrize("command", ["history", "undo", "edit", "complete"])
    @pytest.mark.parametrize(
        "content", [b"{", b"[]", b'{"format": "another"}', b'{"a": "\xe9"}', b"damaged"]
    )
    def test_a_damaged_manifest(
        self, place: Workplace, session: Path, command: str, content: bytes
    ) -> None:
        file = session / "session.json"
        if content == b"damaged":
            manifest = json.loads(file.read_text())
            del manifest["applied"], manifest["hyperparameters"]
            content = json.dumps(manifest).encode()
        file.write_bytes(content)
        given = {"edit": ["examples"], "complete": ["Rome"]}.get(command, [])
        line = refused(place, command, *given, "--session", session)
        assert str(session) in line

    @pytest.mark.parametrize(
        ("command", "kind"),
        [
            *((command, "json") for command in ("history", "undo", "edit", "complete")),
            *((command, "safetensors") for command in ("undo", "edit", "complete")),
        ],
    )
    def test_a_damaged_edit(self, place: Workplace, session: Path, command: str, kind: str) -> None:
        [file] = session.glob(f"entry-*.{kind}")
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
        given = {"edit": ["examples"], "complete": ["Rome"]}.get(command, [])
        line = refused(place, command, *given, "--session", session)
        assert str(file) in line

    @pytest.mark.parametrize(
        ("more", "parts"),
        [
            (["--set", "ridge=3"], ["its ridge is 10, not 3"]),
            (["--set", "layers=1-2"], ["its layers is 0,1, not 1,2"]),
            (["--seed", "5"], ["its seed is 0, not 5"]),
            (["--dtype", "bfloat16"], ["its dtype is float32, not bfloat16"]),
        ],
    )
    def test_other_settings_than_its_own(
        self,
        place: Workplace,
        session: Path,
        monkeypatch: pytest.MonkeyPatch,
        more: list[str],
        parts: list[str],
    ) -> None:
        def load(*_: object, **__: object) -> None:
            raise AssertionError("loaded")

        monkeypatch.setattr("alphaedit_core.session.model_check.load_model", load)
        line = refused(place, "edit", place.facts, "--session", session, *more)
        assert line.startswith(f"session {session}: ")
        assert "leave " in line
        assert "or give a new folder" in line
        for part in parts:
            assert part in line

    @pytest.mark.parametrize("command", ["edit", "complete"])
    def test_another_model_than_its_own(
        self, place: Workplace, session: Path, command: str
    ) -> None:
        other = tiny_model(seed=1)
        other.model.save_pretrained(place.folder / "other")
        other.tokenizer.save_pretrained(place.folder / "other")
        place.run("models")  # discards the output of transformers
        own = json.loads((session / "session.json").read_text())["fingerprint"]
        given = place.facts if command == "edit" else "Rome"
        line = refused(
            place, command, given, "--session", session, "--model", place.folder / "other"
        )
        assert own in line
        assert other.fingerprint in line


def test_a_full_disk(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(place.folder / "s"))

    monkeypatch.setattr("alphaedit_core.session.files.write_json_atomic", full)
    ran = place.edit(place.facts_file("one.json", FACTS[0]), "--session", place.folder / "s")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"alphaedit: {place.folder / 's'}: No space left on device\n"
