"""Files that are either wholly there or not there at all, and their checksums.

Every file this library keeps is written beside its place and moved into it, so that a reader, or
the next start after a kill, sees the old content or the new content and nothing between.
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
#: File systems take 255 bytes, of which temporary names beside a file need some.
_LONGEST_NAME = 230
#: How often a folder is tried to be put in its place while others do the same.
_TRIES = 100


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, read block by block.

    Returns:
        64 lower-case hexadecimal digits.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read; names the file and why.
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
    """A temporary path beside ``path`` that is moved into its place when the block ends well.

    The temporary name ends with the name of ``path``, so that writers which look at the suffix
    see the right one. Folders on the way are made. If the block raises, the temporary file is
    removed and ``path`` is as it was.

    Raises:
        FileNotFoundError: if the block ends without having written the temporary file.
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
    # The content was safe before the move; this makes the move itself outlive a power cut. Some
    # systems cannot flush a folder, and there is nothing to be done about it there.
    with suppress(OSError):
        _flush_to_disk(place.parent)


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    What stands at ``path`` changes places with it in one step and is removed last, so that at every
    moment either the old or the new folder is found there, whole. Where the system has no such step
    the old one is moved aside first; a kill between the two moves leaves it beside its place, and
    the next call puts it back. Of two writers at once the last one's folder stays. If the block
    raises, the temporary folder is removed and ``path`` is as it was.

    Raises:
        OSError: if the folder cannot be written or moved.
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    _put_back(place)
    remove_left_behind(place.parent)
    beside = place.with_name(temporary_name(place.name))
    beside.mkdir()
    try:
        with _naming(place, beside):
            yield beside
            for written in beside.rglob("*"):
                _flush_to_disk(written)
            _take_place(beside, place)
    finally:  # after an exchange it holds what stood there before
        shutil.rmtree(beside, ignore_errors=True)
    with suppress(OSError):
        _flush_to_disk(place.parent)


def _take_place(beside: Path, place: Path) -> None:
    """Move a folder to its place, whatever stands there or comes to stand there meanwhile."""
    for _ in range(_TRIES):
        try:
            if not place.exists():
                os.rename(beside, place)
                return
            if place.is_dir() and exchange(beside, place):
                return
            _move_aside(beside, place)
            return
        except OSError as error:  # somebody else's folder came or went in between
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise
    raise FileExistsError(errno.EEXIST, "others keep writing this folder; try again", str(place))


def _move_aside(beside: Path, place: Path) -> None:
    """The same in two moves: what stands there goes aside, and comes back if that fails."""
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


def _put_back(place: Path) -> None:
    """Put back a folder that a killed writer moved aside; remove one that has been replaced."""
    for old in place.parent.glob(f".*.old.{glob.escape(place.name)}"):
        if final_name(old) == ASIDE + place.name and is_left_behind(old):
            if place.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                os.replace(old, place)


@contextmanager
def _naming(place: Path, beside: Path) -> Iterator[None]:
    """Have errors of writing name the file that was to be written, also those of safetensors.

    Raises:
        OSError: with ``place`` as its file name, for one that names ``beside`` or nothing.
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
    """Refuse a path with a name that file systems do not take, with room for temporary names.

    Args:
        what: what is kept there, for the message.
        path: where.

    Raises:
        InputError: naming the beginning of the name, its length and the longest.
    """
    for part in Path(path).parts:
        size = len(os.fsencode(part))
        if size > _LONGEST_NAME or "\0" in part:
            raise InputError(
                f'{what}: the name "{part[:20].split(chr(0))[0]}…" of {size} bytes cannot be used; '
                f"give one of at most {_LONGEST_NAME}"
            )


def sizes_below(folder: str | os.PathLike[str]) -> Iterator[tuple[str, int]]:
    """Name and bytes of every file in a folder and those below, while others change it.

    What disappears during the walk is passed over (``Path.rglob`` raises there); a folder that is
    not there has no files.
    """
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield name, os.stat(os.path.join(parent, name)).st_size


def write_atomic(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a whole file at once; text is encoded as UTF-8 with its line ends as they are.

    Raises:
        OSError: if the file cannot be written; ``path`` is then as it was.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with atomic_path(path) as beside:
        beside.write_bytes(data)


def read_json(path: str | os.PathLike[str]) -> Any:
    """What a JSON file holds.

    Raises:
        CorruptFileError: if the content is not UTF-8, not JSON, or no JSON that can be read.
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read; names the file and why.
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
    """The same error with words that name the file, why it cannot be read, and what helps.

    What it holds is not known then, so nothing is said of damage, nor that it could be removed.
    """
    number = error.errno or errno.EIO
    remedy = {
        errno.EACCES: "get the right to read it",
        errno.EPERM: "get the right to read it",
        errno.EISDIR: "a folder stands where the file should; move it away",
        errno.EINVAL: "something else stands where the file should; move it away",
    }.get(number, "check the disk and try again")
    reason = error.strerror or str(error) or os.strerror(number)
    return OSError(number, f"cannot be read ({reason}); {remedy}", os.fspath(path))


def write_json_atomic(path: str | os.PathLike[str], content: Any) -> None:
    """Write ``content`` as JSON with sorted keys, so that equal content gives equal bytes.

    Raises:
        TypeError: if ``content`` holds something that JSON has no form for.
        OSError: if the file cannot be written; ``path`` is then as it was.
    """
    text = to_json(content, sort_keys=True, indent=1)
    write_atomic(path, text + "\n")


def _flush_to_disk(path: Path) -> None:
    """Ask the system to put a file's content, or a folder's entries, on the disk now."""
    # Windows flushes only files that are open for writing, and does not open folders at all.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    handle = os.open(path, mode)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def portable_name(name: str) -> str:
    """A name without the folders of this machine, which are nobody else's business."""
    return Path(name).name if Path(name).exists() else name
