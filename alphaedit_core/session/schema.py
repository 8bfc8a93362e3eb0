"""Checks of the JSON files of a session; :mod:`.tensor_checks` has those of the tensors.

A session may come from somebody else, another version or a text editor, with correct checksums.
:mod:`~alphaedit_core.storage.typed_records` checks the types. This module checks the rest: file
names stay inside the folder, and the parts of a record agree. It does not import torch, so listing
a session is fast.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.text_fields import checked_text
from alphaedit_core.editing.configs import StoredConfig
from alphaedit_core.editing.layer_write import SKETCH_LENGTH
from alphaedit_core.errors import CorruptFileError, InputError
from alphaedit_core.messages import shown
from alphaedit_core.storage.typed_records import read_record

from .results import EditResult

ENTRY = re.compile(r"entry-[0-9a-f]{16}")


@dataclass(frozen=True)
class Named:
    """The files of one edit in ``session.json``."""

    record: str
    sha256: str
    tensors: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Schema of ``session.json``; additional fields are allowed."""

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


@dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """A batch in the record of an edit.

    Attributes:
        facts: facts of the batch.
        plan: tokens per forward pass.
        changes: kind of each layer's update.
        superseded: see :class:`~.edits.StoredBatch`; None in files of an earlier version.
    """

    facts: list[Fact]
    plan: int
    changes: dict[str, str]
    superseded: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
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
    """Validate the content of ``session.json``.

    Args:
        file: path of the file, for messages.
        content: content of the file.

    Raises:
        CorruptFileError: if a field is invalid, naming the file and the field.
    """
    try:
        manifest = read_record(Manifest, content, others=True)
        if not 0 <= manifest.applied <= len(manifest.entries):
            raise InputError(
                f"applied is {manifest.applied}, but there are {len(manifest.entries)} edits"
            )
        if manifest.editor != manifest.hyperparameters.editor:
            raise InputError(
                f"editor {shown(manifest.editor)} is not that of the hyperparameters, "
                f"{shown(manifest.hyperparameters.editor)}"
            )
        for number, context in enumerate(manifest.contexts or ()):
            checked_text(f"contexts[{number}]", context, str)
        for number, names in enumerate(manifest.entries):
            _check_name(f"entries[{number}].record", names.record, ".json")
            _check_name(f"entries[{number}].tensors", names.tensors, ".safetensors")
    except InputError as error:
        raise refusal(file, error) from None


def _check_name(path: str, name: str, suffix: str) -> None:
    """Check that a name is that of a session's file and stays inside the folder.

    Raises:
        InputError: if it is not.
    """
    if re.search(r"[\\/\0]", name) or name.startswith("..") or re.match("[A-Za-z]:", name):
        raise InputError(f"{path} {shown(name)} leads outside the folder")
    stem = name.removesuffix(suffix)
    if not (name.endswith(suffix) and ENTRY.fullmatch(stem)):
        raise InputError(f"{path} {shown(name)} is not the name of a session's file")


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file in a folder.

    Raises:
        CorruptFileError: if it is a link that leads outside the folder.
    """
    file = folder / name
    if file.is_symlink() and file.resolve().parent != folder.resolve():
        raise CorruptFileError(f"{file}: is a link that leads outside the folder; restore a copy")
    return file


def stored_entry(file: Path, record: object) -> EditRecord:
    """Read the record of an edit and check that its parts agree.

    Args:
        file: path of the file, for messages.
        record: content of the file.

    Raises:
        CorruptFileError: if a field is invalid, naming the file and the field.
    """
    try:
        entry = read_record(EditRecord, record)
        _check_result(entry)
    except InputError as error:
        raise refusal(file, error) from None
    return entry


def _check_result(entry: EditRecord) -> None:
    facts = [fact for batch in entry.batches for fact in batch.facts]
    result, layers = entry.result, set(entry.hyperparameters.layers)
    if not facts:
        raise InputError("batches hold no fact")
    for number, batch in enumerate(entry.batches):
        path = f"batches[{number}]"
        if not batch.facts:
            raise InputError(f"{path}.facts is empty")
        if batch.plan < 1:
            raise InputError(f"{path}.plan is {batch.plan}, not above 0")
        if unknown := [n for n in batch.changes if n not in map(str, layers)]:
            raise InputError(
                f"{path}.changes: layer {shown(unknown[0])} is not one of {sorted(layers)}"
            )
    if [outcome.fact for outcome in result.outcomes] != facts:
        raise InputError("result.outcomes do not match the facts of the batches")
    batch_of_fact = [n for n, batch in enumerate(entry.batches) for _ in batch.facts]
    if result.batches != batch_of_fact:
        raise InputError("result.batches do not match the batches of the facts")
    for name, values in (("writes", result.writes), ("plans", result.plans)):
        if len(values) != len(entry.batches):
            raise InputError(f"result.{name} has {len(values)} of {len(entry.batches)} batches")
    for number, outcome in enumerate(result.outcomes):
        trace, path = outcome.trace, f"result.outcomes[{number}].trace"
        if not len(trace.nll) == len(trace.kl) == len(trace.decay) == len(trace.probability):
            raise InputError(f"{path}: nll, kl, decay and probability differ in length")
        if not trace.nll:
            raise InputError(f"{path}.nll is empty")
    for number, (batch, writes) in enumerate(zip(entry.batches, result.writes, strict=True)):
        path = f"result.writes[{number}]"
        if sorted(write.layer for write in writes) != sorted(map(int, batch.changes)):
            raise InputError(f"{path}: its layers do not match the batch's changes")
        for write in writes:
            count = len(batch.facts)
            if not len(write.kept) == len(write.key_norm) == count:
                raise InputError(f"{path}: key_norm and kept are not {count} numbers each")
            if len(write.residual) not in (0, count):
                raise InputError(f"{path}.residual has {len(write.residual)} of {count} numbers")
            if not write.weight_norm >= 0:
                raise InputError(f"{path}.weight_norm is {write.weight_norm}, not 0 or above")
    for name, numbers in entry.sketches.items():
        finite = len(numbers) == SKETCH_LENGTH and all(math.isfinite(number) for number in numbers)
        if name not in map(str, layers) or not finite:
            raise InputError(
                f"sketches.{name} is not {SKETCH_LENGTH} finite numbers of an edited layer"
            )


def refusal(file: Path, error: InputError) -> CorruptFileError:
    """Return the error for a file whose content is invalid."""
    return CorruptFileError(
        f"{file}: {error}; not a session that this version wrote, restore a copy"
    )
