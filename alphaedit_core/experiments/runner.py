"""Sequential experiments: the records of a data set written batch after batch, and what that did.

Every method starts from the unedited model and writes the same records in the same order. After
each batch the session is saved, and after each evaluation a line is written, so that an experiment
that was stopped, by whatever, goes on where it was and ends with the same numbers: the weights come
from the saved changes bit for bit, and every random draw hangs on the seed and on what is drawn for
alone. That is so on one machine with the same versions and number of threads; elsewhere, and where
little free memory makes batches smaller, sums are rounded otherwise.

A folder holds ``experiment.json`` (what is run on what), ``points.jsonl`` (a line per evaluation),
see :mod:`.experiments.files`, and a session per method.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from alphaedit_core.data.datasets.reading import Records
from alphaedit_core.data.facts import check_facts
from alphaedit_core.data.records import Record
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import validated_editor
from alphaedit_core.errors import CorruptFileError, DivergedError
from alphaedit_core.evaluation.evaluate import (
    Evaluation,
    MetricResult,
    chosen,
    compared_with,
    evaluate,
)
from alphaedit_core.evaluation.metrics.registry import metrics_for
from alphaedit_core.inference.scoring import perplexity
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.ability import measure_ability
from alphaedit_core.side_effects.baseline import DriftBaseline

from .files import (  # fmt: skip
    Points,
)
from .folder import _manifest, _opened, _short, session_folder
from .plan import ExperimentPlan, ExtraMeasurements, batched, check_at_end
from .results import UNEDITED, ExperimentResult, Measurement


def run_experiment(
    model: EditableModel,
    records: Records,
    plan: ExperimentPlan,
    folder: str | Path,
    probes: ExtraMeasurements | None = None,
    monitor: Monitor | None = None,
) -> ExperimentResult:
    """Run an experiment, or go on with the one that the folder holds.

    Args:
        model: the model, unedited; it is unedited again afterwards.
        records: the data set, see :func:`~.reading.read_records`.
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
        Canceled: if canceled; the next call goes on after the last batch that was written.
    """
    monitor, probes, place = monitor or Monitor(), probes or ExtraMeasurements(), Path(folder)
    for hp in plan.methods:
        validated_editor(model, hp)
    metrics = list(plan.metrics) or list(metrics_for(records.dataset.name, plan.compat))
    chosen([], metrics)
    EditSession(model, None, plan.methods[0]).close()  # refuses a model that holds edits
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


class _Work:
    """One run of an experiment over one model."""

    def __init__(
        self,
        model: EditableModel,
        findings: ExperimentResult,
        batches: list[list[Record]],
        metrics: Sequence[str],
        probes: ExtraMeasurements,
        monitor: Monitor,
    ) -> None:
        self._model, self._findings, self._batches = model, findings, batches
        self._metrics, self._probes, self._monitor = metrics, probes, monitor
        self._plan = findings.plan
        self._points = Points(findings.folder, findings.manifest, len(findings.points))
        self._before: Evaluation | None = None
        self._yardstick: DriftBaseline | None = None

    def unedited(self) -> None:
        """Measure the model as it is, on all records; once more what is compared with it."""
        records = [record for batch in self._batches for record in batch]
        names = self._plan.names()
        ended = self._findings.complete and not any(self._missing(name) for name in names)
        if self._probes.drift is not None and not ended:
            subjects = [fact.subject for record in records for fact in record.facts]
            last = max(layer for hp in self._plan.methods for layer in hp.layers)
            self._yardstick = DriftBaseline(
                self._model, self._probes.drift, last, subjects, self._monitor
            )
        if not self._has(UNEDITED, len(records)):
            self._measure(UNEDITED, len(self._batches))
        elif not ended:
            self._before = compared_with(
                self._model, records, self._metrics, self._monitor, self._plan.seed
            )

    def method(self, name: str, hp: EditConfig) -> None:
        """Write all batches by one method, measuring where that is due."""
        place = self._plan.names().index(name) + 1
        folder = session_folder(self._findings.folder, place, name)
        missing, broken = self._missing(name), self._findings.diverged_at(name)
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
                    with session.at_state(number):
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
                    self._break(name, number, session.relative_weight_change(), str(error))
                    break
                session.save(folder)
                self._monitor.advance()
        finally:
            session.close()

    def _missing(self, name: str) -> list[int]:
        """The numbers of batches after which a method is to be measured and is not yet."""
        broken = self._findings.diverged_at(name)
        return [
            number
            for number in range(1, len(self._batches) + 1)
            if self._due(number)
            and not self._has(name, self._edits(number))
            and (broken is None or self._edits(number) < broken.edits)
        ]

    def _check_session(self, folder: Path, session: EditSession, hp: EditConfig) -> None:
        """Refuse the session of another method or of other records, and let go of the model.

        Raises:
            CorruptFileError: naming what differs.
        """
        what = ""
        own, asked = session.hyperparameters.to_dict(), hp.to_dict()
        # The editor comes first: another one has other fields.
        compared = sorted(asked.keys() - {"source"}, key=lambda name: name != "editor")
        other = [name for name in compared if own.get(name) != asked[name]]
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
        before = [point.edits for point in self._findings.for_method(name)]
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
        measured: Mapping[str, MetricResult] = {}
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
        point = Measurement(
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
            {}
            if session is None
            else {str(n): moved for n, moved in session.relative_weight_change().items()},
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
            Measurement(name, self._edits(number), {}, {}, {}, None, {}, moved, nothing, broke=why)
        )

    def _keep(self, point: Measurement) -> None:
        self._points.append(asdict(point))
        self._findings.points.append(point)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
