"""Downloading published files on request, and caching them with checksums.

Publishers give no checksums, so a file is trusted on first use. Its SHA-256 is stored beside it,
and a file that has changed since is refused.
"""

from __future__ import annotations

import http.client
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from alphaedit_core.data.record_files import decoded, records_of
from alphaedit_core.errors import CorruptFileError, FetchError, InputError
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import datasets_dir
from alphaedit_core.storage.files import atomic_path, read_json, sha256_of_file, write_json_atomic

from .base import Dataset
from .registry import dataset

_BLOCK_BYTES = 1 << 16
_SECONDS = 30.0  # timeout of a silent server
_OWN_MACHINE = ("127.0.0.1", "::1", "localhost")
_NETWORK_ERRORS = (OSError, http.client.HTTPException, ValueError)
_OTHERWISE = "check the network, or download the file by hand and give its path"


def cached_dataset(name: str) -> Path:
    """Return the path of a data set's published file in the cache.

    Raises:
        InputError: if the data set is unknown, or not in the cache.
        CorruptFileError: if the file has changed since its first use.
    """
    known, path = dataset(name), datasets_dir() / f"{name}.json"
    if not path.exists():
        if known.address is None:
            raise InputError(_by_hand(known))
        raise InputError(
            f"{name} is not in the cache; fetch it (fetch=True; alphaedit datasets --fetch {name}) "
            "or give the path of a copy"
        )
    _check(path)
    return path


def fetch_dataset(name: str, monitor: Monitor | None = None, address: str | None = None) -> Path:
    """Return the path of a data set's published file, downloaded unless it is in the cache.

    Args:
        name: name of the data set.
        monitor: receives progress in bytes, and can cancel the download.
        address: another URL, such as a mirror: https, or http on this machine.

    Returns:
        The path of the file.

    Raises:
        InputError: if the data set is unknown, or has no usable address.
        FetchError: if the download fails, is not a file of records, or cannot be written.
        CorruptFileError: if the cached file has changed since its first use.
        Canceled: if canceled; no partial file remains.
    """
    known, monitor = dataset(name), monitor or Monitor()
    address = address or known.address
    if address is None:
        raise InputError(_by_hand(known))
    if not _allowed(address):
        raise InputError(f'address "{address}" is not an https one; give one that is')
    try:
        path = datasets_dir() / f"{name}.json"
        if path.exists():
            return _checked(path, name)
        monitor.check()
        with _opened(address) as answer, atomic_path(path) as new:
            _write(answer, new, address, monitor, f"fetching {known.title}")
            _check_content(new, address)
        _note(path, address)
    except OSError as error:
        raise FetchError(
            f"{name}: {error.strerror or error} ({error.filename or datasets_dir()}); make room or "
            "set ALPHAEDIT_CACHE to a folder that can be written to"
        ) from error
    return path


class _Redirects(HTTPRedirectHandler):
    """Follows redirects to allowed addresses only."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if not _allowed(newurl):
            raise FetchError(f"{req.full_url} leads to {newurl}, which is not https; give another")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _allowed(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    own = parts.scheme == "http" and parts.hostname in _OWN_MACHINE
    return bool(parts.hostname) and (parts.scheme == "https" or own)


def _opened(address: str) -> http.client.HTTPResponse:
    """Open an address; the content is not read yet."""
    request = Request(address, headers={"User-Agent": "alphaedit-workbench"})
    try:
        answer: http.client.HTTPResponse = build_opener(_Redirects).open(request, timeout=_SECONDS)
    except _NETWORK_ERRORS as error:
        raise _failed(address, error) from error
    return answer


def _write(
    answer: http.client.HTTPResponse, new: Path, address: str, monitor: Monitor, stage: str
) -> None:
    """Write the content as it arrives."""
    length = answer.headers.get("Content-Length", "")
    total, came = int(length) if length.isdigit() else None, 0
    with monitor.stage(stage, total=total, unit="B"), new.open("wb") as file:
        while block := _block(answer, address):
            came += file.write(block)
            monitor.advance(len(block))
    if total is not None and came != total:
        raise FetchError(f"{address} broke off after {came} of {total} bytes; {_OTHERWISE}")


def _block(answer: http.client.HTTPResponse, address: str) -> bytes:
    """Return the bytes that have arrived; empty at the end."""
    try:
        return answer.read1(_BLOCK_BYTES)
    except _NETWORK_ERRORS as error:
        raise _failed(address, error) from error


def _failed(address: str, error: Exception) -> FetchError:
    code = f"{error.code} " if isinstance(error, HTTPError) else ""
    reason = str(getattr(error, "reason", "") or error) or type(error).__name__
    cause = " ".join(f"{code}{reason}".split())
    return FetchError(f"{address} cannot be fetched ({cause}); {_OTHERWISE}")


def _check_content(path: Path, address: str) -> None:
    """Refuse a web page that was sent in place of the file."""
    try:
        next(records_of(path, decoded(path.read_bytes())))
    except InputError as error:
        raise FetchError(
            f"what came from {address} is not a file of records ({error}); download the file by "
            "hand and give its path"
        ) from None


def _by_hand(known: Dataset) -> str:
    return (
        f"{known.name} has no lasting address to fetch it from; download it from "
        f"{known.publisher}, and give its path"
    )


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _note(path: Path, address: str | None) -> None:
    note = {"sha256": sha256_of_file(path), "size": path.stat().st_size, "address": address}
    write_json_atomic(_note_path(path), note)


def _checked(path: Path, name: str) -> Path:
    """Check a cached file against its stored checksum, and return its path."""
    try:
        _check(path)
    except OSError as error:
        raise FetchError(f"{name}: {error.filename or path}: {error.strerror or error}") from error
    return path


def _check(path: Path) -> None:
    """Check a file against its stored checksum; store the checksum on first use."""
    note = _note_path(path)
    if not note.exists():
        with suppress(OSError):  # a read-only cache still works
            _note(
                path, None
            )  # copied there by hand, or the process was killed before it stored one
        return
    noted = read_json(note)
    if not isinstance(noted, dict) or noted.get("sha256") != sha256_of_file(path):
        raise CorruptFileError(
            f"{path}: not the file that was first used (its SHA-256 is not the one noted in "
            f"{note.name}); remove both and fetch it again"
        )
