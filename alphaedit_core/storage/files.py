"""Atomic writes of files and folders, checksums, and JSON files.

Every file is written to a temporary path and then moved into place. A reader, or the next process
after a kill, sees either the old or the new content.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alphaedit_core.errors import CorruptFileError, InputError

from .exchange import exchange
from .json_text import check_regular, parse_json, read_bytes, to_json
from .temporary import ASIDE, final_name, is_left_behind, remove_left_behind, temporary_name

_BLOCK_BYTES = 1 << 20
#: Maximum length of a name in bytes: the usual 255, minus room for temporary names.
_MAX_NAME_BYTES = 230
#: Attempts to move a folder into place while other writers do the same.
_MAX_ATTEMPTS = 100


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's content, 64 lower-case hexadecimal digits.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
    """
    digest = hashlib.sha256()
    try:
        check_regular(path, most=sys.maxsize)
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_be_read(error, path) from error
    return digest.hexdigest()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file atomically, as a context manager.

    Missing parent folders are created. If the block raises, the temporary file is removed and
    ``path`` is unchanged.

    Yields:
        A temporary path in the same folder, which replaces ``path`` at the end of the block. Its
        name ends with the name of ``path``, so that writers see the right suffix.

    Raises:
        FileNotFoundError: if the block did not write the temporary file.
        OSError: if the file cannot be written or moved.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(place.parent)
    beside = place.with_name(temporary_name(place.name))
    try:
        with _naming(place, beside):
            yield beside
            _flush_to_disk(beside)
            os.replace(beside, place)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    # The content is on disk already; flushing the folder makes the move survive a power cut. Some
    # systems cannot flush a folder.
    with suppress(OSError):
        _flush_to_disk(place.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder atomically, as a context manager.

    An existing folder is exchanged with the new one in one step and then removed, so ``path``
    always has either the complete old or the complete new folder. If the system has no atomic
    exchange, the old folder is moved aside first. A kill between the two moves leaves it there, and
    the next call moves it back. Of two concurrent writers, the last one wins. If the block raises,
    the temporary folder is removed and ``path`` is unchanged.

    Yields:
        A temporary folder beside ``path``, which replaces it at the end of the block.

    Raises:
        OSError: if the folder cannot be written or moved.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    _restore_moved_aside(place)
    remove_left_behind(place.parent)
    beside = place.with_name(temporary_name(place.name))
    beside.mkdir()
    try:
        with _naming(place, beside):
            yield beside
            for written in beside.rglob("*"):
                _flush_to_disk(written)
            _take_place(beside, place)
    finally:  # after an exchange it is the old folder
        shutil.rmtree(beside, ignore_errors=True)
    with suppress(OSError):
        _flush_to_disk(place.parent)


def _take_place(beside: Path, place: Path) -> None:
    """Move a folder into place, even if other writers create or replace it meanwhile."""
    for _ in range(_MAX_ATTEMPTS):
        try:
            if not place.exists():
                os.rename(beside, place)
                return
            if place.is_dir() and exchange(beside, place):
                return
            _move_aside(beside, place)
            return
        except OSError as error:  # another writer created or removed it meanwhile
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise FileExistsError(errno.EEXIST, "other processes write this folder; try again", str(place))


def _move_aside(beside: Path, place: Path) -> None:
    """Replace a folder in two moves, and undo the first if the second fails."""
    old = place.with_name(temporary_name(ASIDE + place.name))
    os.replace(place, old)
    try:
        os.rename(beside, place)
    except BaseException:
        if not place.exists():
            os.replace(old, place)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _restore_moved_aside(place: Path) -> None:
    """Restore a folder that a killed writer moved aside; remove it if it has been replaced."""
    for old in place.parent.glob(f".*.old.{glob.escape(place.name)}"):
        if final_name(old) == ASIDE + place.name and is_left_behind(old):
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(old, place)


@contextmanager
def _naming(place: Path, beside: Path) -> Iterator[None]:
    """Make write errors, also those of safetensors, name the final path.

    Raises:
        OSError: with ``place`` as file name instead of ``beside`` or none.
    """
    try:
        yield
    except SafetensorError as error:
        # "Error while serializing: I/O error: No space left on device (os error 28)"
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), str(place)) from error
    except OSError as error:
        named = error.filename is not None and not str(error.filename).startswith(str(beside))
        if error.errno is None or named:
            raise
        raise OSError(error.errno, error.strerror, str(place)) from error


def check_name(what: str, path: str | os.PathLike[str]) -> None:
    """Check that all names of a path are valid and short enough for temporary names.

    Args:
        what: description of the path for the message.
        path: the path.

    Raises:
        InputError: if a name is too long or has a null character.
    """
    for part in Path(path).parts:
        size = len(os.fsencode(part))
        if size > _MAX_NAME_BYTES or "\0" in part:
            raise InputError(
                f'{what}: the name "{part[:20].split(chr(0))[0]}…" of {size} bytes cannot be used; '
                f"give one of at most {_MAX_NAME_BYTES}"
            )


def sizes_below(folder: str | os.PathLike[str]) -> Iterator[tuple[str, int]]:
    """Yield the name and size in bytes of every file below a folder.

    Unlike with ``Path.rglob``, files may disappear during the walk. A missing folder has no files.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield name, os.stat(os.path.join(parent, name)).st_size


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file atomically; text is encoded as UTF-8 with unchanged line ends.

    Raises:
        OSError: if the file cannot be written; ``path`` is then unchanged.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as beside:
        beside.write_bytes(data)


def read_json(path: str | os.PathLike[str]) -> Any:
    """Return the content of a JSON file.

    Raises:
        CorruptFileError: if the content is not UTF-8, not JSON, or beyond the limits of
            :mod:`.json_text`.
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
    """
    try:
        return parse_json(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise cannot_be_read(error, path) from error
        raise CorruptFileError(
            f"{path}: {error.strerror}; remove the file or restore it from a copy"
        ) from None
    except UnicodeDecodeError as error:
        raise CorruptFileError(
            f"{path}: not UTF-8 at byte {error.start}; remove the file or restore it from a copy"
        ) from error
    except json.JSONDecodeError as error:
        raise CorruptFileError(
            f"{path}: not JSON at line {error.lineno} ({error.msg}); "
            "remove the file or restore it from a copy"
        ) from error


def cannot_be_read(error: OSError, path: str | os.PathLike[str]) -> OSError:
    """Return the error with a message that names the file, the reason and the remedy.

    The content is unknown, so the message does not suggest damage or removing the file.
    """
    number = error.errno or errno.EIO
    remedy = {
        errno.EACCES: "check its permissions",
        errno.EPERM: "check its permissions",
        errno.EISDIR: "a folder has its name; move the folder away",
        errno.EINVAL: "it is not a regular file; move it away",
    }.get(number, "check the disk and try again")
    reason = error.strerror or str(error) or os.strerror(number)
    return OSError(number, f"cannot be read ({reason}); {remedy}", os.fspath(path))


def write_json_atomic(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as JSON with sorted keys, atomically; equal content gives equal bytes.

    Raises:
        TypeError: if ``content`` is not JSON-serializable.
        OSError: if the file cannot be written; ``path`` is then unchanged.
    """
    text = to_json(content, sort_keys=True, indent=1)
    write_atomic(path, text + "\n")


def _flush_to_disk(path: Path) -> None:
    """Flush a file's content or a folder's entries to disk."""
    # Windows flushes only files opened for writing, and cannot open folders.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def portable_name(name: str) -> str:
    """Return a name without local folders, which should not be published."""
    return Path(name).name if Path(name).exists() else name
