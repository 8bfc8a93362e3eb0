"""What an experiment has found so far, and its tables."""

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


@dataclass(frozen=True)
class Measurement:
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
            :data:`~.baseline.DRIFTS`; empty where that is not measured.
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
class ExperimentResult:
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
    points: list[Measurement] = field(default_factory=list)
    checked: bool = True

    @property
    def plan(self) -> ExperimentPlan:
        """What is run."""
        return ExperimentPlan.from_dict(self.manifest["plan"])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order they were measured."""
        return list(dict.fromkeys(name for point in self.points for name in point.values))

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
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
        """Whether every method has been measured after all records, or broke before."""
        return all(self.has_ended(name) for name in (UNEDITED, *self.plan.names()))

    def has_ended(self, method: str) -> bool:
        """Whether a method has been measured after all records, or broke before."""
        last = len(self.manifest["records"]["names"])
        return self.diverged_at(method) is not None or any(
            p.edits == last for p in self.for_method(method)
        )

    def diverged_at(self, method: str) -> Measurement | None:
        """The point at which a method could not go on, if there is one."""
        return next((p for p in self.points if p.method == method and p.broke), None)

    def for_method(self, method: str) -> list[Measurement]:
        """The points of one method at which something was measured, by number of edits."""
        own = (p for p in self.points if p.method == method and not p.broke)
        return sorted(own, key=lambda p: p.edits)

    def final(self) -> dict[str, Measurement]:
        """The last point of each method that has one, the unedited model first."""
        found = {name: self.for_method(name) for name in (UNEDITED, *self.plan.names())}
        return {name: points[-1] for name, points in found.items() if points}


_MOVED = (
    "Frobenius norm of the change by that of the unedited weight, mean over the edited layers; how "
    "far, not how well"
)


def about(findings: ExperimentResult) -> str:
    """What was written and by whose definitions it is measured, and what there is to know of it."""
    records, plan = findings.manifest["records"], findings.plan
    left_out = len(records["left_out"])
    said = [
        f"{', '.join([records['dataset'], *(f'{n}={v}' for n, v in records['options'].items())])}, "
        f"{len(records['names'])} records in batches of {plan.batch_size}."
    ]
    if plan.compat != "paper":
        said.append("The usual metrics are those of EasyEdit.")
    if left_out:
        said.append(f"{left_out} more were about the same as one of their batch.")
    if not findings.checked:
        said.append("Kept without checksums, by an earlier version.")
    if not findings.complete:
        said.append("Not complete yet.")
    said += [
        f"{name} broke down after {broken.edits} edits: {broken.broke}."
        for name in plan.names()
        if (broken := findings.diverged_at(name)) is not None
    ]
    return " ".join(said)


def paper_table(findings: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the paper's table, with the paper's own rows where it has the model.

    Where not all of the paper's columns were measured, whatever else was measured follows them.
    """
    dataset = findings.manifest["records"]["dataset"]
    papers = COLUMNS.get(dataset, ())
    wanted = [name for name in papers if name in findings.metrics]
    others = [name for name in findings.metrics if name not in wanted]
    columns = wanted if wanted and len(wanted) == len(papers) else wanted + others
    rows = [
        (
            _named(findings, name),
            str(point.edits if name != "unedited" else 0),
            *_cells(point, columns),
        )
        for name, point in findings.final().items()
    ]
    rows += [
        (_named(findings, name), "0", *("n/a" for _ in columns))
        for name in findings.plan.names()
        if findings.diverged_at(name) and not findings.for_method(name)
    ]
    model = findings.manifest["model"].get("preset") or ""
    places = [papers.index(name) for name in wanted]
    # The paper's numbers are of the data set's usual task, and in its own columns.
    usual = bool(wanted) and findings.manifest["records"]["options"] == reader(dataset).chosen
    for method, values in (published(model, dataset) if usual else {}).items():
        rows.append(
            (
                f"{method}, as published on {model}",
                str(0 if method == "unedited" else EDITS),
                *(f"{values[place]:.2f}" for place in places),
                *("" for _ in columns[len(wanted) :]),
            )
        )
    return ("method", "edits", *columns), rows


def whole_table(findings: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of everything that was measured, a row for every point."""
    names = findings.metrics
    tasks = sorted({task for point in findings.points for task in point.ability})
    drifts = measured_drifts(findings)
    rows = []
    for method in ("unedited", *findings.plan.names()):
        for point in findings.for_method(method):
            weights = list(point.weights.values())
            moved = [point.drift.get(name) for name in drifts]
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
                    *("" if value is None else f"{value:.3g}" for value in moved),
                    f"{sum(weights) / len(weights):.3f}" if weights else "",
                    f"{point.seconds['writing']:.0f}" if weights else "",
                    f"{point.seconds['measuring']:.0f}",
                )
            )
    ability = (f"{task}, {measure}" for task in tasks for measure in ("accuracy", "F1"))
    shifts = (name.replace("_", " ") for name in drifts)
    ends = ("|ΔW| / |W|", "seconds writing", "seconds measuring")
    return ("method", "edits", *names, "perplexity", *ability, *shifts, *ends), rows


def measured_drifts(findings: ExperimentResult) -> dict[str, str]:
    """The measures of drift that some point has, and what they are."""
    known = {name for point in findings.points for name in point.drift}
    return {name: words for name, words in DRIFTS.items() if name in known}


def _named(findings: ExperimentResult, method: str) -> str:
    """A method, and after how many edits it broke down if it did."""
    broken = findings.diverged_at(method)
    return method if broken is None else f"{method}, broke down after {broken.edits}"


def experiment_text(findings: ExperimentResult) -> str:
    """What was written, and the paper's table, for a terminal."""
    return "\n".join([about(findings), text_table(*paper_table(findings))])


def held(findings: ExperimentResult) -> list[str]:
    """The metrics that say whether what was written is still there."""
    wanted = ("efficacy", "efficacy_accuracy", "rewrite_acc", "multi_hop")
    return [name for name in wanted if name in findings.metrics]


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
