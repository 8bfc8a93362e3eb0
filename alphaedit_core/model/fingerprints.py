"""Digests of a model's weights, and a cheap check that the weights are unchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from alphaedit_core.errors import (
    SessionError,
)

#: Approximate number of entries of a weight that a glance reads.
_LOOKED_AT = 64


def fingerprint(model: torch.nn.Module) -> str:
    """Return a digest of every parameter's name, shape, dtype and bytes, as 32 hex digits."""
    return _combined(weight_digests(model))


def weight_digests(model: torch.nn.Module) -> dict[str, str]:
    """Return a digest per parameter (name, shape, dtype and bytes), sorted by name."""

    def digest(item: tuple[str, torch.Tensor]) -> str:
        name, tensor = item
        kind = f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        own = hashlib.blake2b(kind.encode(), digest_size=16)
        # A tensor without dimensions has no view as bytes; view(-1) gives it one dimension.
        own.update(tensor.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
        return own.hexdigest()

    named = sorted(model.named_parameters())
    # Hashing releases the interpreter's lock, so threads help.
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = list(pool.map(digest, named))
    return {name: own for (name, _), own in zip(named, digests, strict=True)}


def glance(model: torch.nn.Module) -> dict[str, object]:
    """Return address, version and a few entries of each parameter, by name.

    An in-place write changes the version, a new tensor the address. A write through ``.data``
    changes neither, so a few entries are compared too. A write that changes none of them is missed.
    """
    seen: dict[str, object] = {}
    for name, weight in model.named_parameters():
        flat = weight.detach().view(-1) if weight.is_contiguous() else weight.detach().flatten()
        few = flat[:: max(1, len(flat) // _LOOKED_AT)].contiguous().cpu().view(torch.uint8)
        version = 0 if weight.is_inference() else weight._version
        seen[name] = weight.data_ptr(), version, few.numpy().tobytes()
    return seen


def changed_by_hand(names: Sequence[str]) -> SessionError:
    """Return the error for weights that are neither the unedited nor the edited ones."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return SessionError(
        f"weights of the model were changed by hand since its session took it "
        f"({', '.join(names[:3])}{more}); put them back, or close() the session and make a new one"
    )


def _combined(digests: Mapping[str, str]) -> str:
    joined = b"".join(bytes.fromhex(own) for own in digests.values())
    return hashlib.blake2b(joined, digest_size=16).hexdigest()
