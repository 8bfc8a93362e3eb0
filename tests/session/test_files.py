"""Sessions on the disk: whole after every kill, and damage is noticed and named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from killed_saves import killed_folder, killed_save
from tiny import tiny_model

from alphaedit_core.errors import AlphaEditError, CorruptFileError, InputError, SessionError
from alphaedit_core.session import files as session_files
from alphaedit_core.session.edits import Edit
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.files import atomic_folder

killing = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sessions on the disk: ``old`` with one edit, ``new`` with another after it."""
    folder = tmp_path_factory.mktemp("sessions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        session = EditSession(
            tiny_model(), hyperparameters=small(folder, target_steps=2), contexts=CONTEXTS[:1]
        )
        for name, facts in (("old", FACTS[:2]), ("new", FACTS[2:])):
            session.edit(facts, batch_size=1, monitor=quiet())
            session.save(folder / name)
    return {name: folder / name for name in ("old", "new")}


def content(folder: Path) -> object:
    """All that a session's folder says, read as a session is loaded."""
    manifest = session_files.load_manifest(folder)
    entries = session_files.load_entries(folder, manifest)
    return manifest, [
        (
            entry.created,
            entry.digest,
            entry.facts,
            entry.result,
            [(name, t.tolist()) for name, t in session_files._tensors(entry).items()],
        )
        for entry in entries
    ]


def save(source: Path, folder: Path) -> None:
    """Save what one folder holds to another."""
    manifest = session_files.load_manifest(source)
    entries = session_files.load_entries(source, manifest)
    session_files.save_session(folder, manifest, entries, manifest["applied"], overwrite=True)


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@killing
def test_a_first_save_that_is_killed_leaves_no_session_or_a_whole_one(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    new = content(saved["new"])
    found = []
    moment = 1
    while killed_save(saved["new"], folder := tmp_path / str(moment) / "kept", moment):
        found.append(session_files.is_session(folder))
        if session_files.is_session(folder):
            assert content(folder) == new
        else:
            with pytest.raises(InputError, match="no saved session"):
                session_files.load_manifest(folder)
            save(saved["new"], folder)
            assert content(folder) == new
            assert files_in(folder) == files_in(saved["new"])
        moment += 1
    assert content(folder) == new
    assert set(found) == {False, True}
    assert len(found) > 25


@killing
def test_a_save_over_a_session_that_is_killed_leaves_the_old_or_the_new(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    old, new = content(saved["old"]), content(saved["new"])
    found = []
    moment = 1
    while True:
        folder = tmp_path / str(moment)
        shutil.copytree(saved["old"], folder)
        if not killed_save(saved["new"], folder, moment):
            break
        found.append([old, new].index(content(folder)))
        save(saved["new"], folder)
        assert content(folder) == new
        assert files_in(folder) == files_in(saved["new"])  # nothing is left lying about
        moment += 1
    assert content(folder) == new
    assert set(found) == {0, 1}
    assert found == sorted(found)
    assert len(found) > 15


@killing
def test_a_folder_that_is_killed_on_the_way_is_the_old_or_the_new(tmp_path: Path) -> None:
    """But for one moment, between its two moves, when the old one stands beside its place."""

    def texts(folder: Path) -> set[str]:
        return {path.read_text() for path in folder.iterdir()}

    found = []
    moment = 1
    while True:
        folder = tmp_path / str(moment) / "model"
        with atomic_folder(folder) as old:
            for name in ("a", "b"):
                (old / name).write_text("old")
        if not killed_folder("new", folder, moment):
            break
        beside = list(folder.parent.glob(".*.old.model"))
        found.append(texts(folder) if folder.exists() else texts(beside[0]))
        with pytest.raises(RuntimeError), atomic_folder(folder):
            raise RuntimeError  # the next writer puts back what the killed one moved away
        assert texts(folder) == found[-1]
        assert not list(folder.parent.glob(".*.old.model"))
        moment += 1
    assert texts(folder) == {"new"}
    assert found[0] == {"old"}
    assert found[-1] == {"new"}
    assert all(text in ({"old"}, {"new"}) for text in found)


@pytest.mark.parametrize("kind", ["record", "tensors", "manifest"])
@pytest.mark.parametrize("damage", ["a byte", "half", "empty", "gone", "another's"])
def test_damage_is_noticed_and_named(
    saved: dict[str, Path], tmp_path: Path, kind: str, damage: str
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["new"], folder)
    records, tensors = sorted(folder.glob("entry-*.json")), sorted(folder.glob("*.safetensors"))
    file, other = {
        "record": (records[0], records[1].read_bytes()),
        "tensors": (tensors[0], tensors[1].read_bytes()),
        "manifest": (folder / "session.json", b"[]"),
    }[kind]
    whole = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        middle = len(whole) // 2
        changed = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        file.write_bytes(
            {"a byte": changed, "half": whole[:middle], "empty": b""}.get(damage, other)
        )
    error = InputError if (kind, damage) == ("manifest", "gone") else CorruptFileError
    model = tiny_model()
    with pytest.raises(error) as refusal:
        EditSession.load(folder, model)
    expected = folder if error is InputError else file
    assert str(expected) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert model.owner is None


def test_a_damaged_byte_anywhere_in_the_manifest_is_noticed(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["old"], folder)
    file = folder / "session.json"
    whole = file.read_bytes()
    meant = json.loads(whole)
    for place in range(0, len(whole), 7):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            loaded = session_files.load_manifest(folder)
        except CorruptFileError as error:
            assert str(file) in str(error)
        else:  # white space between the fields means nothing
            assert loaded == {name: value for name, value in meant.items() if name != "checksum"}


def test_tensors_that_only_look_right_are_noticed(saved: dict[str, Path], tmp_path: Path) -> None:
    """Same bytes under another shape, another dtype or another name; each file whole in itself."""
    from alphaedit_core.storage.tensor_files import load_tensors, save_tensors

    disguises: list[Callable[[str, torch.Tensor], tuple[str, torch.Tensor]]] = [
        lambda name, t: (name, t.view(t.shape[1], t.shape[0])),
        lambda name, t: (name, t.view(torch.int32)),
        lambda name, t: (name.replace(".0.", ".2."), t),
    ]
    for number, disguise in enumerate(disguises):
        folder = tmp_path / str(number)
        shutil.copytree(saved["old"], folder)
        [file] = folder.glob("*.safetensors")
        tensors, _ = load_tensors(file)
        save_tensors(file, dict(disguise(*item) for item in tensors.items()), {})
        with pytest.raises(CorruptFileError, match=file.name):
            content(folder)


def test_a_damaged_edit_is_written_again_by_the_next_save(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    manifest = session_files.load_manifest(saved["new"])
    entries = session_files.load_entries(saved["new"], manifest)
    for pattern in ("entry-*.json", "*.safetensors"):
        folder = tmp_path / pattern.strip("*.")
        shutil.copytree(saved["new"], folder)
        file = sorted(folder.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(CorruptFileError):
            content(folder)
        session_files.save_session(folder, manifest, entries, manifest["applied"], overwrite=True)
        assert content(folder) == content(saved["new"])


def test_edits_that_are_there_already_are_not_written_again(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["old"], folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("entry-*")}
    save(saved["new"], folder)
    for name, changed in before.items():
        assert (folder / name).stat().st_mtime_ns == changed


def test_edits_that_were_seen_whole_are_not_read_again(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(folder: Path, named: dict[str, str]) -> Edit:
        read.append(named["record"])
        return reading(folder, named)

    reading = session_files._read_entry
    monkeypatch.setattr(session_files, "_read_entry", counted)
    stored, manifest = session_files.WriteCache(), session_files.load_manifest(saved["new"])
    entries = session_files.load_entries(saved["new"], manifest, stored)
    places = saved["new"], tmp_path / "other"
    for folder, looked in zip(places, (0, len(entries)), strict=True):
        read.clear()
        for _ in range(3):
            session_files.save_session(folder, manifest, entries, manifest["applied"], stored)
        assert len(read) == looked  # in another folder once: whether it is there already
    # One that has changed since, though it is as long as it was, is read and written again.
    for pattern in ("entry-*.json", "*.safetensors"):
        file = sorted((tmp_path / "other").glob(pattern))[0]
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        read.clear()
        session_files.save_session(
            tmp_path / "other", manifest, entries, manifest["applied"], stored
        )
        assert len(read) == 1
        assert content(tmp_path / "other") == content(saved["new"])
    assert files_in(tmp_path / "other") == files_in(saved["new"])


def test_what_no_edit_needs_any_more_is_removed(saved: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["new"], folder)
    (folder / "notes.txt").write_text("mine")
    (folder / ".0123456789ab.entry-0.json").write_text("left by a kill")
    save(saved["old"], folder)
    assert files_in(folder) == files_in(saved["old"]) | {"notes.txt"}


@pytest.mark.parametrize(
    "name", ["notes.txt", "entry-1.json", "session.json.bak", ".hidden", "folder"]
)
def test_a_foreign_folder_is_refused(saved: dict[str, Path], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    if name == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("mine")
    manifest = session_files.load_manifest(saved["new"])
    with pytest.raises(InputError, match=f'not a session.*"{name}"'):
        session_files.save_session(folder, manifest, [], 0)
    assert files_in(folder) == {name}


@pytest.mark.parametrize("text", ["{}", '{"format": "jupyter session"}', "[]", "not JSON", ""])
def test_a_session_file_of_somebody_else_is_not_written_over(
    saved: dict[str, Path], tmp_path: Path, text: str
) -> None:
    (tmp_path / "session.json").write_text(text)
    manifest = session_files.load_manifest(saved["new"])
    with pytest.raises(InputError, match="give a new folder"):
        session_files.save_session(tmp_path, manifest, [], 0)
    assert (tmp_path / "session.json").read_text() == text


def test_a_file_in_the_place_of_the_folder_is_refused(
    saved: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        session_files.save_session(
            tmp_path / "kept", session_files.load_manifest(saved["new"]), [], 0
        )
    assert (tmp_path / "kept").read_text() == "mine"


def test_a_full_disk_leaves_the_old_session(
    saved: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["old"], folder)
    manifest = session_files.load_manifest(saved["new"])
    entries = session_files.load_entries(saved["new"], manifest)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            session_files.save_session(folder, manifest, entries, 2, overwrite=True)
    assert content(folder) == content(saved["old"])
    assert files_in(folder) == files_in(saved["old"])


def test_moving_the_mark_of_what_is_applied(saved: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    shutil.copytree(saved["new"], folder)
    session_files.set_applied(folder, 1)
    loaded = EditSession.load(folder, tiny_model())
    assert loaded.history.applied == 1
    assert loaded.weights_digest() == loaded.history[0].digest
    for number in (-1, 3):
        with pytest.raises(SessionError, match=f"no state {number}; give 0 to 2"):
            session_files.set_applied(folder, number)
    with pytest.raises(AlphaEditError):
        session_files.set_applied(tmp_path / "nowhere", 0)
    assert session_files.load_manifest(folder)["applied"] == 1
