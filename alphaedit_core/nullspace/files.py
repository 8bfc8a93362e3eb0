"""Files of eigenvalues and eigenvectors, read a piece at a time and checked."""

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

#: Eigenvectors that have a checksum together.
_PIECE = 128


def save_spectrum(file: Path, values: Tensor, rows: Tensor, metadata: Mapping[str, str]) -> None:
    """Write eigenvalues (d_in,) and eigenvectors as rows (d_in, d_in), largest first.

    Every piece of rows has a checksum of its own, since only some are read later.

    Raises:
        OSError: if it cannot be written.
    """
    pieces = [tensor_digest(piece) for piece in rows.split(_PIECE)]
    save_tensors(
        file,
        {"eigenvalues": values, "vectors": rows},
        {**metadata, "pieces": json.dumps(pieces)},
    )


def _rows(file: Path, moment: str, start: int, stop: int) -> Tensor:
    """Eigenvectors start … stop - 1 as rows, those of a piece checked together."""
    try:
        with opened_tensors(file) as stored:
            metadata = stored.metadata() or {}
            check_seal(file, metadata)
            if moment and metadata["moment"] != moment:
                raise ValueError("belongs to other statistics")
            pieces, every = json.loads(metadata["pieces"]), stored.get_slice("vectors")
            # Stored as rows, so that a range of them is one piece of the file.
            # Copied, because a slice of a mapped file holds on to the whole of it.
            found = torch.empty(stop - start, *every.get_shape()[1:])
            for number in range(start // _PIECE, -(-stop // _PIECE)):
                first = number * _PIECE
                piece = every[first : first + _PIECE].contiguous()
                if tensor_digest(piece) != pieces[number]:
                    raise ValueError(f"rows from {first} do not have their checksum")
                begin, end = max(start, first), min(stop, first + len(piece))
                found[begin - start : end - start] = piece[begin - first : end - first]
    except FileNotFoundError:
        raise CorruptFileError(f"{file}: is no longer there; read the spectrum again") from None
    except (SafetensorError, ValueError, KeyError, IndexError) as error:
        raise CorruptFileError(f"{file}: damaged ({error}); remove it") from error
    return found


def spectrum_file(checksum: str) -> Path:
    """Where the cache keeps eigenvalues and eigenvectors of the moment with this checksum."""
    # The form of the file is part of the name: earlier ones hold no checksums of pieces.
    name = blake2b(f"2 {checksum}".encode(), digest_size=8).hexdigest()
    return spectra_dir() / f"{name}.safetensors"
