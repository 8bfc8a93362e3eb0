"""Checks of the tensors of a session: shapes that agree, finite values, and the recorded norms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from alphaedit_core.editing.weight_updates import Sparse, WeightUpdate, change_from, tensor_names
from alphaedit_core.errors import CorruptFileError, InputError

from .schema import EditRecord, refusal

#: Tolerance of norms: they were recorded before rounding to float32, perhaps on another device.
_ROUNDING = 1e-2


def stored_tensors(
    file: Path, entry: EditRecord, tensors: Mapping[str, Tensor]
) -> list[tuple[dict[int, WeightUpdate], dict[int, Tensor]]]:
    """Return updates and keys of each batch by layer, validated.

    Args:
        file: path of the tensor file, for messages.
        entry: record of the edit.
        tensors: tensors of the file, by name.

    Returns:
        For each batch the updates, and the keys, (d_in, facts), by layer.

    Raises:
        CorruptFileError: if a tensor is missing or invalid, naming the file and the tensor.
    """
    batches = []
    unread = set(tensors)
    try:
        for number, batch in enumerate(entry.batches):
            changes: dict[int, WeightUpdate] = {}
            keys: dict[int, Tensor] = {}
            writes = {write.layer: write for write in entry.result.writes[number]}
            for name, kind in batch.changes.items():
                prefix, layer = f"{number}.{name}.", int(name)
                names = {part: prefix + part for part in (*tensor_names(kind), "keys")}
                if missing := [full for full in names.values() if full not in unread]:
                    raise InputError(f"tensor {missing[0]} is missing")
                unread -= set(names.values())
                parts = {part: tensors[full] for part, full in names.items()}
                _check_change(prefix, kind, parts, len(batch.facts))
                keys[layer] = parts.pop("keys")
                changes[layer] = change_from(kind, parts)
                write = writes[layer]
                _check_norm(prefix, changes[layer], write.update_norm)
                _check_keys(prefix, keys[layer], write.key_norm)
            batches.append((changes, keys))
        if unread:
            raise InputError(f"tensor {sorted(unread)[0]} belongs to no change")
    except InputError as error:
        raise refusal(file, error) from None
    return batches


def _check_change(prefix: str, kind: str, parts: Mapping[str, Tensor], facts: int) -> None:
    """Check that tensors are one update of a matrix with the keys of ``facts`` facts."""
    for part, tensor in parts.items():
        integer = part in ("index", "shape")
        if tensor.is_floating_point() == integer or tensor.is_complex():
            raise InputError(f"tensor {prefix}{part} has dtype {tensor.dtype}")
        if not integer and tensor.dtype not in (torch.float32, torch.float64):
            raise InputError(f"tensor {prefix}{part} has dtype {tensor.dtype}")
        if not integer and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"tensor {prefix}{part} holds NaN or infinity")
        dims = {"index": 1, "values": 1, "shape": 1, "largest": 0}.get(part, 2)
        if tensor.dim() != dims:
            raise InputError(f"tensor {prefix}{part} has {tensor.dim()} dimensions, not {dims}")
    if "left" in parts and parts["left"].shape[1] != parts["right"].shape[1]:
        raise InputError(f"tensors {prefix}left and {prefix}right differ in rank")
    if "left" in parts and parts["left"].dtype != parts["right"].dtype:
        raise InputError(f"tensors {prefix}left and {prefix}right differ in dtype")
    if "largest" in parts and not float(parts["largest"]) > 0:
        raise InputError(f"tensor {prefix}largest is not above 0")
    if kind == "sparse":
        index, shape = parts["index"].long(), parts["shape"].tolist()
        if len(index) != len(parts["values"]) or len(shape) != 2 or not all(n > 0 for n in shape):
            raise InputError(f"tensors {prefix}index, values and shape do not agree")
        ascending = bool((index[1:] > index[:-1]).all())
        if len(index) and not (ascending and index[0] >= 0 and index[-1] < shape[0] * shape[1]):
            raise InputError(f"tensor {prefix}index is not ascending inside the matrix")
    width = int(parts["shape"][1]) if kind == "sparse" else _width(parts)
    if tuple(parts["keys"].shape) != (width, facts):
        raise InputError(
            f"tensor {prefix}keys is {list(parts['keys'].shape)}, not {[width, facts]} "
            "(d_in, facts)"
        )


def _width(parts: Mapping[str, Tensor]) -> int:
    return parts["matrix"].shape[1] if "matrix" in parts else len(parts["right"])


def _check_norm(prefix: str, change: WeightUpdate, recorded: float) -> None:
    """Check the norm of an update against the recorded one."""
    norm = change.norm
    # The recorded norm may include the entries that RECT drops.
    smallest = 0.0 if isinstance(change, Sparse) else recorded * (1 - _ROUNDING)
    if not (math.isfinite(norm) and smallest <= norm <= recorded * (1 + _ROUNDING)):
        raise InputError(
            f"the change {prefix[:-1]} has the norm {norm:.3g}, but {recorded:.3g} was recorded"
        )


def _check_keys(prefix: str, keys: Tensor, recorded: Sequence[float]) -> None:
    """Check the norm of each key against the recorded one."""
    norms = keys.double().norm(dim=0).tolist()
    for number, (norm, expected) in enumerate(zip(norms, recorded, strict=True)):
        if not abs(norm - expected) <= _ROUNDING * expected:
            raise InputError(
                f"tensor {prefix}keys: key {number + 1} has the norm {norm:.3g}, but "
                f"{expected:.3g} was recorded"
            )


def check_fits(
    folder: Path, changes: Mapping[int, WeightUpdate], sizes: Mapping[int, tuple[int, int]]
) -> None:
    """Check the shapes of updates against those of the model's weights.

    Args:
        folder: folder of the session, for messages.
        changes: updates by layer.
        sizes: shape of each edited weight, (d_out, d_in), by layer.

    Raises:
        CorruptFileError: if a shape differs, naming folder, layer and both shapes.
    """
    for layer, change in changes.items():
        if change.size != sizes.get(layer):
            raise CorruptFileError(
                f"session {folder}: a change of layer {layer} has shape {list(change.size)}, but "
                f"the model's weight has {list(sizes.get(layer, ()))}; restore a copy"
            )
