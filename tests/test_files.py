"""Atomic writes and checksums: whatever happens, the old content or the new, and no litter."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphaedit_core.cache import cache_dir, models_dir
from alphaedit_core.errors import CorruptFileError
from alphaedit_core.files import (
    atomic_folder,
    atomic_path,
    read_json,
    sha256_of_file,
    sizes_below,
    write_atomic,
    write_json_atomic,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_checksum_of_files_around_the_block_size(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    (tmp_path / "a").write_bytes(data)
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_writing_replaces_the_whole_file_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_atomic(path, "a long first version\r\n")
    assert path.read_bytes() == b"a long first version\r\n"
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(path.parent) == ["file.txt"]


def test_failure_inside_the_block_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file.npy"
    write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as beside:
        assert beside.parent == path.parent and beside.suffix == ".npy"
        beside.write_bytes(b"half of the n")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file.npy"]


def test_a_block_that_writes_nothing_is_an_error_and_leaves_the_old_content(tmp_path: Path) -> None:
    write_atomic(tmp_path / "file", b"old")
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_bytes() == b"old"


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "file") as first, atomic_path(tmp_path / "file") as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert (tmp_path / "file").read_bytes() == b"first"  # the outer block ends last
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_killed_before_the_move_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")
    script = (
        "import os, signal, sys\n"
        "from alphaedit_core.files import write_atomic\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(sys.argv[1], b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_folder_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as beside:
            (beside / "inner").mkdir()
            (beside / "inner" / content).write_text(content)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder" / "inner") == ["new"]


@pytest.mark.parametrize("fails", ["writing", "moving"])
def test_failure_leaves_the_old_folder(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "folder") as beside:
        (beside / "old").touch()
    move = os.replace
    moved: list[Path] = []

    def fail_at_the_second(source: Path, target: Path) -> None:
        moved.append(source)
        if len(moved) == 2:
            raise OSError("no")
        move(source, target)

    if fails == "moving":
        monkeypatch.setattr(os, "replace", fail_at_the_second)
    with pytest.raises(OSError), atomic_folder(tmp_path / "folder") as beside:
        (beside / "new").touch()
        if fails == "writing":
            raise OSError("no")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["old"]


@given(json_values)
def test_json_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json_atomic(path, value)
    assert read_json(path) == value


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json_atomic(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe{}", b"[1, 2"])
def test_damaged_json_is_one_line_with_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_json_cannot_say_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, [1])
    with pytest.raises(TypeError):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_environment_chooses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    assert not cache_dir().exists()
    assert models_dir() == tmp_path / "here" / "models" and models_dir().is_dir()
    monkeypatch.delenv("ALPHAEDIT_CACHE")
    assert "alphaedit" in cache_dir().parts


def test_sizes_of_a_folder_that_changes_meanwhile(tmp_path: Path) -> None:
    assert list(sizes_below(tmp_path / "absent")) == []
    for name, size in (("here", 3), ("one/a", 1), ("two/b", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert sorted(sizes_below(tmp_path)) == [("a", 1), ("b", 2), ("here", 3)]
    found = sizes_below(tmp_path)
    assert next(found) == ("here", 3)
    shutil.rmtree(tmp_path / "one")
    assert list(found) == [("b", 2)]
