"""Sequential experiments: the records of a data set written batch after batch, and what that did.

Every method starts from the unedited model and writes the same records in the same order. After
each batch the session is saved, and after each evaluation a line is written, so that an experiment
that was stopped, by whatever, goes on where it was and ends with the same numbers: the weights come
from the saved changes bit for bit, and every random draw hangs on the seed and on what is drawn for
alone. That is so on one machine with the same versions and number of threads; elsewhere, and where
little free memory makes batches smaller, sums are rounded otherwise.

A folder holds ``experiment.json`` (what is run on what), ``points.jsonl`` (a line per evaluation),
see :mod:`.experiment_files`, and a session per method.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from alphaedit_core.data.datasets import Records
from alphaedit_core.data.facts import check_facts
from alphaedit_core.data.records import Record, distinct
from alphaedit_core.data.reference_texts import References
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.defaults import checked_editor, shape_of
from alphaedit_core.editing.hyperparameters import HyperParameters, in_words, model_name
from alphaedit_core.errors import CorruptFileError, DivergedError, InputError
from alphaedit_core.evaluation.evaluate import Evaluation, Measured, compared_with, evaluate
from alphaedit_core.evaluation.metrics import Compat, metric_class, metrics_for
from alphaedit_core.inference.scoring import perplexity
from alphaedit_core.integers import as_integer
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import identity
from alphaedit_core.progress import Monitor
from alphaedit_core.session.environment import surroundings
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.ability import measure_ability
from alphaedit_core.side_effects.ability_tasks import Task
from alphaedit_core.side_effects.baseline import Yardstick
from alphaedit_core.storage.files import check_name, write_atomic
from alphaedit_core.storage.temporary import final_name
from alphaedit_core.storage.typed_records import read_record

from .files import (  # fmt: skip
    FORMAT,
    MANIFEST,
    POINTS,
    Damage,
    Points,
    read_manifest,
    read_points,
    refuse,
    write_manifest,
    write_points,
)

UNEDITED = "unedited"
_LOCK = ".lock"
#: File systems take names of 255 bytes.
_LONGEST_NAME = 200
_PARTS = ("plan", "records", "probes", "model")
#: What a model is besides its weights, as far as numbers of an experiment hang on it.
_MODEL_PARTS = ("tokenizer", "configuration", "places", "precision", "attention")


@dataclass(frozen=True)
class Plan:
    """What an experiment runs.

    Attributes:
        methods: hyperparameters of each method, in the order they are run.
        edits: records written in all; all of the data set's if it has fewer.
        batch_size: records written together.
        evaluate_every: records after which the model is measured on everything written so far,
            a multiple of ``batch_size``; None for the end alone.
        metrics: names of metrics; none for the data set's own.
        at_end: those of them that are measured after all records alone, as texts that a metric has
            written can cost more than everything else.
        compat: whose definition where papers and toolkits differ, see :mod:`.metrics`.
        seed: of the texts that metrics have written.
    """

    methods: tuple[HyperParameters, ...]
    edits: int = 2000
    batch_size: int = 100
    evaluate_every: int | None = None
    metrics: tuple[str, ...] = ()
    at_end: tuple[str, ...] = ()
    compat: Compat = "paper"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run, by name.

        Raises:
            InputError: if a value is out of range, or two methods are the same.
        """
        if not self.methods:
            raise InputError("no editor is named; give at least one")
        for name in ("edits", "batch_size", "evaluate_every"):
            value = getattr(self, name)
            if value is None:
                continue
            whole = as_integer(value)
            if whole is None or whole < 1:
                raise InputError(f"{name} {value!r} is not a whole number above 0; give 1 or more")
            object.__setattr__(self, name, whole)
        if type(self.seed) is not int or not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed!r} cannot be used; give 0 to 2**63 - 1")
        if self.evaluate_every is not None and self.evaluate_every % self.batch_size:
            raise InputError(
                f"evaluate_every {self.evaluate_every} is not a multiple of batch_size "
                f"{self.batch_size}; give for example {self.batch_size}"
            )
        for place, hp in enumerate(self.methods):
            if hp in self.methods[:place]:
                raise InputError(f'method "{hp.method}" is named twice; leave one out')

    def names(self) -> list[str]:
        """What each method is called: with what differs where some differ in that alone."""
        fields = [(hp.method, hp.to_dict()) for hp in self.methods]
        names = [
            ", ".join(
                [method, *(
                    f"{name} {in_words(value)}"
                    for name, value in own.items()
                    if name != "origin"
                    and any(each == method and other[name] != value for each, other in fields)
                )]
            )
            for method, own in fields
        ]  # fmt: skip
        return [
            name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
            for place, name in enumerate(names)
        ]

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "methods": [hp.to_dict() for hp in self.methods],
            "metrics": list(self.metrics),
            "at_end": list(self.at_end),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Plan:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a field that is missing, does not exist or cannot be used.
        """
        return read_record(cls, fields)


@dataclass(frozen=True)
class Probes:
    """What is measured beside the records' own metrics, all of it optional.

    Attributes:
        text: running text for the perplexity.
        tasks: tasks of general ability.
        references: texts that share the new attribute, by target, for the consistency.
        drift: the text that drift is measured on, as :func:`~.texts.open_text` takes it; see
            :func:`~.drift.default_probe`.
    """

    text: str | None = None
    tasks: Sequence[Task] = ()
    references: References | None = None
    drift: str | None = None

    def digest(self) -> dict[str, str | None]:
        """SHA-256 of each, by name; of drift's text its name."""
        whole = {
            "text": self.text,
            "tasks": [asdict(task) for task in self.tasks] or None,
            "references": None if self.references is None else self.references.to_dict(),
        }
        return {
            name: None if held is None else sha256(json.dumps(held).encode()).hexdigest()
            for name, held in whole.items()
        } | {"drift": self.drift}


@dataclass(frozen=True)
class Point:
    """What one method's model made of the records after so many edits.

    Attributes:
        method: its name, or ``unedited``.
        edits: records written so far; for the unedited model those that it was asked about.
        values: means over the records, by metric; None where no record has a value.
        errors: standard errors of these.
        retention: by metric the mean over each earlier batch, in order.
        perplexity: of the running text; None without one.
        ability: accuracy and F1 of each task, by task.
        weights: ``|W - W0| / |W0|`` by layer.
        seconds: spent writing, since the point before, and measuring.
        drift: how differently ordinary text is read than by the unedited model, by the names in
            :data:`~.yardstick.DRIFTS`; empty where that is not measured.
        broke: why the method could not go on from here, and nothing was measured; "" if it could.
    """

    method: str
    edits: int
    values: Mapping[str, float | None]
    errors: Mapping[str, float | None]
    retention: Mapping[str, Sequence[float | None]]
    perplexity: float | None
    ability: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, float]
    seconds: Mapping[str, float]
    drift: Mapping[str, float] = field(default_factory=dict)
    broke: str = ""


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

    plan: Plan
    records: _Written
    probes: Mapping[str, str | None]
    model: _Model
    made_with: Mapping[str, Any]


@dataclass(frozen=True)
class Findings:
    """What an experiment has found so far.

    Attributes:
        folder: where it is kept.
        manifest: ``experiment.json``.
        points: in the order they were found.
        checked: whether every number was checked against its checksum; an earlier version kept
            none.
    """

    folder: Path
    manifest: Mapping[str, Any]
    points: list[Point] = field(default_factory=list)
    checked: bool = True

    @property
    def plan(self) -> Plan:
        """What is run."""
        return Plan.from_dict(self.manifest["plan"])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order they were measured."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {"manifest": dict(self.manifest), "points": [asdict(p) for p in self.points]}

    def __repr__(self) -> str:
        from .report import experiment_text

        return experiment_text(self)

    def _repr_html_(self) -> str:
        from .report import paper_table

        return html_table(*paper_table(self))

    @property
    def complete(self) -> bool:
        """Whether every method has been measured after all records, or broke before."""
        return all(self.has_ended(name) for name in (UNEDITED, *self.plan.names()))

    def has_ended(self, method: str) -> bool:
        """Whether a method has been measured after all records, or broke before."""
        last = len(self.manifest["records"]["names"])
        return self.broken(method) is not None or any(p.edits == last for p in self.of(method))

    def broken(self, method: str) -> Point | None:
        """The point at which a method could not go on, if there is one."""
        return next((p for p in self.points if p.method == method and p.broke), None)

    def of(self, method: str) -> list[Point]:
        """The points of one method at which something was measured, by number of edits."""
        own = (p for p in self.points if p.method == method and not p.broke)
        return sorted(own, key=lambda p: p.edits)

    def last(self) -> dict[str, Point]:
        """The last point of each method that has one, the unedited model first."""
        found = {name: self.of(name) for name in (UNEDITED, *self.plan.names())}
        return {name: points[-1] for name, points in found.items() if points}


def run_experiment(
    model: EditableModel,
    records: Records,
    plan: Plan,
    folder: str | Path,
    probes: Probes | None = None,
    monitor: Monitor | None = None,
) -> Findings:
    """Run an experiment, or go on with the one that the folder holds.

    Args:
        model: the model, unedited; it is unedited again afterwards.
        records: the data set, see :func:`~.datasets.read_records`.
        plan: what to run.
        folder: where everything is kept; made if it does not exist.
        probes: what else to measure.
        monitor: what to report to.

    Returns:
        What was found, also by earlier runs.

    Raises:
        InputError: if the folder holds something else or another experiment, or a method or metric
            cannot be used; nothing was done.
        SessionError: if a session has edits in the model.
        Cancelled: if cancelled; the next call goes on after the last batch that was written.
    """
    monitor, probes, place = monitor or Monitor(), probes or Probes(), Path(folder)
    for hp in plan.methods:
        checked_editor(model, hp)
    for name in plan.metrics:
        metric_class(name)
    EditSession(model, None, plan.methods[0]).close()  # refuses a model that holds edits
    metrics = list(plan.metrics) or list(metrics_for(records.dataset.name, plan.compat))
    check_at_end(plan.at_end, metrics)
    batches, left_out = batched(records.records[: plan.edits], plan.batch_size)
    written = [record for batch in batches for record in batch]
    if words := records.dataset.mismatch(plan.compat):
        monitor.warn(words)
    if left_out:
        monitor.warn(
            f"{len(left_out)} of {len(left_out) + len(written)} records are left out: another of "
            f"their batch is about the same ({', '.join(r.name for r in left_out[:3])}"
            f"{' …' if len(left_out) > 3 else ''})"
        )
    manifest = _manifest(model, records, plan, written, left_out, probes)
    with _opened(place, manifest, monitor) as findings:
        work = _Work(model, findings, batches, metrics, probes, monitor)
        with monitor.stage("experiment", len(batches) * len(plan.methods), "batch"):
            work.unedited()
            for name, hp in zip(plan.names(), plan.methods, strict=True):
                work.method(name, hp)
    return findings


def check_at_end(names: Iterable[str], metrics: Collection[str]) -> None:
    """Refuse what cannot be left to the end, because it is not measured.

    Raises:
        InputError: naming the first such metric.
    """
    for name in names:
        if name not in metrics:
            raise InputError(
                f'at_end: the metric "{name}" is not measured at all; leave it out, or give some '
                f"of {', '.join(metrics)}"
            )


def load_experiment(folder: str | Path) -> Findings:
    """What an experiment has found so far; needs no model.

    Raises:
        InputError: if the folder holds none.
        CorruptFileError: if a file of it is damaged; names the line.
    """
    place = Path(folder)
    findings, damaged, _ = _loaded(place)
    refuse(place, damaged)
    return findings


def _loaded(place: Path) -> tuple[Findings, list[Damage], bool]:
    """What was found, the lines that are damaged, and whether the last one has no end."""
    manifest, checked = read_manifest(place)
    try:
        read_record(_Manifest, manifest, others=True)
    except InputError as error:
        raise CorruptFileError(f"{place / MANIFEST}: {error}; take a copy") from None
    read, points, damaged = read_points(place, manifest, checked), [], []
    for line, found in read.lines:
        try:
            points.append(read_record(Point, found))
        except InputError as error:
            damaged.append(Damage(line, str(error)))
    damaged = sorted([*read.damaged, *damaged], key=lambda one: one.line)
    return Findings(place, manifest, points, checked), damaged, read.torn


def save_report(findings: Findings) -> Path:
    """Write ``report.html`` into the experiment's folder, one page that needs no network."""
    from .report import experiment_html

    place = findings.folder / "report.html"
    write_atomic(place, experiment_html(findings))
    return place


def batched(records: Sequence[Record], size: int) -> tuple[list[list[Record]], list[Record]]:
    """Batches of records, none empty, and the records left out: see :func:`~.records.distinct`."""
    batches: list[list[Record]] = []
    left_out: list[Record] = []
    for start in range(0, len(records), size):
        found = distinct(records[start : start + size])
        if found.records:
            batches.append(found.records)
        left_out += found.left_out
    return batches, left_out


def session_folder(folder: Path, place: int, method: str) -> Path:
    """Where the session of a method is kept; of a long name its beginning and a digest."""
    name = re.sub("[^a-z0-9+-]+", "-", method.lower()).strip("-")
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 13]}-{sha256(method.encode()).hexdigest()[:12]}"
    return folder / f"{place:02}-{name}"


class _Work:
    """One run of an experiment over one model."""

    def __init__(
        self,
        model: EditableModel,
        findings: Findings,
        batches: list[list[Record]],
        metrics: Sequence[str],
        probes: Probes,
        monitor: Monitor,
    ) -> None:
        self._model, self._findings, self._batches = model, findings, batches
        self._metrics, self._probes, self._monitor = metrics, probes, monitor
        self._plan = findings.plan
        self._points = Points(findings.folder, findings.manifest, len(findings.points))
        self._before: Evaluation | None = None
        self._yardstick: Yardstick | None = None

    def unedited(self) -> None:
        """Measure the model as it is, on all records; once more what is compared with it."""
        records = [record for batch in self._batches for record in batch]
        names = self._plan.names()
        ended = self._findings.complete and not any(self._missing(name) for name in names)
        if self._probes.drift is not None and not ended:
            subjects = [fact.subject for record in records for fact in record.facts]
            last = max(layer for hp in self._plan.methods for layer in hp.layers)
            self._yardstick = Yardstick(
                self._model, self._probes.drift, last, subjects, self._monitor
            )
        if not self._has(UNEDITED, len(records)):
            self._measure(UNEDITED, len(self._batches))
        elif not ended:
            self._before = compared_with(
                self._model, records, self._metrics, self._monitor, self._plan.seed
            )

    def method(self, name: str, hp: HyperParameters) -> None:
        """Write all batches by one method, measuring where that is due."""
        place = self._plan.names().index(name) + 1
        folder = session_folder(self._findings.folder, place, name)
        missing, broken = self._missing(name), self._findings.broken(name)
        if self._findings.has_ended(name) and not missing:
            self._monitor.advance(len(self._batches))
            return
        if (folder / "session.json").exists():
            session = EditSession.load(folder, self._model, monitor=self._monitor)
            self._check_session(folder, session, hp)
        else:
            session = EditSession(self._model, None, hp)
        try:
            session.spectra(self._monitor)  # from the cache or not, they are no part of the edits
            self._monitor.advance(session.applied)
            for number in missing:  # whose line was damaged
                if number < session.applied:
                    with session.at(number):
                        self._measure(name, number, session)
            for number in range(session.applied, len(self._batches) + 1):
                if number and self._due(number) and not self._has(name, self._edits(number)):
                    self._measure(name, number, session)
                if number == len(self._batches) or (
                    broken is not None and self._edits(number) >= broken.edits
                ):
                    break
                facts = [fact for record in self._batches[number] for fact in record.facts]
                try:
                    session.edit(facts, len(facts), self._monitor)
                except DivergedError as error:
                    self._break(name, number, session.moved(), str(error))
                    break
                session.save(folder)
                self._monitor.advance()
        finally:
            session.close()

    def _missing(self, name: str) -> list[int]:
        """The numbers of batches after which a method is to be measured and is not yet."""
        broken = self._findings.broken(name)
        return [
            number
            for number in range(1, len(self._batches) + 1)
            if self._due(number)
            and not self._has(name, self._edits(number))
            and (broken is None or self._edits(number) < broken.edits)
        ]

    def _check_session(self, folder: Path, session: EditSession, hp: HyperParameters) -> None:
        """Refuse the session of another method or of other records, and let go of the model.

        Raises:
            CorruptFileError: naming what differs.
        """
        what = ""
        own, asked = session.hyperparameters.to_dict(), hp.to_dict()
        other = [name for name in asked if name != "origin" and own[name] != asked[name]]
        if other:
            what = f"its {other[0]} is {_short(own[other[0]])}, not {_short(asked[other[0]])}"
        elif len(session.history) > len(self._batches):
            what = f"it has {len(session.history)} edits, not at most {len(self._batches)}"
        else:
            for number, entry in enumerate(session.history):
                facts = [fact for record in self._batches[number] for fact in record.facts]
                if entry.facts != check_facts(facts):
                    what = f"its edit {number + 1} is not of the records of batch {number + 1}"
                    break
        if what:
            session.close()
            raise CorruptFileError(
                f"session {folder}: not of this experiment, {what}; remove the folder to have the "
                "method written anew"
            )

    def _edits(self, number: int) -> int:
        return sum(map(len, self._batches[:number]))

    def _due(self, number: int) -> bool:
        every = self._plan.evaluate_every
        records = number * self._plan.batch_size
        return number == len(self._batches) or (every is not None and records % every == 0)

    def _has(self, name: str, edits: int) -> bool:
        return any(p.method == name and p.edits == edits for p in self._findings.points)

    def _spent(self, name: str, number: int, session: EditSession) -> float:
        """Seconds spent writing since the point before, as the session keeps them over a stop."""
        before = [point.edits for point in self._findings.of(name)]
        return sum(
            sum(entry.result.seconds.values())
            for place, entry in enumerate(session.history[:number], 1)
            if self._edits(place) > max(before, default=0)
        )

    def _measure(self, name: str, number: int, session: EditSession | None = None) -> None:
        """Measure the model as it stands on the records of the first batches, and keep that."""
        model, monitor, plan, probes = self._model, self._monitor, self._plan, self._probes
        batches, start = self._batches[:number], time.perf_counter()
        later = plan.at_end if number < len(self._batches) else ()
        records = [record for batch in batches for record in batch]
        measured: Mapping[str, Measured] = {}
        if due := [metric for metric in self._metrics if metric not in later]:
            found = evaluate(
                model,
                records,
                due,
                monitor=monitor,
                seed=plan.seed,
                compat=plan.compat,
                references=probes.references,
                before=self._before,
            )
            measured = found.measured
            if name == UNEDITED:
                self._before = found
        read = None if probes.text is None else perplexity(model, probes.text, monitor)
        ability: dict[str, dict[str, float]] = {}
        if probes.tasks:
            each = measure_ability(model, probes.tasks, monitor).tasks
            ability = {one.task: {"accuracy": one.accuracy, "f1": one.f1} for one in each}
        drift: dict[str, float] = {}
        if self._yardstick is not None and name != UNEDITED:
            drift = self._yardstick.compare(monitor)
        ends = [sum(map(len, batches[: place + 1])) for place in range(number)]
        starts = [0, *ends[:-1]]
        point = Point(
            name,
            len(records),
            {name: one.mean for name, one in measured.items()},
            {name: one.error for name, one in measured.items()},
            {
                name: [_mean(one.values[a:b]) for a, b in zip(starts, ends, strict=True)]
                for name, one in measured.items()
                if one.values
            },
            read,
            ability,
            {} if session is None else {str(n): moved for n, moved in session.moved().items()},
            {
                "writing": 0.0 if session is None else self._spent(name, number, session),
                "measuring": time.perf_counter() - start,
            },
            drift,
        )
        self._keep(point)

    def _break(self, name: str, number: int, weights: Mapping[int, float], why: str) -> None:
        """Keep that a method cannot go on after some batches; other methods can."""
        moved = {str(layer): share for layer, share in weights.items()}
        nothing = {"writing": 0.0, "measuring": 0.0}
        self._keep(
            Point(name, self._edits(number), {}, {}, {}, None, {}, moved, nothing, broke=why)
        )

    def _keep(self, point: Point) -> None:
        self._points.append(asdict(point))
        self._findings.points.append(point)


def _manifest(
    model: EditableModel,
    records: Records,
    plan: Plan,
    written: Sequence[Record],
    left_out: Sequence[Record],
    probes: Probes,
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
        "made_with": surroundings(model),
    }


@contextmanager
def _opened(place: Path, manifest: dict[str, Any], monitor: Monitor) -> Iterator[Findings]:
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
            findings = Findings(place, manifest)
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


def _continued(place: Path, manifest: Mapping[str, Any], monitor: Monitor) -> Findings:
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


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
