"""Safetensors files with checksums, written atomically.

The safetensors library creates files that only the owner can read. Here they get the usual mode of
a new file, like the JSON files beside them.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EIO, ENOENT
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, uint8

from alphaedit_core.errors import CorruptFileError

from .files import atomic_path, cannot_be_read
from .json_text import check_regular
from .temporary import temporary_name

#: Key of the metadata's own checksum.
_SEAL = "checksum"


def tensor_digest(tensor: Tensor) -> str:
    """Return the digest of a tensor's bytes, 32 hex digits, the same on every device."""
    data = tensor.detach().contiguous().cpu().view(-1).view(uint8).numpy().data
    return blake2b(data, digest_size=16).hexdigest()


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata to one file atomically, with checksums of both.

    Raises:
        OSError: if the file cannot be written; an existing file is then unchanged.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {f"checksum.{name}": tensor_digest(tensor) for name, tensor in on_cpu.items()}
    with atomic_path(file) as temporary:
        save_file(on_cpu, temporary, _sealed({**metadata, **checksums}))
        give_usual_mode(temporary)


def give_usual_mode(*files: Path) -> None:
    """Set files to the mode that the system gives a new file in their folder.

    Raises:
        OSError: if no file can be created there.
    """
    for file in files:
        # Create a file and read its mode: reading the umask requires setting it, which would affect
        # other threads.
        probe = file.with_name(temporary_name("mode"))
        try:
            probe.touch(exist_ok=False)
            mode = stat.S_IMODE(probe.stat().st_mode)
        finally:
            probe.unlink(missing_ok=True)
        file.chmod(mode)


@contextmanager
def opened_tensors(file: Path) -> Iterator[Any]:
    """Open a safetensors file with ``safe_open``.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
        SafetensorError: if it is incomplete or not a safetensors file.
    """
    try:
        check_regular(file, most=sys.maxsize)
        # Read a byte first: safe_open reports an unreadable file as missing, and gives no error
        # number.
        with open(file, "rb") as plain:
            plain.read(1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_be_read(error, file) from error
    with ExitStack() as stack:
        try:
            stored = stack.enter_context(safe_open(file, "pt"))
        except RuntimeError as error:  # torch opens the file again by name
            if not os.path.exists(file):  # removed in the meantime
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(file)) from None
            raise cannot_be_read(OSError(EIO, str(error)), file) from error
        yield stored


def check_seal(file: Path, metadata: Mapping[str, str]) -> None:
    """Check the metadata against its own checksum.

    Raises:
        CorruptFileError: if the checksum differs or is missing.
    """
    if _sealed({n: v for n, v in metadata.items() if n != _SEAL}) != metadata:
        raise CorruptFileError(f"{file}: damaged, the checksum of its header differs; remove it")


def _sealed(metadata: dict[str, str]) -> dict[str, str]:
    text = json.dumps(metadata, sort_keys=True)
    return metadata | {_SEAL: blake2b(text.encode(), digest_size=16).hexdigest()}


def load_tensors(file: Path, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and metadata of a file after checking all checksums.

    Args:
        file: the file.
        sealed: True if the metadata must have a checksum. Session files of earlier versions have
            none. An existing checksum is always checked.

    Raises:
        FileNotFoundError: if the file does not exist.
        OSError: if it cannot be read; names the file and the reason.
        CorruptFileError: if it is incomplete or a checksum differs.
    """
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            # Clone for the alignment of a new tensor: offsets in a file are arbitrary, and the last
            # bits of products can depend on them.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{file}: damaged ({error}); remove it or restore a copy") from error
    if sealed or _SEAL in metadata:
        check_seal(file, metadata)
    for name, tensor in tensors.items():
        if metadata.get(f"checksum.{name}") != tensor_digest(tensor):
            raise CorruptFileError(
                f'{file}: damaged, the checksum of "{name}" differs; remove it or restore a copy'
            )
    return tensors, metadata
