"""The folder of an experiment: locked by one process at a time, created or resumed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock, Timeout

from alphaedit_core.data.datasets.reading import Records
from alphaedit_core.data.records import Record
from alphaedit_core.editing.defaults import shape_of
from alphaedit_core.editing.presets import model_name
from alphaedit_core.errors import CorruptFileError, InputError
from alphaedit_core.evaluation.metrics.registry import present_name
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import identity
from alphaedit_core.progress import Monitor
from alphaedit_core.session.environment import environment_info
from alphaedit_core.storage.files import check_name
from alphaedit_core.storage.temporary import final_name
from alphaedit_core.storage.typed_records import read_record

from .files import (
    FORMAT,
    MANIFEST,
    POINTS,
    Damage,
    read_manifest,
    read_points,
    refuse,
    write_manifest,
    write_points,
)
from .plan import ExperimentPlan, ExtraMeasurements
from .results import ExperimentResult, Measurement

_LOCK = ".lock"
#: File systems allow names of 255 bytes.
_LONGEST_NAME = 200
#: Parts of ``experiment.json`` that must be equal to resume an experiment.
_PARTS = ("plan", "records", "probes", "model")
#: Properties of a model besides its weights that change the numbers of an experiment.
_MODEL_PARTS = ("tokenizer", "configuration", "places", "precision", "attention")


@dataclass(frozen=True, kw_only=True)
class _Records:
    """``records`` of ``experiment.json``."""

    dataset: str
    options: Mapping[str, str]
    file: str
    sha256: str
    names: list[str]
    left_out: list[str]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """``model`` of ``experiment.json``."""

    name: str
    fingerprint: str
    dtype: str
    preset: str | None = None
    # ``_MODEL_PARTS``; files of an earlier version have none.
    tokenizer: str | None = None
    configuration: str | None = None
    places: str | None = None
    precision: str | None = None
    attention: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Manifest:
    """Schema of ``experiment.json``."""

    plan: Annotated[ExperimentPlan, ExperimentPlan.from_dict]
    records: _Records
    probes: Mapping[str, str | None]
    model: _Model
    made_with: Mapping[str, Any]


def load_experiment(folder: str | Path) -> ExperimentResult:
    """Load the results of an experiment so far; needs no model.

    Raises:
        InputError: if the folder holds no experiment.
        CorruptFileError: if a file is damaged; names the line.
    """
    path = Path(folder)
    result, damaged, _ = _load(path)
    refuse(path, damaged)
    return result


def _load(folder: Path) -> tuple[ExperimentResult, list[Damage], bool]:
    """Return the results, the damaged lines, and whether the last line is unfinished."""
    manifest, checked = read_manifest(folder)
    try:
        read_record(_Manifest, manifest, others=True)
    except InputError as error:
        raise CorruptFileError(f"{folder / MANIFEST}: {error}; restore a copy") from None
    stored, points, damaged = read_points(folder, manifest, checked), [], []
    for number, line in stored.lines:
        try:
            points.append(read_record(Measurement, _with_present_names(line)))
        except InputError as error:
            damaged.append(Damage(number, str(error)))
    damaged = sorted([*stored.damaged, *damaged], key=lambda damage: damage.line)
    return ExperimentResult(folder, manifest, points, checked), damaged, stored.unfinished


def _with_present_names(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored measurement with the current names of its metrics."""
    renamed = {
        part: {present_name(name): value for name, value in values.items()}
        for part in ("values", "errors", "retention")
        if isinstance(values := point.get(part), Mapping)
    }
    return {**point, **renamed}


def session_folder(folder: Path, number: int, method: str) -> Path:
    """Return the folder of a method's session; long names are cut and get a digest.

    Args:
        folder: folder of the experiment.
        number: number of the method in the plan, from 1.
        method: name of the method.
    """
    name = re.sub("[^a-z0-9+-]+", "-", method.lower()).strip("-")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 13]}-{sha256(method.encode()).hexdigest()[:12]}"
    return folder / f"{number:02}-{name}"


def _manifest(
    model: EditableModel,
    records: Records,
    plan: ExperimentPlan,
    written: Sequence[Record],
    left_out: Sequence[Record],
    probes: ExtraMeasurements,
) -> dict[str, Any]:
    model_identity = identity(model)
    return {
        "format": FORMAT,
        "plan": plan.to_dict(),
        "records": {
            "dataset": records.dataset.name,
            "options": dict(records.dataset.chosen),
            "file": records.source.file.name,
            "sha256": records.source.sha256,
            "names": [record.name for record in written],
            "left_out": [record.name for record in left_out],
        },
        "probes": probes.digest(),
        "model": {
            "name": model.name,
            "fingerprint": model_identity.fingerprint,
            **{part: getattr(model_identity, part) for part in _MODEL_PARTS},
            "dtype": str(model.dtype).removeprefix("torch."),
            "preset": model_name(shape_of(model)),
        },
        "made_with": environment_info(model),
    }


@contextmanager
def _open_experiment(
    folder: Path, manifest: dict[str, Any], monitor: Monitor
) -> Iterator[ExperimentResult]:
    """Lock the folder of an experiment, and create or resume the experiment in it.

    A new folder is removed again if an InputError is raised before anything was measured.

    Raises:
        InputError: if the folder holds something else or another experiment, naming the first
            difference, or if another process runs the experiment.
    """
    check_name("experiment", folder)
    new = not (folder / MANIFEST).exists()
    if new and folder.exists() and (not folder.is_dir() or _has_content(folder)):
        raise InputError(f"experiment {folder}: exists and is not an experiment; give a new folder")
    existed = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"experiment {folder}: is being run by another process; wait, or give a new folder"
        ) from None
    try:
        if new:
            for path in folder.iterdir():
                if path.name != _LOCK and _is_leftover(path):
                    path.unlink()
            write_manifest(folder, manifest)
            result = ExperimentResult(folder, manifest)
        else:
            result = _resume(folder, manifest, monitor)
        try:
            yield result
        except InputError:
            if new and not result.points:
                (folder / MANIFEST).unlink()
            raise
    finally:
        # Removed before the release: a process that waits for the removed file notices and opens
        # a new one.
        with suppress(OSError):  # Windows does not remove open files
            (folder / _LOCK).unlink()
        lock.release()
        with suppress(OSError):
            if not existed and not _has_content(folder):
                folder.rmdir()


def _has_content(folder: Path) -> bool:
    return any(not _is_leftover(path) for path in folder.iterdir())


def _is_leftover(path: Path) -> bool:
    """Whether a file is the lock or the partial manifest of a killed process."""
    return path.name == _LOCK or final_name(path) == MANIFEST


def _resume(folder: Path, manifest: Mapping[str, Any], monitor: Monitor) -> ExperimentResult:
    """Return the experiment in a folder, without its damaged lines.

    Raises:
        InputError: if it differs from the manifest, naming the first difference.
    """
    result, damaged, unfinished = _load(folder)
    for part in _PARTS:
        stored, current = result.manifest[part], json.loads(json.dumps(manifest[part]))
        if part == "plan":  # an earlier version had fewer hyperparameters
            stored = json.loads(json.dumps(result.plan.to_dict()))
        for name, value in stored.items():
            if current.get(name) != value:
                raise InputError(
                    f"experiment {folder}: was started with another {name} of its {part} "
                    f"({_short(value)}, not {_short(current.get(name))}); use the same value, or "
                    "give a new folder"
                )
    for damage in damaged:
        monitor.warn(
            f"{folder / POINTS}: line {damage.line} is damaged and is measured anew: "
            f"{damage.reason}"
        )
    if not result.checked:
        monitor.warn(
            f"experiment {folder}: an earlier version wrote no checksums; existing numbers are "
            "accepted unverified, and get checksums now"
        )
    if damaged or unfinished or not result.checked:
        write_points(folder, result.manifest, [asdict(point) for point in result.points])
    if not result.checked:
        write_manifest(folder, result.manifest)
    return replace(result, checked=True)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
