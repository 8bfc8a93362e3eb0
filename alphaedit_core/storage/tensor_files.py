"""Safetensors files that know their own checksums and move into place whole.

The library that writes them makes each for its owner alone; here they get the mode that any other
new file would get, so that who may read the JSON beside one may read it too.
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

#: Under which the metadata's own checksum stands in it.
_SEAL = "checksum"


def tensor_digest(tensor: Tensor) -> str:
    """Digest of a tensor's bytes as 32 hex digits; the same wherever the tensor lies."""
    data = tensor.detach().contiguous().cpu().view(-1).view(uint8).numpy().data
    return blake2b(data, digest_size=16).hexdigest()


def save_tensors(file: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and text to one file with checksums of both, moved into place whole.

    Raises:
        OSError: if the file cannot be written; what stood there before still stands.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {f"checksum.{name}": tensor_digest(tensor) for name, tensor in plain.items()}
    with atomic_path(file) as beside:
        save_file(plain, beside, _sealed({**metadata, **checksums}))
        give_usual_mode(beside)


def give_usual_mode(*files: Path) -> None:
    """Give files the mode that a new file in their folder gets from the system.

    Raises:
        OSError: if no file can be made there.
    """
    for file in files:
        # Made and looked at: the process's mask can be asked for only by setting it, which other
        # threads would notice.
        probe = file.with_name(temporary_name("mode"))
        try:
            probe.touch(exist_ok=False)
            mode = stat.S_IMODE(probe.stat().st_mode)
        finally:
            probe.unlink(missing_ok=True)
        file.chmod(mode)


@contextmanager
def opened_tensors(file: Path) -> Iterator[Any]:
    """A safetensors file to read from, as ``safe_open`` gives it.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read, which says nothing of what it holds; names the file and why.
        SafetensorError: if it is not whole, or not of this form.
    """
    try:
        check_regular(file, most=sys.maxsize)
        # Read once in the ordinary way: safe_open says of a file it may not read that there is none
        # and, of errors, no number.
        with open(file, "rb") as plain:
            plain.read(1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_be_read(error, file) from error
    with ExitStack() as stack:
        try:
            stored = stack.enter_context(safe_open(file, "pt"))
        except RuntimeError as error:  # torch opens it anew, by its name
            if not os.path.exists(file):  # somebody has just removed it
                raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(file)) from None
            raise cannot_be_read(OSError(EIO, str(error)), file) from error
        yield stored


def check_seal(file: Path, metadata: Mapping[str, str]) -> None:
    """Refuse metadata that does not have its checksum.

    Raises:
        CorruptFileError: if it has another one, or none.
    """
    if _sealed({n: v for n, v in metadata.items() if n != _SEAL}) != metadata:
        raise CorruptFileError(f"{file}: damaged, its head does not have its checksum; remove it")


def _sealed(metadata: dict[str, str]) -> dict[str, str]:
    text = json.dumps(metadata, sort_keys=True)
    return metadata | {_SEAL: blake2b(text.encode(), digest_size=16).hexdigest()}


def load_tensors(file: Path, sealed: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file, every tensor checked against its checksum.

    Args:
        file: the file.
        sealed: whether the metadata has to have a checksum too. Files of sessions that earlier
            versions wrote have none; where there is one it is checked in any case.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read; names the file and why.
        CorruptFileError: if it is not whole or a checksum differs.
    """
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            # Copied, so that each lies in memory as a tensor of our own would: in a file they begin
            # anywhere, and the last bits of products can depend on that.
            tensors = {name: stored.get_tensor(name).clone() for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise CorruptFileError(f"{file}: damaged ({error}); remove it or take a copy") from error
    if sealed or _SEAL in metadata:
        check_seal(file, metadata)
    for name, tensor in tensors.items():
        if metadata.get(f"checksum.{name}") != tensor_digest(tensor):
            raise CorruptFileError(
                f'{file}: damaged, "{name}" does not have its checksum; remove it or take a copy'
            )
    return tensors, metadata
