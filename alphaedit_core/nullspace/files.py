"""Files of eigenvalues and eigenvectors, checked and read in blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from alphaedit_core.errors import CorruptFileError
from alphaedit_core.storage.cache import spectra_dir
from alphaedit_core.storage.tensor_files import (
    check_seal,
    opened_tensors,
    save_tensors,
    tensor_digest,
)

#: Eigenvectors per checksum.
_BLOCK = 128


def save_spectrum(file: Path, values: Tensor, rows: Tensor, metadata: Mapping[str, str]) -> None:
    """Write eigenvalues and eigenvectors, largest eigenvalue first.

    Each block of eigenvectors has its own checksum, because a projector reads only some of them.

    Args:
        file: the safetensors file.
        values: eigenvalues, (d_in,).
        rows: eigenvectors as rows, (d_in, d_in).
        metadata: further text entries of the file.

    Raises:
        OSError: if the file cannot be written.
    """
    checksums = [
        tensor_digest(rows[start : start + _BLOCK]) for start in range(0, len(rows), _BLOCK)
    ]
    save_tensors(
        file,
        {"eigenvalues": values, "vectors": rows},
        {**metadata, "pieces": json.dumps(checksums)},
    )


def read_vectors(file: Path, moment: str, start: int, stop: int) -> Tensor:
    """Return eigenvectors start … stop - 1 as rows, (stop - start, d_in), and check their blocks.

    Args:
        file: as written by :func:`save_spectrum`.
        moment: checksum of the second moment that the file has to belong to; "" for any.
        start: first eigenvector.
        stop: one past the last eigenvector.

    Raises:
        CorruptFileError: if the file is missing or damaged, or belongs to another moment.
        OSError: if it cannot be read.
    """
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            check_seal(file, metadata)
            if moment and metadata["moment"] != moment:
                raise ValueError("belongs to other statistics")
            checksums, stored_rows = json.loads(metadata["pieces"]), stored.get_slice("vectors")
            # Eigenvectors are stored as rows, so that a range of them is contiguous in the file.
            # They are copied, because a slice of a mapped file keeps the whole file mapped.
            rows = torch.empty(stop - start, *stored_rows.get_shape()[1:])
            for number in range(start // _BLOCK, -(-stop // _BLOCK)):
                first = number * _BLOCK
                block = stored_rows[first : first + _BLOCK].contiguous()
                if tensor_digest(block) != checksums[number]:
                    raise ValueError(f"rows from {first} do not match their checksum")
                begin, end = max(start, first), min(stop, first + len(block))
                rows[begin - start : end - start] = block[begin - first : end - first]
    except FileNotFoundError:
        raise CorruptFileError(f"{file}: no longer exists; read the spectrum again") from None
    except (SafetensorError, ValueError, KeyError, IndexError) as error:
        raise CorruptFileError(f"{file}: damaged ({error}); remove it") from error
    return rows


def spectrum_file(checksum: str) -> Path:
    """Return the path in the cache for the spectrum of the moment with this checksum."""
    # The format version is part of the name: files of version 1 have no checksums of blocks.
    name = blake2b(f"2 {checksum}".encode(), digest_size=8).hexdigest()
    return spectra_dir() / f"{name}.safetensors"
