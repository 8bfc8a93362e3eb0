"""What a session's files may hold, however they came to be.

A session may have been made by somebody else, by another version or by hand, with every checksum
right. Its records are read as :mod:`~alphaedit_core.storage.typed_records` reads them, and what no
type says is checked here: names that stay in the folder, as many results as facts, tensors of the
shapes that belong together, finite, and of the length that was noted when they were written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.text_fields import checked_text
from alphaedit_core.editing.configs import StoredConfig
from alphaedit_core.editing.update_sketches import PAIRS
from alphaedit_core.editing.weight_updates import Sparse, WeightUpdate, change_from, tensor_names
from alphaedit_core.errors import CorruptFileError, InputError
from alphaedit_core.messages import shown
from alphaedit_core.storage.typed_records import read_record

from .results import EditResult

ENTRY = re.compile(r"entry-[0-9a-f]{16}")
#: Figures were noted before a change went to the disk, in float32 and on another device perhaps.
_ROUNDING = 1e-2


@dataclass(frozen=True)
class Named:
    """The files of one edit, as ``session.json`` names them."""

    record: str
    sha256: str
    tensors: str


@dataclass(frozen=True)
class Manifest:
    """``session.json``; other fields may be there too."""

    model: str
    fingerprint: str
    dtype: str
    editor: str
    hyperparameters: StoredConfig
    contexts: list[str] | None
    statistics: dict[str, Any] | None
    made_with: dict[str, Any]
    entries: list[Named]
    applied: int


@dataclass(frozen=True)
class BatchRecord:
    """A batch in the record of an edit.

    Attributes:
        facts: the facts.
        plan: tokens that went through the blocks together.
        changes: kind of the change of each layer.
        superseded: see :class:`~.edits.StoredBatch`; None where an earlier version kept nothing.
    """

    facts: list[Fact]
    plan: int
    changes: dict[str, str]
    superseded: list[int] | None = None


@dataclass(frozen=True)
class EditRecord:
    """The record of an edit; see :class:`~.edits.Edit`."""

    created: str
    digest: str
    hyperparameters: StoredConfig
    result: EditResult
    batches: list[BatchRecord]
    tensors: dict[str, str]
    title: str = ""
    sketches: dict[str, list[float]] = field(default_factory=dict)


def checked_manifest(file: Path, content: Mapping[str, Any]) -> None:
    """Refuse a manifest that is not laid out as one.

    Raises:
        CorruptFileError: naming the file and the field.
    """
    try:
        manifest = read_record(Manifest, content, others=True)
        if not 0 <= manifest.applied <= len(manifest.entries):
            raise InputError(
                f"applied is {manifest.applied}, and there are {len(manifest.entries)} edits"
            )
        if manifest.editor != manifest.hyperparameters.editor:
            raise InputError(
                f"editor {shown(manifest.editor)} is not that of the hyperparameters, "
                f"{shown(manifest.hyperparameters.editor)}"
            )
        for number, context in enumerate(manifest.contexts or ()):
            checked_text(f"contexts[{number}]", context, str)
        for number, named in enumerate(manifest.entries):
            _check_name(f"entries[{number}].record", named.record, ".json")
            _check_name(f"entries[{number}].tensors", named.tensors, ".safetensors")
    except InputError as error:
        raise _refusal(file, error) from None


def _check_name(place: str, name: str, suffix: str) -> None:
    """Refuse a name that is not one of ours, above all one that leads somewhere else.

    Raises:
        InputError: saying which of the two it is.
    """
    if re.search(r"[\\/\0]", name) or name.startswith("..") or re.match("[A-Za-z]:", name):
        raise InputError(f"{place} {shown(name)} leads outside the folder")
    stem = name.removesuffix(suffix)
    if not (name.endswith(suffix) and ENTRY.fullmatch(stem)):
        raise InputError(f"{place} {shown(name)} is no name of a session's file")


def inside(folder: Path, name: str) -> Path:
    """A file of a folder, which is there and not a link to somewhere else.

    Raises:
        CorruptFileError: if it leads outside the folder.
    """
    file = folder / name
    if file.is_symlink() and file.resolve().parent != folder.resolve():
        raise CorruptFileError(f"{file}: is a link that leads outside the folder; take a copy")
    return file


def stored_entry(file: Path, record: object) -> EditRecord:
    """The record of an edit, each part of it agreeing with the others.

    Raises:
        CorruptFileError: naming the file and the field.
    """
    try:
        found = read_record(EditRecord, record)
        _check_result(found)
    except InputError as error:
        raise _refusal(file, error) from None
    return found


def _check_result(found: EditRecord) -> None:
    facts = [fact for batch in found.batches for fact in batch.facts]
    result, layers = found.result, set(found.hyperparameters.layers)
    if not facts:
        raise InputError("batches hold no fact")
    for number, batch in enumerate(found.batches):
        place = f"batches[{number}]"
        if not batch.facts:
            raise InputError(f"{place}.facts is empty")
        if batch.plan < 1:
            raise InputError(f"{place}.plan is {batch.plan}, not above 0")
        if unknown := [n for n in batch.changes if n not in map(str, layers)]:
            raise InputError(
                f"{place}.changes: layer {shown(unknown[0])} is not one of {sorted(layers)}"
            )
    if [one.fact for one in result.outcomes] != facts:
        raise InputError("result.outcomes are not of the facts of its batches")
    of_facts = [n for n, batch in enumerate(found.batches) for _ in batch.facts]
    if result.batches != of_facts:
        raise InputError("result.batches are not those of the facts")
    for name, own in (("writes", result.writes), ("plans", result.plans)):
        if len(own) != len(found.batches):
            raise InputError(f"result.{name} has {len(own)} of {len(found.batches)} batches")
    for number, one in enumerate(result.outcomes):
        trace, place = one.trace, f"result.outcomes[{number}].trace"
        if not len(trace.nll) == len(trace.kl) == len(trace.decay) == len(trace.probability):
            raise InputError(f"{place}: nll, kl, decay and probability are not of one length")
        if not trace.nll:
            raise InputError(f"{place}.nll is empty")
    for number, (batch, writes) in enumerate(zip(found.batches, result.writes, strict=True)):
        place = f"result.writes[{number}]"
        if sorted(write.layer for write in writes) != sorted(map(int, batch.changes)):
            raise InputError(f"{place}: its layers are not those of the batch's changes")
        for write in writes:
            count = len(batch.facts)
            if not len(write.kept) == len(write.key_norm) == count:
                raise InputError(f"{place}: key_norm and kept are not {count} numbers each")
            if len(write.residual) not in (0, count):
                raise InputError(f"{place}.residual has {len(write.residual)} of {count} numbers")
            if not write.weight_norm >= 0:
                raise InputError(f"{place}.weight_norm is {write.weight_norm}, not 0 or above")
    for name, numbers in found.sketches.items():
        finite = len(numbers) == PAIRS and all(math.isfinite(number) for number in numbers)
        if name not in map(str, layers) or not finite:
            raise InputError(f"sketches.{name} is not {PAIRS} finite numbers of an edited layer")


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
        raise _refusal(file, error) from None
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


def _refusal(file: Path, error: InputError) -> CorruptFileError:
    return CorruptFileError(f"{file}: {error}; not a session that this version wrote, take a copy")
