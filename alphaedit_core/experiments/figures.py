"""Figures of an experiment: every measure over the edits, and what is left of each batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

if TYPE_CHECKING:
    from .results import ExperimentResult, Measurement

#: A color and dashes for each method; more than these cannot be told apart.
_METHOD_STROKES: tuple[tuple[str, fig.Dashes], ...] = tuple(
    (color, dashes)
    for dashes in ((), (5, 1.5), (1, 1.2))
    for color in (fig.VERMILLION, fig.BLUE, fig.GREEN, fig.GRAY)
)
_COLUMNS = 3
#: Measures of drift that are drawn, and their titles.
SHIFTS = {
    "kl": "KL(before || after) of ordinary text, nats",
    "mean_shift": "hidden states, mean shift, %",
}


def experiment_curves_html(
    findings: ExperimentResult, measures: Collection[str] | None = None
) -> str:
    """Measures over the edits, a line for each method, with a text that says the last.

    Args:
        findings: what was found.
        measures: those to draw: metrics, ``perplexity``, titles of :data:`SHIFTS`; all where None.
    """
    series = _series(findings)
    if measures is not None:
        series = {name: lines for name, lines in series.items() if name in measures}
    if not series:
        return ""
    said = [
        f"{measure}: " + ", ".join(f"{name} {values[-1][1]:.4g}" for name, values in lines.items())
        for measure, lines in series.items()
    ]
    return figure_html(
        _panels(series, "edits"), f"Measures over the edits; at the last point {'; '.join(said)}."
    )


def experiment_retention_html(findings: ExperimentResult, measures: Sequence[str]) -> str:
    """What is left of every batch after the last edit, a line for each method.

    Args:
        findings: what was found.
        measures: metrics to show.
    """
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for measure in measures:
        for name, point in findings.final().items():
            left = point.retention.get(measure, ())
            values = [(float(n), value) for n, value in enumerate(left, 1) if value is not None]
            if values and point.weights:
                series.setdefault(measure, {})[name] = values
    if not series:
        return ""
    said = [
        f"{measure}, first and last batch: "
        + ", ".join(f"{name} {v[0][1]:.1f} and {v[-1][1]:.1f}" for name, v in lines.items())
        for measure, lines in series.items()
    ]
    return figure_html(
        _panels(series, "batch, in the order they were written"),
        f"What is left of every batch after the last edit. {'; '.join(said)}.",
    )


def _series(findings: ExperimentResult) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """By measure and method the number of edits and the value of every point that has one."""
    unedited = findings.final().get("unedited")
    measures: dict[str, Callable[[Measurement], float | None]] = {}
    for name in findings.metrics:
        measures[name] = lambda point, name=name: point.values.get(name)  # type: ignore[misc]
    measures["perplexity"] = lambda point: point.perplexity
    for task in sorted({task for point in findings.points for task in point.ability}):
        measures[f"{task}, F1"] = lambda point, task=task: point.ability.get(task, {}).get("f1")  # type: ignore[misc]
    for shift, title in SHIFTS.items():
        measures[title] = lambda point, shift=shift: point.drift.get(shift)  # type: ignore[misc]
    measures["|ΔW| / |W|, mean of layers"] = lambda point: (
        sum(point.weights.values()) / len(point.weights) if point.weights else None
    )
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for measure, read in measures.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for name in findings.plan.names():
            points = [(p.edits, read(p)) for p in findings.for_method(name)]
            values = [(float(n), value) for n, value in points if value is not None]
            if values:
                lines[name] = values
        start = read(unedited) if unedited is not None else None
        if start is not None and lines:
            # The unedited model was asked about all records: a line across, not a start.
            last = max(n for values in lines.values() for n, _ in values)
            lines["unedited"] = [(0.0, start), (last, start)]
        if lines:
            series[measure] = lines
    return series


def _panels(series: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], label: str) -> str:
    names = list(dict.fromkeys(name for lines in series.values() for name in lines))
    methods = [name for name in names if name != "unedited"]
    columns = min(_COLUMNS, len(series))
    panels = []
    for measure, lines in series.items():
        curves = []
        for name, points in lines.items():
            x, y = fig.coordinates(points)
            if name == "unedited":
                curves.append(fig.Curve(x, y, fig.GRAY, name, width=0.9))
                continue
            color, dashes = _METHOD_STROKES[methods.index(name) % len(_METHOD_STROKES)]
            dot = "o" if len(points) == 1 else ""
            curves.append(fig.Curve(x, y, color, name, dashes=dashes, marker=dot))
        values = [value for points in lines.values() for _, value in points]
        wide = max(values) > 10 * min(values) > 0
        log = wide and measure in ("perplexity", SHIFTS["kl"])
        panels.append(fig.Panel(fig.Axis(label), fig.Axis(log=log), measure, tuple(curves)))
    # One panel alone is wider, so that the names of the methods fit over it.
    width, height = max(5.5, 3.5 * columns), 2.4 * ceil(len(panels) / columns) + 0.5
    legend = fig.Legend("outside upper left", columns)
    return render_svg(fig.Figure(width, height, tuple(panels), columns, legend=legend))
