"""Atomic writes and checksums: old or new content, and no leftover files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphaedit_core.errors import CorruptFileError
from alphaedit_core.storage import files
from alphaedit_core.storage.cache import cache_dir, models_dir
from alphaedit_core.storage.files import (
    atomic_folder,
    atomic_path,
    read_json,
    sha256_of_file,
    sizes_below,
    write_atomic,
    write_json_atomic,
)
from alphaedit_core.storage.tensor_files import save_tensors

ROOT = Path(__file__).parents[2]

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
        "from alphaedit_core.storage.files import write_atomic\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomic(sys.argv[1], b'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_folder_replaces_old_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as beside:
            (beside / "inner").mkdir()
            (beside / "inner" / content).write_text(content)
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder" / "inner") == ["new"]


@pytest.mark.parametrize("fails", ["writing", "exchanging", "moving"])
def test_failure_leaves_the_old_folder(
    tmp_path: Path, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "folder") as beside:
        (beside / "old").touch()

    def refuse(*_paths: Path) -> bool:
        raise OSError("no")

    if fails == "exchanging":
        monkeypatch.setattr(files, "exchange", refuse)
    if fails == "moving":  # as where the system has no exchange
        monkeypatch.setattr(files, "exchange", lambda *_paths: False)
        monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="no"), atomic_folder(tmp_path / "folder") as beside:
        (beside / "new").touch()
        if fails == "writing":
            raise OSError("no")
    assert os.listdir(tmp_path) == ["folder"]
    assert os.listdir(tmp_path / "folder") == ["old"]


@pytest.mark.parametrize("exchanging", [True, False])
def test_folder_is_replaced_without_exchange(
    tmp_path: Path, exchanging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanging:
        monkeypatch.setattr(files, "exchange", lambda *_paths: False)
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "folder") as beside:
            (beside / content).touch()
    assert os.listdir(tmp_path) == ["folder"] and os.listdir(tmp_path / "folder") == ["new"]


#: Replaces a folder again and again until told to stop, or a minute later; every version holds one
#: whole file.
REPLACE = """
import sys, time
from pathlib import Path
from alphaedit_core.storage.files import atomic_folder
place, stop = Path(sys.argv[1]), Path(sys.argv[2])
ends = time.monotonic() + 60
while not stop.exists() and time.monotonic() < ends:
    with atomic_folder(place) as beside:
        (beside / "content").write_text("whole")
"""


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="the system has no exchange")
def test_concurrent_folder_writers_never_leave_it_missing(tmp_path: Path) -> None:
    place, stop = tmp_path / "folder", tmp_path / "stop"
    with atomic_folder(place) as beside:
        (beside / "content").write_text("whole")
    command = [sys.executable, "-c", REPLACE, str(place), str(stop)]
    writers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    try:
        seen, ends = set(), time.monotonic() + 30
        while len(seen) < 15 and time.monotonic() < ends:
            seen.add(os.stat(place).st_ino)  # raises in a moment without the folder
    finally:
        stop.touch()
        codes = [writer.wait(timeout=60) for writer in writers]
    assert codes == [0, 0] and len(seen) >= 15
    assert (place / "content").read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["folder", "stop"]


def test_temporary_files_of_killed_process_are_removed(tmp_path: Path) -> None:
    script = """
import os, signal, sys
from pathlib import Path
from alphaedit_core.storage.files import atomic_folder, atomic_path
place = Path(sys.argv[1])
with atomic_folder(place / "model") as folder, atomic_path(place / "other.json") as file:
    (folder / "weights").write_bytes(bytes(1000))
    file.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 2, "it left nothing to remove"
    with atomic_path(tmp_path / "mine") as mine:  # not removed by a write of the same process …
        mine.write_text("x")
        write_atomic(tmp_path / "new", "x")
        foreign = tmp_path / f".{'0' * 4}{2**24 - 1:06x}{'0' * 6}.model"
        foreign.mkdir()  # … and what another machine writes is left alone, for a day
        write_atomic(tmp_path / "new", "x")
    assert sorted(os.listdir(tmp_path)) == sorted([foreign.name, "mine", "new"])
    day = time.time() - 2 * 86_400
    os.utime(foreign, (day, day))
    write_atomic(tmp_path / "new", "x")
    assert sorted(os.listdir(tmp_path)) == ["mine", "new"]


def test_folder_moved_aside_survives_other_writes(tmp_path: Path) -> None:
    """After a kill between two moves, the folder moved aside is the only copy."""
    script = """
import os, signal, sys
from pathlib import Path
from alphaedit_core.storage import files
files.exchange = lambda *_paths: False
for content in ("old", "new"):
    if content == "new":
        os.rename = lambda *_paths: os.kill(os.getpid(), signal.SIGKILL)
    with files.atomic_folder(Path(sys.argv[1]) / "folder") as beside:
        (beside / content).touch()
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL and not (tmp_path / "folder").exists()
    write_atomic(tmp_path / "other", "x")
    with pytest.raises(OSError, match="no"), atomic_folder(tmp_path / "folder"):
        raise OSError("no")  # the next write puts it back first
    assert os.listdir(tmp_path / "folder") == ["old"]


def test_disk_error_names_file(tmp_path: Path) -> None:
    """Those of safetensors, which are none of Python's, too: here at a limit of a file's size."""
    script = """
import resource, sys
from pathlib import Path
import torch
from alphaedit_core.storage.files import atomic_folder, write_atomic
from alphaedit_core.storage.tensor_files import save_tensors
place = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

def whole_model(place):
    with atomic_folder(place) as beside:
        (beside / "weights").write_bytes(bytes(2000))

for name, write in (
    ("tensors", lambda file: save_tensors(file, {"a": torch.zeros(1000)}, {})),
    ("text", lambda file: write_atomic(file, "x" * 2000)),
    ("model", whole_model),
):
    try:
        write(place / name)
    except OSError as error:
        print(error.errno, error.filename)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stderr == ""
    names = ("tensors", "text", "model")
    assert done.stdout.splitlines() == [f"{errno.EFBIG} {tmp_path / name}" for name in names]
    assert os.listdir(tmp_path) == []


def test_tensor_file_has_usual_mode(tmp_path: Path) -> None:
    write_atomic(tmp_path / "text", "x")
    save_tensors(tmp_path / "tensors", {"a": torch.zeros(2)}, {})
    modes = {os.stat(tmp_path / name).st_mode for name in ("text", "tensors")}
    assert len(modes) == 1


@given(json_values)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json_atomic(path, value)
    assert read_json(path) == value


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json_atomic(tmp_path / "b.json", {"a": "é", "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert "é" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe{}", b"[1, 2"])
def test_damaged_json_names_file_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        read_json(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_unserializable_content_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json_atomic(path, [1])
    with pytest.raises(TypeError):
        write_json_atomic(path, {"a": object()})
    assert json.loads(path.read_text()) == [1]
    assert os.listdir(tmp_path) == ["a.json"]


def test_environment_sets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    assert not cache_dir().exists()
    assert models_dir() == tmp_path / "here" / "models" and models_dir().is_dir()
    monkeypatch.delenv("ALPHAEDIT_CACHE")
    assert "alphaedit" in cache_dir().parts


def test_sizes_of_a_changing_folder(tmp_path: Path) -> None:
    assert list(sizes_below(tmp_path / "absent")) == []
    for name, size in (("here", 3), ("one/a", 1), ("two/b", 2)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    assert sorted(sizes_below(tmp_path)) == [("a", 1), ("b", 2), ("here", 3)]
    found = sizes_below(tmp_path)
    assert next(found) == ("here", 3)
    shutil.rmtree(tmp_path / "one")
    assert list(found) == [("b", 2)]
