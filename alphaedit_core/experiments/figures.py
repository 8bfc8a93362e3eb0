"""Figures of an experiment: measures over the number of edits, and retention per batch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

if TYPE_CHECKING:
    from .results import ExperimentResult, Measurement

#: Color and dashes per method. They repeat beyond 12 methods.
_METHOD_STROKES: tuple[tuple[str, fig.Dashes], ...] = tuple(
    (color, dashes)
    for dashes in ((), (5, 1.5), (1, 1.2))
    for color in (fig.VERMILLION, fig.BLUE, fig.GREEN, fig.GRAY)
)
_COLUMNS = 3
#: Drift measures to draw, with their titles.
SHIFTS = {
    "kl": "KL(before || after) of ordinary text, nats",
    "mean_shift": "hidden states, mean shift, %",
}


def experiment_curves_html(
    result: ExperimentResult, measures: Collection[str] | None = None
) -> str:
    """Return a figure of measures over the number of edits, with one line per method.

    Args:
        result: the experiment.
        measures: metrics, ``perplexity`` or titles of :data:`SHIFTS` to draw; None for all.

    Returns:
        HTML of the figure and a text with the last values; "" if nothing was measured.
    """
    series = _series(result)
    if measures is not None:
        series = {name: lines for name, lines in series.items() if name in measures}
    if not series:
        return ""
    last_values = [
        f"{measure}: " + ", ".join(f"{name} {values[-1][1]:.4g}" for name, values in lines.items())
        for measure, lines in series.items()
    ]
    alt = f"Measures over the edits; at the last point {'; '.join(last_values)}."
    return figure_html(_panels(series, "edits"), alt)


def experiment_retention_html(result: ExperimentResult, measures: Sequence[str]) -> str:
    """Return a figure of each batch's metrics after the last edit, with one line per method.

    Args:
        result: the experiment.
        measures: metrics to draw.

    Returns:
        HTML of the figure and a text with the values of the first and last batch; "" if no method
        has any of the metrics.
    """
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for measure in measures:
        for name, point in result.final().items():
            by_batch = point.retention.get(measure, ())
            values = [(float(n), value) for n, value in enumerate(by_batch, 1) if value is not None]
            if values and point.weights:
                series.setdefault(measure, {})[name] = values
    if not series:
        return ""
    ends = [
        f"{measure}, first and last batch: "
        + ", ".join(f"{name} {v[0][1]:.1f} and {v[-1][1]:.1f}" for name, v in lines.items())
        for measure, lines in series.items()
    ]
    return figure_html(
        _panels(series, "batch, in the order they were written"),
        f"Retention of every batch after the last edit. {'; '.join(ends)}.",
    )


def _series(result: ExperimentResult) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return (number of edits, value) of all measurements, by measure and method."""
    unedited = result.final().get("unedited")
    measures: dict[str, Callable[[Measurement], float | None]] = {}
    for name in result.metrics:
        measures[name] = lambda point, name=name: point.values.get(name)  # type: ignore[misc]
    measures["perplexity"] = lambda point: point.perplexity
    for task in sorted({task for point in result.points for task in point.ability}):
        measures[f"{task}, F1"] = lambda point, task=task: point.ability.get(task, {}).get("f1")  # type: ignore[misc]
    for shift, title in SHIFTS.items():
        measures[title] = lambda point, shift=shift: point.drift.get(shift)  # type: ignore[misc]
    measures["|ΔW| / |W|, mean of layers"] = lambda point: (
        sum(point.weights.values()) / len(point.weights) if point.weights else None
    )
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for measure, read in measures.items():
        lines: dict[str, list[tuple[float, float]]] = {}
        for name in result.plan.names():
            points = [(p.edits, read(p)) for p in result.for_method(name)]
            values = [(float(n), value) for n, value in points if value is not None]
            if values:
                lines[name] = values
        start = read(unedited) if unedited is not None else None
        if start is not None and lines:
            # The unedited model was measured on all records, so it is a horizontal line.
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
    # A single panel is wider so that the legend fits above it.
    width, height = max(5.5, 3.5 * columns), 2.4 * ceil(len(panels) / columns) + 0.5
    legend = fig.Legend("outside upper left", columns)
    return render_svg(fig.Figure(width, height, tuple(panels), columns, legend=legend))
