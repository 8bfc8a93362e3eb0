"""The folder of an experiment: opened by one process at a time, and continued where it was left."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

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

from .files import (  # fmt: skip
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


#: File systems take names of 255 bytes.
_LONGEST_NAME = 200


_PARTS = ("plan", "records", "probes", "model")


#: What a model is besides its weights, as far as numbers of an experiment hang on it.
_MODEL_PARTS = ("tokenizer", "configuration", "places", "precision", "attention")


@dataclass(frozen=True)
class _Written:
    """``records`` of ``experiment.json``: what is written."""

    dataset: str
    options: Mapping[str, str]
    file: str
    sha256: str
    names: list[str]
    left_out: list[str]


@dataclass(frozen=True)
class _Model:
    """``model`` of ``experiment.json``."""

    name: str
    fingerprint: str
    dtype: str
    preset: str | None = None
    # ``_MODEL_PARTS``; an earlier version kept none.
    tokenizer: str | None = None
    configuration: str | None = None
    places: str | None = None
    precision: str | None = None
    attention: str | None = None


@dataclass(frozen=True)
class _Manifest:
    """``experiment.json``, to check what it holds."""

    plan: ExperimentPlan
    records: _Written
    probes: Mapping[str, str | None]
    model: _Model
    made_with: Mapping[str, Any]


def load_experiment(folder: str | Path) -> ExperimentResult:
    """What an experiment has found so far; needs no model.

    Raises:
        InputError: if the folder holds none.
        CorruptFileError: if a file of it is damaged; names the line.
    """
    place = Path(folder)
    findings, damaged, _ = _loaded(place)
    refuse(place, damaged)
    return findings


def _loaded(place: Path) -> tuple[ExperimentResult, list[Damage], bool]:
    """What was found, the lines that are damaged, and whether the last one has no end."""
    manifest, checked = read_manifest(place)
    try:
        read_record(_Manifest, manifest, others=True)
    except InputError as error:
        raise CorruptFileError(f"{place / MANIFEST}: {error}; take a copy") from None
    read, points, damaged = read_points(place, manifest, checked), [], []
    for line, found in read.lines:
        try:
            points.append(read_record(Measurement, _present(found)))
        except InputError as error:
            damaged.append(Damage(line, str(error)))
    damaged = sorted([*read.damaged, *damaged], key=lambda one: one.line)
    return ExperimentResult(place, manifest, points, checked), damaged, read.torn


def _present(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point with its metrics by their present names."""
    named = {
        part: {present_name(name): value for name, value in held.items()}
        for part in ("values", "errors", "retention")
        if isinstance(held := point.get(part), Mapping)
    }
    return {**point, **named}


def session_folder(folder: Path, place: int, method: str) -> Path:
    """Where the session of a method is kept; of a long name its beginning and a digest."""
    name = re.sub("[^a-z0-9+-]+", "-", method.lower()).strip("-")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 13]}-{sha256(method.encode()).hexdigest()[:12]}"
    return folder / f"{place:02}-{name}"


def _manifest(
    model: EditableModel,
    records: Records,
    plan: ExperimentPlan,
    written: Sequence[Record],
    left_out: Sequence[Record],
    probes: ExtraMeasurements,
) -> dict[str, Any]:
    now = identity(model)
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
            "fingerprint": now.fingerprint,
            **{part: getattr(now, part) for part in _MODEL_PARTS},
            "dtype": str(model.dtype).removeprefix("torch."),
            "preset": model_name(shape_of(model)),
        },
        "made_with": environment_info(model),
    }


@contextmanager
def _opened(place: Path, manifest: dict[str, Any], monitor: Monitor) -> Iterator[ExperimentResult]:
    """The folder with this experiment in it, begun or continued, for one process at a time.

    Raises:
        InputError: if it holds something else; names the first thing that differs. If another
            process has it. A folder that was begun here and holds nothing is removed when
            something cannot be used after all.
    """
    check_name("experiment", place)
    begun = not (place / MANIFEST).exists()
    if begun and place.exists() and (not place.is_dir() or _holds(place)):
        raise InputError(f"experiment {place}: exists and is none; give a new folder")
    there = place.exists()
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"experiment {place}: is being run by another process; wait, or give a new folder"
        ) from None
    try:
        if begun:
            for path in place.iterdir():
                if path.name != _LOCK and _left(path):
                    path.unlink()
            write_manifest(place, manifest)
            findings = ExperimentResult(place, manifest)
        else:
            findings = _continued(place, manifest, monitor)
        try:
            yield findings
        except InputError:
            if begun and not findings.points:
                (place / MANIFEST).unlink()
            raise
    finally:
        # While it is held: who waits for the file that is gone sees so, and opens the next one.
        with suppress(OSError):  # Windows removes no open file; there it stays
            (place / _LOCK).unlink()
        lock.release()
        with suppress(OSError):
            if not there and not _holds(place):
                place.rmdir()


def _holds(place: Path) -> bool:
    """Whether there is any content in a folder."""
    return any(not _left(path) for path in place.iterdir())


def _left(path: Path) -> bool:
    """Whether a file is no content: the lock, or a manifest whose writer was killed."""
    return path.name == _LOCK or final_name(path) == MANIFEST


def _continued(place: Path, manifest: Mapping[str, Any], monitor: Monitor) -> ExperimentResult:
    """The experiment that the folder holds, if it is this one; what is damaged is taken out.

    Raises:
        InputError: naming the first thing that differs.
    """
    findings, damaged, torn = _loaded(place)
    for part in _PARTS:
        kept, asked = findings.manifest[part], json.loads(json.dumps(manifest[part]))
        if part == "plan":  # an earlier version knew fewer hyperparameters
            kept = json.loads(json.dumps(findings.plan.to_dict()))
        for name, value in kept.items():
            if asked.get(name) != value:
                raise InputError(
                    f"experiment {place}: was begun with another {name} of its {part} "
                    f"({_short(value)}, not {_short(asked.get(name))}); leave that as it was, or "
                    "give a new folder"
                )
    for one in damaged:
        monitor.warn(
            f"{place / POINTS}: line {one.line} is damaged and is measured anew: {one.reason}"
        )
    if not findings.checked:
        monitor.warn(
            f"experiment {place}: an earlier version kept no checksums; what was measured so far "
            "is taken as it stands, and has checksums from now on"
        )
    if damaged or torn or not findings.checked:
        write_points(place, findings.manifest, [asdict(point) for point in findings.points])
    if not findings.checked:
        write_manifest(place, findings.manifest)
    return replace(findings, checked=True)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
