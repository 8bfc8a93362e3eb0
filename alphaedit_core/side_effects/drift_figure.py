"""Drift for display: the columns of a table, a figure of the same numbers, and its text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg
from alphaedit_core.display.tables import html_table

from .drift import BANDS, Drift

#: Display name of each measure.
NAMES: Mapping[str, str] = {
    "weights": "change of the weights, |ΔW| / |W|",
    "kl": "KL(before ‖ after), per token",
    "disagreement": "next token differs",
    "perplexity": "perplexity change",
    "neighbors": "neighbors changed",
}
#: Short titles for a narrow figure.
_SHORT = {"weights": "|ΔW| / |W|, %", "kl": "KL, nats per token"}
_UNITS = {"weights": "%", "kl": "nats", "disagreement": "%", "perplexity": "%", "neighbors": "%"}


@dataclass(frozen=True, kw_only=True)
class DriftColumn:
    """Display of one number of a drift.

    Attributes:
        measure: name in ``BANDS``; "" for a number without a band, which is not in the figure.
        name: label of a curve.
        heading: heading of a column, with the unit.
        digits: digits after the decimal point.
        scale: factor that converts the number to the unit.
        read: returns the number of a drift, or None if it is unknown.
    """

    measure: str
    name: str
    heading: str
    digits: int
    scale: float
    read: Callable[[Drift], float | None]

    def value(self, drift: Drift) -> float | None:
        """Return the number in its unit."""
        value = self.read(drift)
        return None if value is None else self.scale * value

    def text(self, drift: Drift | None) -> str:
        """Return the formatted number; "n/a" if unknown, "–" if the drift was not measured."""
        if drift is None:
            return "–"
        value = self.value(drift)
        return "n/a" if value is None else self.written(value)

    def written(self, value: float) -> str:
        """Format a number, never as a negative zero."""
        return f"{round(value, self.digits) + 0.0:.{self.digits}f}"


def drift_columns(layers: Sequence[int]) -> list[DriftColumn]:
    """Return the columns of a drift, those of the edited layers first."""

    def weight(layer: int) -> DriftColumn:
        return DriftColumn(
            measure="weights",
            name=f"layer {layer}",
            heading=f"|ΔW|/|W| layer {layer}, %",
            digits=3,
            scale=100.0,
            read=lambda drift: drift.weights.get(layer),
        )

    return [
        *map(weight, layers),
        DriftColumn(
            measure="kl",
            name="KL",
            heading="KL, nats",
            digits=5,
            scale=1.0,
            read=lambda drift: drift.kl,
        ),
        DriftColumn(
            measure="disagreement",
            name=NAMES["disagreement"],
            heading=f"{NAMES['disagreement']}, %",
            digits=2,
            scale=100.0,
            read=lambda drift: drift.disagreement,
        ),
        DriftColumn(
            measure="perplexity",
            name=NAMES["perplexity"],
            heading=f"{NAMES['perplexity']}, %",
            digits=3,
            scale=100.0,
            read=lambda drift: drift.perplexity_change,
        ),
        DriftColumn(
            measure="neighbors",
            name=NAMES["neighbors"],
            heading=f"{NAMES['neighbors']}, %",
            digits=1,
            scale=100.0,
            read=lambda drift: drift.neighbors_changed,
        ),
        DriftColumn(
            measure="",
            name="outside",
            heading="outside the null space, %",
            digits=4,
            scale=100.0,
            read=lambda drift: drift.outside,
        ),
    ]


def title(measure: str) -> str:
    """Return the title of a chart of a measure, with the unit."""
    return f"{NAMES[measure]}, {_UNITS[measure]}"


def limits(measure: str) -> tuple[float, float]:
    """Return the lower bounds of the bands "watch" and "bad" of a measure, in its display unit."""
    scale = 100.0 if _UNITS[measure] == "%" else 1.0
    watch, bad = BANDS[measure]
    return scale * watch, scale * bad


def reason(drift: Drift) -> str:
    """Return the band and the measures that cause it, such as ``watch: perplexity change``."""
    causes = [NAMES[name] for name, band in drift.bands.items() if band == drift.band]
    return drift.band if drift.band == "ok" else f"{drift.band}: {', '.join(causes)}"


def drift_html(drifts: Mapping[int, Drift], applied: int) -> str:
    """Return a table of the drift of states, newest first, and a figure, as HTML.

    Args:
        drifts: by number of edits; 0 is the unedited model.
        applied: number of edits in the current state; later edits are undone.
    """
    layers = sorted({layer for drift in drifts.values() for layer in drift.weights})
    columns = drift_columns(layers)
    rows = [
        (
            str(number) + (" (undone)" if number > applied else ""),
            reason(drift),
            *(column.text(drift) for column in columns),
        )
        for number, drift in sorted(drifts.items(), reverse=True)
    ]
    headings = ("edits", "band", *(column.heading for column in columns))
    return html_table(headings, rows) + figure_html(
        drift_svg(drifts, applied), words(drifts, applied)
    )


def words(drifts: Mapping[int, Drift], applied: int) -> str:
    """Return a text alternative of the figure, in two sentences."""
    last = max((number for number in drifts if number <= applied), default=0)
    first = f"Drift by number of edits, {len(drifts)} states measured of which the last is {last}."
    drift = drifts.get(last)
    if drift is None:
        return first
    numbers = [
        f"{NAMES[column.measure]} {column.text(drift)} {_UNITS[column.measure]}"
        for column in drift_columns(())
        if column.measure
    ]
    weights = f"weights changed by at most {100 * drift.largest_change:.2f} %"
    return f"{first} There: {', '.join([weights, *numbers])}."


def drift_svg(drifts: Mapping[int, Drift], applied: int) -> str:
    """Return a chart of each measure against the number of edits; hollow points are undone."""
    layers = sorted({layer for drift in drifts.values() for layer in drift.weights})
    columns = drift_columns(layers)
    x, y = fig.Axis("edits", integer=True), fig.Axis(margins=(0.12, 0.12))
    panels = []
    for measure in NAMES:
        of_measure = [column for column in columns if column.measure == measure]
        curves = []
        for index, column in enumerate(of_measure):
            color, dashes = fig.stroke(index)
            points = [(n, column.value(drift)) for n, drift in sorted(drifts.items())]
            curves.append(fig.Curve(*fig.coordinates(points), color, column.name, dashes=dashes))
            for hollow in (False, True):
                part = fig.coordinates(point for point in points if (point[0] > applied) is hollow)
                curves.append(fig.Curve(*part, color, width=0, marker="o", size=4, hollow=hollow))
        highest = max((value or 0.0 for curve in curves for value in curve.y), default=0.0)
        rules = tuple(
            fig.Rule(limit, fig.VERMILLION, text=name, width=1.0)
            for limit, name in zip(limits(measure), ("watch", "bad"), strict=True)
            if limit <= 1.5 * highest
        )
        legend = fig.Legend("lower right") if 1 < len(of_measure) <= len(fig.STROKES) else None
        heading = _SHORT.get(measure, title(measure))
        panels.append(fig.Panel(x, y, heading, tuple(curves), rules, legend=legend))
    return render_svg(fig.Figure(11.0, 2.6, tuple(panels), columns=len(panels), small=True))
