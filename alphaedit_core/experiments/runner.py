"""Sequential experiments: write the records of a data set batch by batch and measure the model.

Every method starts from the unedited model and writes the same records in the same order. The
session is saved after each batch, and a line is written after each evaluation. A stopped experiment
therefore resumes and ends with the same numbers: weights are restored bit for bit from the saved
updates, and random draws depend only on the seed and their purpose. This holds on one machine with
the same versions and number of threads. Elsewhere, and if little free memory makes batches smaller,
sums are rounded differently.

A folder holds ``experiment.json`` (plan, data and model), ``points.jsonl`` (a line per evaluation),
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

from .files import PointsWriter
from .folder import _manifest, _open_experiment, _short, session_folder
from .plan import ExperimentPlan, ExtraMeasurements, batched, check_final_only
from .results import UNEDITED, ExperimentResult, Measurement


def run_experiment(
    model: EditableModel,
    records: Records,
    plan: ExperimentPlan,
    folder: str | Path,
    probes: ExtraMeasurements | None = None,
    monitor: Monitor | None = None,
) -> ExperimentResult:
    """Run an experiment, or resume the one in the folder.

    Args:
        model: the unedited model; it is unedited again afterwards.
        records: the data set, see :func:`~.reading.read_records`.
        plan: methods, number of edits and metrics.
        folder: folder of the experiment; created if it does not exist.
        probes: additional measurements.
        monitor: receives progress and warnings.

    Returns:
        All results, including those of earlier runs.

    Raises:
        InputError: if the folder holds something else or another experiment, or a method or metric
            cannot be used; nothing is changed then.
        SessionError: if the model holds edits of a session.
        CorruptFileError: if a file in the folder is damaged.
        Canceled: if canceled; the next call resumes after the last batch written.
    """
    monitor, probes, path = monitor or Monitor(), probes or ExtraMeasurements(), Path(folder)
    for hp in plan.methods:
        validated_editor(model, hp)
    metrics = list(plan.metrics) or list(metrics_for(records.dataset.name, plan.compat))
    chosen([], metrics)
    EditSession(model, None, plan.methods[0]).close()  # refuses a model that holds edits
    check_final_only(plan.final_only, metrics)
    batches, left_out = batched(records.records[: plan.edits], plan.batch_size)
    written = [record for batch in batches for record in batch]
    if mismatch := records.dataset.mismatch(plan.compat):
        monitor.warn(mismatch)
    if left_out:
        monitor.warn(
            f"{len(left_out)} of {len(left_out) + len(written)} records are left out: they "
            f"duplicate a record of their batch ({', '.join(r.name for r in left_out[:3])}"
            f"{' …' if len(left_out) > 3 else ''})"
        )
    manifest = _manifest(model, records, plan, written, left_out, probes)
    with _open_experiment(path, manifest, monitor) as result:
        run = _Run(model, result, batches, metrics, probes, monitor)
        with monitor.stage("experiment", len(batches) * len(plan.methods), "batch"):
            run.measure_unedited()
            for name, hp in zip(plan.names(), plan.methods, strict=True):
                run.run_method(name, hp)
    return result


class _Run:
    """One run of an experiment on one model."""

    def __init__(
        self,
        model: EditableModel,
        result: ExperimentResult,
        batches: list[list[Record]],
        metrics: Sequence[str],
        probes: ExtraMeasurements,
        monitor: Monitor,
    ) -> None:
        self._model, self._result, self._batches = model, result, batches
        self._metrics, self._probes, self._monitor = metrics, probes, monitor
        self._plan = result.plan
        self._points = PointsWriter(result.folder, result.manifest, len(result.points))
        self._before: Evaluation | None = None
        self._baseline: DriftBaseline | None = None

    def measure_unedited(self) -> None:
        """Measure the unedited model on all records.

        In a resumed experiment, measure again only what the metrics of edited models compare with.
        """
        records = [record for batch in self._batches for record in batch]
        names = self._plan.names()
        ended = self._result.complete and not any(self._missing(name) for name in names)
        if self._probes.drift is not None and not ended:
            subjects = [fact.subject for record in records for fact in record.facts]
            last = max(layer for hp in self._plan.methods for layer in hp.layers)
            self._baseline = DriftBaseline(
                self._model, self._probes.drift, last, subjects, self._monitor
            )
        if not self._has(UNEDITED, len(records)):
            self._measure(UNEDITED, len(self._batches))
        elif not ended:
            self._before = compared_with(
                self._model, records, self._metrics, self._monitor, self._plan.seed
            )

    def run_method(self, name: str, hp: EditConfig) -> None:
        """Write all remaining batches with one method and evaluate where it is due."""
        number = self._plan.names().index(name) + 1
        folder = session_folder(self._result.folder, number, name)
        missing, divergence = self._missing(name), self._result.diverged_at(name)
        if self._result.has_ended(name) and not missing:
            self._monitor.advance(len(self._batches))
            return
        if (folder / "session.json").exists():
            session = EditSession.load(folder, self._model, monitor=self._monitor)
            self._check_session(folder, session, hp)
        else:
            session = EditSession(self._model, None, hp)
        try:
            # Computed first: whether the spectra are cached must not change the seconds.
            session.spectra(self._monitor)
            self._monitor.advance(session.applied)
            for number in missing:  # their lines were damaged
                if number < session.applied:
                    with session.at_state(number):
                        self._measure(name, number, session)
            for number in range(session.applied, len(self._batches) + 1):
                if number and self._due(number) and not self._has(name, self._edits(number)):
                    self._measure(name, number, session)
                if number == len(self._batches) or (
                    divergence is not None and self._edits(number) >= divergence.edits
                ):
                    break
                facts = [fact for record in self._batches[number] for fact in record.facts]
                try:
                    session.edit(facts, len(facts), self._monitor)
                except DivergedError as error:
                    self._diverge(name, number, session.relative_weight_change(), str(error))
                    break
                session.save(folder)
                self._monitor.advance()
        finally:
            session.close()

    def _missing(self, name: str) -> list[int]:
        """Numbers of batches after which an evaluation of a method is due and missing."""
        divergence = self._result.diverged_at(name)
        return [
            number
            for number in range(1, len(self._batches) + 1)
            if self._due(number)
            and not self._has(name, self._edits(number))
            and (divergence is None or self._edits(number) < divergence.edits)
        ]

    def _check_session(self, folder: Path, session: EditSession, hp: EditConfig) -> None:
        """Check that a session has the method and records of the experiment, else close it.

        Raises:
            CorruptFileError: naming the difference.
        """
        difference = ""
        stored, expected = session.hyperparameters.to_dict(), hp.to_dict()
        # The editor comes first: other editors have other fields.
        names = sorted(expected.keys() - {"source"}, key=lambda name: name != "editor")
        other = [name for name in names if stored.get(name) != expected[name]]
        if other:
            name = other[0]
            difference = f"its {name} is {_short(stored[name])}, not {_short(expected[name])}"
        elif len(session.history) > len(self._batches):
            difference = f"it has {len(session.history)} edits, not at most {len(self._batches)}"
        else:
            for number, entry in enumerate(session.history):
                facts = [fact for record in self._batches[number] for fact in record.facts]
                if entry.facts != check_facts(facts):
                    edit = number + 1
                    difference = f"its edit {edit} does not hold the records of batch {edit}"
                    break
        if difference:
            session.close()
            raise CorruptFileError(
                f"session {folder}: not of this experiment, {difference}; remove the folder to "
                "write the method anew"
            )

    def _edits(self, number: int) -> int:
        return sum(map(len, self._batches[:number]))

    def _due(self, number: int) -> bool:
        interval = self._plan.evaluate_every
        records = number * self._plan.batch_size
        return number == len(self._batches) or (interval is not None and records % interval == 0)

    def _has(self, name: str, edits: int) -> bool:
        return any(p.method == name and p.edits == edits for p in self._result.points)

    def _spent(self, name: str, number: int, session: EditSession) -> float:
        """Seconds spent writing since the previous measurement, also in earlier runs."""
        before = [point.edits for point in self._result.for_method(name)]
        return sum(
            sum(entry.result.seconds.values())
            for batch, entry in enumerate(session.history[:number], 1)
            if self._edits(batch) > max(before, default=0)
        )

    def _measure(self, name: str, number: int, session: EditSession | None = None) -> None:
        """Measure the current model on the records of the first batches and store the result."""
        model, monitor, plan, probes = self._model, self._monitor, self._plan, self._probes
        batches, start = self._batches[:number], time.perf_counter()
        later = plan.final_only if number < len(self._batches) else ()
        records = [record for batch in batches for record in batch]
        measured: Mapping[str, MetricResult] = {}
        if due := [metric for metric in self._metrics if metric not in later]:
            evaluation = evaluate(
                model,
                records,
                due,
                monitor=monitor,
                seed=plan.seed,
                compat=plan.compat,
                references=probes.references,
                before=self._before,
            )
            measured = evaluation.measured
            if name == UNEDITED:
                self._before = evaluation
        text_perplexity = None if probes.text is None else perplexity(model, probes.text, monitor)
        ability: dict[str, dict[str, float]] = {}
        if probes.tasks:
            tasks = measure_ability(model, probes.tasks, monitor).tasks
            ability = {task.task: {"accuracy": task.accuracy, "f1": task.f1} for task in tasks}
        drift: dict[str, float] = {}
        if self._baseline is not None and name != UNEDITED:
            drift = self._baseline.compare(monitor)
        ends = [sum(map(len, batches[: batch + 1])) for batch in range(number)]
        starts = [0, *ends[:-1]]
        point = Measurement(
            method=name,
            edits=len(records),
            values={metric: result.mean for metric, result in measured.items()},
            errors={metric: result.error for metric, result in measured.items()},
            retention={
                metric: [_mean(result.values[a:b]) for a, b in zip(starts, ends, strict=True)]
                for metric, result in measured.items()
                if result.values
            },
            perplexity=text_perplexity,
            ability=ability,
            weights={}
            if session is None
            else {str(n): share for n, share in session.relative_weight_change().items()},
            seconds={
                "writing": 0.0 if session is None else self._spent(name, number, session),
                "measuring": time.perf_counter() - start,
            },
            drift=drift,
        )
        self._keep(point)

    def _diverge(self, name: str, number: int, weights: Mapping[int, float], why: str) -> None:
        """Store that a method diverged after a number of batches; other methods continue."""
        self._keep(
            Measurement(
                method=name,
                edits=self._edits(number),
                values={},
                errors={},
                retention={},
                perplexity=None,
                ability={},
                weights={str(layer): share for layer, share in weights.items()},
                seconds={"writing": 0.0, "measuring": 0.0},
                broke=why,
            )
        )

    def _keep(self, point: Measurement) -> None:
        self._points.append(asdict(point))
        self._result.points.append(point)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
