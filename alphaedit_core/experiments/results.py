"""Results of an experiment and their tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.datasets.registry import dataset as reader
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.side_effects.baseline import DRIFTS

from .paper_results import COLUMNS, EDITS, published
from .plan import ExperimentPlan

if TYPE_CHECKING:
    import pandas

UNEDITED = "unedited"


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Measurements of one method after a number of edits.

    Attributes:
        method: name of the method, or ``unedited``.
        edits: number of records written so far; for ``unedited`` the number of records measured.
        values: mean over the records, by metric; None if no record has a value.
        errors: standard error of each mean.
        retention: mean over each batch written so far, in order, by metric.
        perplexity: perplexity of the running text; None without one.
        ability: ``accuracy`` and ``f1``, %, by task.
        weights: ``|W - W0| / |W0|``, Frobenius norms, by layer.
        seconds: ``writing``, since the previous measurement, and ``measuring``.
        drift: drift from the unedited model by the names in :data:`~.baseline.DRIFTS`; empty if
            not measured.
        broke: why the method diverged here, in which case nothing is measured; "" if it did not.
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
class ExperimentResult:
    """Results of an experiment so far.

    Attributes:
        folder: folder of the experiment.
        manifest: content of ``experiment.json``.
        points: measurements, in the order they were made.
        checked: whether all numbers were verified by checksums; False for files of an earlier
            version, which have none.
    """

    folder: Path
    manifest: Mapping[str, Any]
    points: list[Measurement] = field(default_factory=list)
    checked: bool = True

    @property
    def plan(self) -> ExperimentPlan:
        """The plan of the experiment."""
        return ExperimentPlan.from_dict(self.manifest["plan"])

    @property
    def metrics(self) -> list[str]:
        """Names of all measured metrics, in order."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-serializable values."""
        return {"manifest": dict(self.manifest), "points": [asdict(p) for p in self.points]}

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per measurement, in the order they were made.

        Columns:

        - ``method``, or ``unedited``; ``edits``: records written so far, 0 for ``unedited``.
        - for each metric its name, the mean over the records, and its name with
          ``_standard_error``.
        - ``perplexity``: of the running text.
        - ``TASK_accuracy`` and ``TASK_f1`` for each ability task.
        - for each measure of drift its name, see :data:`~.baseline.DRIFTS`.
        - ``weight_change_LAYER``: ``|W - W0| / |W0|`` of each edited layer.
        - ``seconds_writing``, ``seconds_measuring``.
        - ``diverged``: why the method could not go on, or an empty text.

        Raises:
            InputError: if pandas is not installed.
        """
        tasks = sorted({task for point in self.points for task in point.ability})
        layers = sorted({layer for point in self.points for layer in point.weights}, key=int)
        drifts, metrics = measured_drifts(self), self.metrics
        numbers = [
            *(name + ending for name in metrics for ending in ("", "_standard_error")),
            "perplexity",
            *(f"{task}_{score}" for task in tasks for score in ("accuracy", "f1")),
            *drifts,
            *(f"weight_change_{layer}" for layer in layers),
            "seconds_writing",
            "seconds_measuring",
        ]
        rows = [
            (
                point.method,
                0 if point.method == UNEDITED else point.edits,
                *(cell.get(name) for name in metrics for cell in (point.values, point.errors)),
                point.perplexity,
                *(
                    point.ability.get(task, {}).get(score)
                    for task in tasks
                    for score in ("accuracy", "f1")
                ),
                *(point.drift.get(name) for name in drifts),
                *(point.weights.get(layer) for layer in layers),
                *(point.seconds.get(name) for name in ("writing", "measuring")),
                point.broke,
            )
            for point in self.points
        ]
        columns = {"method": str, "edits": int, **dict.fromkeys(numbers, float), "diverged": str}
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        return experiment_text(self)

    def _repr_html_(self) -> str:
        return html_table(*paper_table(self))

    @property
    def complete(self) -> bool:
        """Whether every method has been measured after the last record, or diverged."""
        return all(self.has_ended(name) for name in (UNEDITED, *self.plan.names()))

    def has_ended(self, method: str) -> bool:
        """Return whether a method has been measured after the last record, or diverged."""
        last = len(self.manifest["records"]["names"])
        return self.diverged_at(method) is not None or any(
            p.edits == last for p in self.for_method(method)
        )

    def diverged_at(self, method: str) -> Measurement | None:
        """Return the measurement at which a method diverged, or None."""
        return next((p for p in self.points if p.method == method and p.broke), None)

    def for_method(self, method: str) -> list[Measurement]:
        """Return the measurements of a method by number of edits, without divergence."""
        points = (p for p in self.points if p.method == method and not p.broke)
        return sorted(points, key=lambda p: p.edits)

    def final(self) -> dict[str, Measurement]:
        """Return the last measurement of each method that has one, the unedited model first."""
        by_method = {name: self.for_method(name) for name in (UNEDITED, *self.plan.names())}
        return {name: points[-1] for name, points in by_method.items() if points}


_WEIGHT_CHANGE = (
    "Frobenius norm of the change divided by that of the unedited weight, mean over the edited "
    "layers; measures distance, not quality"
)


def about(result: ExperimentResult) -> str:
    """Return a description of the data, the definitions and the state of an experiment."""
    records, plan = result.manifest["records"], result.plan
    left_out = len(records["left_out"])
    sentences = [
        f"{', '.join([records['dataset'], *(f'{n}={v}' for n, v in records['options'].items())])}, "
        f"{len(records['names'])} records in batches of {plan.batch_size}."
    ]
    if plan.compat != "paper":
        sentences.append("The default metrics are those of EasyEdit.")
    if left_out:
        sentences.append(f"{left_out} more duplicate a record of their batch and are left out.")
    if not result.checked:
        sentences.append("FactBatch without checksums by an earlier version.")
    if not result.complete:
        sentences.append("Not complete yet.")
    sentences += [
        f"{name} broke down after {end.edits} edits: {end.broke}."
        for name in plan.names()
        if (end := result.diverged_at(name)) is not None
    ]
    return " ".join(sentences)


def paper_table(result: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows in the layout of the paper's Table 1 (Fang et al. 2025).

    The paper's values follow for models that it lists. If some of the paper's columns were not
    measured, all other metrics are appended.
    """
    dataset = result.manifest["records"]["dataset"]
    paper_columns = COLUMNS.get(dataset, ())
    shared = [name for name in paper_columns if name in result.metrics]
    others = [name for name in result.metrics if name not in shared]
    columns = shared if shared and len(shared) == len(paper_columns) else shared + others
    rows = [
        (
            _method_label(result, name),
            str(point.edits if name != "unedited" else 0),
            *_cells(point, columns),
        )
        for name, point in result.final().items()
    ]
    rows += [
        (_method_label(result, name), "0", *("n/a" for _ in columns))
        for name in result.plan.names()
        if result.diverged_at(name) and not result.for_method(name)
    ]
    model = result.manifest["model"].get("preset") or ""
    indices = [paper_columns.index(name) for name in shared]
    # The paper's values hold for the default options of the data set only.
    comparable = bool(shared) and result.manifest["records"]["options"] == reader(dataset).chosen
    for method, values in (published(model, dataset) if comparable else {}).items():
        rows.append(
            (
                f"{method}, as published on {model}",
                str(0 if method == "unedited" else EDITS),
                *(f"{values[index]:.2f}" for index in indices),
                *("" for _ in columns[len(shared) :]),
            )
        )
    return ("method", "edits", *columns), rows


def whole_table(result: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows of all measurements, one row each."""
    names = result.metrics
    tasks = sorted({task for point in result.points for task in point.ability})
    drifts = measured_drifts(result)
    rows = []
    for method in ("unedited", *result.plan.names()):
        for point in result.for_method(method):
            weights = list(point.weights.values())
            shifts = [point.drift.get(name) for name in drifts]
            rows.append(
                (
                    method,
                    str(point.edits if weights else 0),
                    *_cells(point, names),
                    "" if point.perplexity is None else f"{point.perplexity:.2f}",
                    *(
                        _number(point.ability.get(task, {}).get(measure))
                        for task in tasks
                        for measure in ("accuracy", "f1")
                    ),
                    *("" if value is None else f"{value:.3g}" for value in shifts),
                    f"{sum(weights) / len(weights):.3f}" if weights else "",
                    f"{point.seconds['writing']:.0f}" if weights else "",
                    f"{point.seconds['measuring']:.0f}",
                )
            )
    ability = (f"{task}, {measure}" for task in tasks for measure in ("accuracy", "F1"))
    drift_names = (name.replace("_", " ") for name in drifts)
    ends = ("|ΔW| / |W|", "seconds writing", "seconds measuring")
    return ("method", "edits", *names, "perplexity", *ability, *drift_names, *ends), rows


def measured_drifts(result: ExperimentResult) -> dict[str, str]:
    """Return the definitions of all drift measures that the experiment has, by name."""
    measured = {name for point in result.points for name in point.drift}
    return {name: definition for name, definition in DRIFTS.items() if name in measured}


def _method_label(result: ExperimentResult, method: str) -> str:
    """Return the name of a method, with the number of edits after which it diverged, if it did."""
    end = result.diverged_at(method)
    return method if end is None else f"{method}, broke down after {end.edits}"


def experiment_text(result: ExperimentResult) -> str:
    """Return the description and the paper's table as plain text."""
    return "\n".join([about(result), text_table(*paper_table(result))])


def held(result: ExperimentResult) -> list[str]:
    """Return the measured metrics that show whether written facts are kept."""
    names = ("efficacy", "efficacy_accuracy", "rewrite_acc", "multi_hop")
    return [name for name in names if name in result.metrics]


def _cells(point: Measurement, names: Iterable[str]) -> list[str]:
    cells = []
    for name in names:
        if name not in point.values:
            cells.append("")  # not measured there
            continue
        value, error = point.values[name], point.errors.get(name)
        cells.append(_number(value) + (f" ± {error:.1f}" if value is not None and error else ""))
    return cells


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"
