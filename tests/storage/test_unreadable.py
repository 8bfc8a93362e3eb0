"""Files that may not be read, or are none: said as it is, never called damaged; modes of new files.

What a file holds is unknown while it cannot be read, so nobody is told to remove it.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.covariance.files import read_head, read_layers
from alphaedit_core.data.datasets import fetching
from alphaedit_core.errors import AlphaEditError, FetchError
from alphaedit_core.export.hugging_face import model as export_model
from alphaedit_core.nullspace.files import read_vectors, save_spectrum
from alphaedit_core.session import files as session_files
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage import tensor_files
from alphaedit_core.storage.files import read_json, sha256_of_file, write_json_atomic
from alphaedit_core.storage.tensor_files import load_tensors, save_tensors

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")

NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def as_a_user() -> Iterator[None]:
    """Drop the privileges of root, who can read every file."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@contextmanager
def masked(mask: int) -> Iterator[None]:
    """Set the umask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _written(file: Path) -> None:
    if file.suffix == ".json":
        write_json_atomic(file, {"a": 1})
    else:
        save_spectrum(file, torch.ones(3), torch.eye(3), {"moment": "m"})


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a checksum": ("a.json", sha256_of_file),
    "JSON": ("a.json", read_json),
    "tensors": ("a.safetensors", load_tensors),
    "statistics": ("a.safetensors", read_layers),
    "the head of statistics": ("a.safetensors", read_head),
    "eigenvectors": ("a.safetensors", lambda file: read_vectors(file, "m", 0, 2)),
}


@pytest.mark.parametrize("reader", READERS)
def test_file_without_permission(reader: str, shared: Path) -> None:
    name, read = READERS[reader]
    file = shared / name
    _written(file)
    file.chmod(0)
    with as_a_user(), pytest.raises(PermissionError) as caught:
        read(file)
    assert caught.value.filename == str(file)
    assert caught.value.strerror == ("cannot be read (Permission denied); check its permissions")


@pytest.mark.parametrize("reader", READERS)
def test_folder_instead_of_file(reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        read(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.strerror == (
        "cannot be read (Is a directory); a folder has its name; move the folder away"
    )


@pytest.mark.parametrize("reader", READERS)
def test_pipe_instead_of_file(reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="it is a pipe, not a file") as caught:
        read(tmp_path / name)
    assert caught.value.filename == str(tmp_path / name)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditSession:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "cache"))
    made = EditSession(
        tiny_model(), hyperparameters=small(tmp_path, target_steps=2), contexts=CONTEXTS[:1]
    )
    made.edit(FACTS[:2], batch_size=1, monitor=quiet())
    return made


@pytest.mark.parametrize("suffix", ["json", "safetensors"])
def test_edit_file_without_permission(suffix: str, session: EditSession, shared: Path) -> None:
    folder = shared / "s"
    session.save(folder)
    (file,) = folder.glob(f"entry-*.{suffix}")
    mode = stat.S_IMODE(file.stat().st_mode)
    folder.chmod(0o777)
    for other in folder.iterdir():
        other.chmod(0o644)
    file.chmod(0)
    manifest = session_files.load_manifest(folder)
    with as_a_user(), pytest.raises(PermissionError, match="cannot be read") as caught:
        session_files.load_entries(folder, manifest)
    assert caught.value.filename == str(file)
    file.chmod(mode)
    assert len(session_files.load_entries(folder, manifest)) == 1


def test_data_set_without_permission(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(shared / "cache"))
    file = fetching.datasets_dir() / "zsre.json"
    file.write_text("[]")
    for folder in (shared / "cache", file.parent):
        folder.chmod(0o777)
    fetching._note(file, None)
    file.chmod(0)
    with as_a_user(), pytest.raises(FetchError) as caught:
        fetching._checked(file, "zsre")
    assert str(caught.value) == (
        f"zsre: {file}: cannot be read (Permission denied); check its permissions"
    )


def test_damaged_file_is_reported_as_damaged(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    _written(file)
    file.write_bytes(file.read_bytes()[:-2])
    for read in (load_tensors, read_head, lambda file: read_vectors(file, "m", 0, 2)):
        with pytest.raises(AlphaEditError, match=r"a\.safetensors: (damaged|not a file)"):
            read(file)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        load_tensors(file)


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_tensor_files_have_usual_mode(mask: int, tmp_path: Path) -> None:
    with masked(mask):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
        write_json_atomic(tmp_path / "a.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.safetensors"]
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys((".json", ".safetensors"), 0o666 & ~mask)


def test_files_of_session_and_model_have_same_mode(session: EditSession, tmp_path: Path) -> None:
    with masked(0o027):
        session.save(tmp_path / "s")
        export_model(session, tmp_path / "m")
    for folder in ("s", "m"):
        files = list((tmp_path / folder).iterdir())
        assert any(file.suffix == ".safetensors" for file in files)
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o640}


@pytest.mark.parametrize("gone", [True, False])
def test_tensor_file_removed_while_opening_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """The file is opened by name more than once, and torch raises its own error."""
    file = tmp_path / "a.safetensors"
    save_tensors(file, {"a": torch.ones(2)}, {})

    def late(*_: object) -> None:
        if gone:
            file.unlink()
        raise RuntimeError(f"unable to open file <{file}> in read-only mode")

    monkeypatch.setattr(tensor_files, "safe_open", late)
    with pytest.raises(FileNotFoundError if gone else OSError, match=r"a\.safetensors"):
        load_tensors(file)
