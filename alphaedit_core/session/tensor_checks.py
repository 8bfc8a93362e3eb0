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
    file: Path, found: EditRecord, tensors: Mapping[str, Tensor]
) -> list[tuple[dict[int, WeightUpdate], dict[int, Tensor]]]:
    """The changes and keys of each batch by layer, checked.

    Args:
        file: where the tensors lie, for messages.
        found: the edit's record.
        tensors: what the file holds.

    Raises:
        CorruptFileError: naming the file and the tensor.
    """
    batches = []
    left = set(tensors)
    try:
        for number, batch in enumerate(found.batches):
            changes: dict[int, WeightUpdate] = {}
            keys: dict[int, Tensor] = {}
            noted = {write.layer: write for write in found.result.writes[number]}
            for name, kind in batch.changes.items():
                prefix, layer = f"{number}.{name}.", int(name)
                parts = {part: prefix + part for part in (*tensor_names(kind), "keys")}
                if missing := [full for full in parts.values() if full not in left]:
                    raise InputError(f"tensor {missing[0]} is missing")
                left -= set(parts.values())
                own = {part: tensors[full] for part, full in parts.items()}
                _check_change(prefix, kind, own, len(batch.facts))
                keys[layer] = own.pop("keys")
                changes[layer] = change_from(kind, own)
                write = noted[layer]
                _check_length(prefix, changes[layer], write.update_norm)
                _check_keys(prefix, keys[layer], write.key_norm)
            batches.append((changes, keys))
        if left:
            raise InputError(f"tensor {sorted(left)[0]} is of no change")
    except InputError as error:
        raise refusal(file, error) from None
    return batches


def _check_change(prefix: str, kind: str, own: Mapping[str, Tensor], facts: int) -> None:
    """Refuse tensors that are no change of one matrix, with the keys of so many facts."""
    for part, tensor in own.items():
        whole = part in ("index", "shape")
        if tensor.is_floating_point() == whole or tensor.is_complex():
            raise InputError(f"tensor {prefix}{part} is of {tensor.dtype}")
        if not whole and tensor.dtype not in (torch.float32, torch.float64):
            raise InputError(f"tensor {prefix}{part} is of {tensor.dtype}")
        if not whole and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"tensor {prefix}{part} holds NaN or infinity")
        dims = {"index": 1, "values": 1, "shape": 1, "largest": 0}.get(part, 2)
        if tensor.dim() != dims:
            raise InputError(f"tensor {prefix}{part} has {tensor.dim()} dimensions, not {dims}")
    if "left" in own and own["left"].shape[1] != own["right"].shape[1]:
        raise InputError(f"tensors {prefix}left and {prefix}right do not have one rank")
    if "left" in own and own["left"].dtype != own["right"].dtype:
        raise InputError(f"tensors {prefix}left and {prefix}right are not of one dtype")
    if "largest" in own and not float(own["largest"]) > 0:
        raise InputError(f"tensor {prefix}largest is not above 0")
    if kind == "sparse":
        index, shape = own["index"].long(), own["shape"].tolist()
        if len(index) != len(own["values"]) or len(shape) != 2 or not all(n > 0 for n in shape):
            raise InputError(f"tensors {prefix}index, values and shape do not agree")
        rising = bool((index[1:] > index[:-1]).all())
        if len(index) and not (rising and index[0] >= 0 and index[-1] < shape[0] * shape[1]):
            raise InputError(f"tensor {prefix}index is not ascending inside the matrix")
    width = int(own["shape"][1]) if kind == "sparse" else _width(own)
    if tuple(own["keys"].shape) != (width, facts):
        raise InputError(
            f"tensor {prefix}keys is {list(own['keys'].shape)}, not {[width, facts]} (d_in, facts)"
        )


def _width(own: Mapping[str, Tensor]) -> int:
    return own["matrix"].shape[1] if "matrix" in own else len(own["right"])


def _check_length(prefix: str, change: WeightUpdate, noted: float) -> None:
    """Refuse a change of another length than was noted when it was made."""
    length = change.norm
    # What RECT leaves out may have been counted.
    least = 0.0 if isinstance(change, Sparse) else noted * (1 - _ROUNDING)
    if not (math.isfinite(length) and least <= length <= noted * (1 + _ROUNDING)):
        raise InputError(
            f"the change {prefix[:-1]} has the norm {length:.3g}, and {noted:.3g} was noted when "
            "it was made"
        )


def _check_keys(prefix: str, keys: Tensor, noted: Sequence[float]) -> None:
    """Refuse keys of another length than was noted when they were read."""
    for number, (length, kept) in enumerate(zip(keys.double().norm(dim=0), noted, strict=True)):
        if not abs(float(length) - kept) <= _ROUNDING * kept:
            raise InputError(
                f"tensor {prefix}keys: key {number + 1} has the norm {float(length):.3g}, and "
                f"{kept:.3g} was noted when it was read"
            )


def check_fits(
    folder: Path, changes: Mapping[int, WeightUpdate], sizes: Mapping[int, tuple[int, int]]
) -> None:
    """Refuse changes of matrices of another shape than the model's.

    Raises:
        CorruptFileError: naming folder, layer and both shapes.
    """
    for layer, change in changes.items():
        if change.size != sizes.get(layer):
            raise CorruptFileError(
                f"session {folder}: a change of layer {layer} is of a matrix {list(change.size)}, "
                f"and the model's is {list(sizes.get(layer, ()))}; take a copy"
            )
