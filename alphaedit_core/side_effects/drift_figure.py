"""Drift as it is shown: columns of a table, the same numbers as a picture, and words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alphaedit_core.display.svg import _STROKES, GRAY, VERMILLION, _image, _svg, plain
from alphaedit_core.display.tables import html_table

from .drift import BANDS, Drift

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What each number is called, in words.
NAMES: Mapping[str, str] = {
    "weights": "change of the weights, |ΔW| / |W|",
    "kl": "KL(before ‖ after), per token",
    "disagreement": "next token differs",
    "perplexity": "perplexity change",
    "neighbors": "neighbors changed",
}
#: Titles for a picture with little room.
_SHORT = {"weights": "|ΔW| / |W|, %", "kl": "KL, nats per token"}
_UNITS = {"weights": "%", "kl": "nats", "disagreement": "%", "perplexity": "%", "neighbors": "%"}


@dataclass(frozen=True)
class Column:
    """One number of a drift as it is shown.

    Attributes:
        measure: its name in ``BANDS``; "" for a number that has no band and is not drawn.
        name: what a curve of it is called.
        heading: what a column of it is called, with the unit.
        digits: digits after the point.
        scale: what the number is multiplied by to have that unit.
        read: takes the number out of a drift, None where it is not known.
    """

    measure: str
    name: str
    heading: str
    digits: int
    scale: float
    read: Callable[[Drift], float | None]

    def value(self, drift: Drift) -> float | None:
        """The number in its unit."""
        value = self.read(drift)
        return None if value is None else self.scale * value

    def text(self, drift: Drift | None) -> str:
        """The number to the shown digits; "n/a" where there is none, "–" if not measured."""
        if drift is None:
            return "–"
        value = self.value(drift)
        return "n/a" if value is None else self.written(value)

    def written(self, value: float) -> str:
        """A number to the shown digits, never a negative zero."""
        return f"{round(value, self.digits) + 0.0:.{self.digits}f}"


def columns(layers: Sequence[int]) -> list[Column]:
    """The numbers of a drift, one for each edited layer first."""

    def weight(layer: int) -> Column:
        return Column(
            "weights", f"layer {layer}", f"|ΔW|/|W| layer {layer}, %", 3, 100.0,
            lambda drift: drift.weights.get(layer),
        )  # fmt: skip

    return [
        *map(weight, layers),
        Column("kl", "KL", "KL, nats", 5, 1.0, lambda drift: drift.kl),
        Column(
            "disagreement", NAMES["disagreement"], f"{NAMES['disagreement']}, %", 2, 100.0,
            lambda drift: drift.disagreement,
        ),
        Column(
            "perplexity", NAMES["perplexity"], f"{NAMES['perplexity']}, %", 3, 100.0,
            lambda drift: drift.perplexity_change,
        ),
        Column(
            "neighbors", NAMES["neighbors"], f"{NAMES['neighbors']}, %", 1, 100.0,
            lambda drift: drift.neighbors_changed,
        ),
        Column("", "outside", "outside the null space, %", 4, 100.0, lambda drift: drift.outside),
    ]  # fmt: skip


def title(measure: str) -> str:
    """What a chart of a measure is called, with the unit."""
    return f"{NAMES[measure]}, {_UNITS[measure]}"


def limits(measure: str) -> tuple[float, float]:
    """From where on a measure is to be watched, and is bad, in the unit in which it is shown."""
    scale = 100.0 if _UNITS[measure] == "%" else 1.0
    watch, bad = BANDS[measure]
    return scale * watch, scale * bad


def reason(drift: Drift) -> str:
    """The band and what puts the drift into it: ``watch: perplexity change``."""
    causes = [NAMES[name] for name, word in drift.bands.items() if word == drift.band]
    return drift.band if drift.band == "ok" else f"{drift.band}: {', '.join(causes)}"


def drift_html(drifts: Mapping[int, Drift], applied: int) -> str:
    """A table of the drift of states, newest first, and their picture.

    Args:
        drifts: by number of edits; 0 is the unedited model.
        applied: the present state; later ones are undone.
    """
    layers = sorted({layer for drift in drifts.values() for layer in drift.weights})
    shown = columns(layers)
    rows = [
        (
            str(number) + (" (undone)" if number > applied else ""),
            reason(drift),
            *(column.text(drift) for column in shown),
        )
        for number, drift in sorted(drifts.items(), reverse=True)
    ]
    headings = ("edits", "band", *(column.heading for column in shown))
    return html_table(headings, rows) + _image(drift_svg(drifts, applied), words(drifts, applied))


def words(drifts: Mapping[int, Drift], applied: int) -> str:
    """What the picture shows, in two sentences."""
    last = max((number for number in drifts if number <= applied), default=0)
    first = f"Drift by number of edits, {len(drifts)} states measured of which the last is {last}."
    drift = drifts.get(last)
    if drift is None:
        return first
    said = [
        f"{NAMES[column.measure]} {column.text(drift)} {_UNITS[column.measure]}"
        for column in columns(())
        if column.measure
    ]
    most = f"weights changed by at most {100 * drift.largest_change:.2f} %"
    return f"{first} There: {', '.join([most, *said])}."


def drift_svg(drifts: Mapping[int, Drift], applied: int) -> str:
    """Each measure against the number of edits; hollow points are undone."""
    numbers = sorted(drifts)
    layers = sorted({layer for drift in drifts.values() for layer in drift.weights})
    shown = columns(layers)

    def draw(figure: Figure) -> None:
        for axes, measure in zip(figure.subplots(1, len(NAMES)).flat, NAMES, strict=True):
            curves = [column for column in shown if column.measure == measure]
            highest = 0.0
            for place, column in enumerate(curves):
                named = place < len(_STROKES)
                color, dashes = _STROKES[place] if named else (GRAY, "-")
                points = [(n, column.value(drifts[n])) for n in numbers]
                known = [(n, value) for n, value in points if value is not None]
                x, y = [n for n, _ in known], [value for _, value in known]
                highest = max([highest, *y])
                axes.plot(x, y, color=color, linestyle=dashes, label=plain(column.name))
                for hollow in (False, True):
                    some = [(n, value) for n, value in known if (n > applied) is hollow]
                    axes.plot(
                        [n for n, _ in some], [value for _, value in some], "o", color=color,
                        markersize=4, fillstyle="none" if hollow else "full",
                    )  # fmt: skip
            for limit, name in zip(limits(measure), ("watch", "bad"), strict=True):
                if limit <= 1.5 * highest:
                    axes.axhline(limit, color=VERMILLION, linestyle=(0, (5, 2)), linewidth=1.0)
                    axes.annotate(
                        name, (0.02, limit), xycoords=("axes fraction", "data"),
                        xytext=(0, -2), textcoords="offset points", va="top", fontsize=7,
                    )  # fmt: skip
            axes.margins(y=0.12)
            axes.set_title(_SHORT.get(measure, title(measure)), fontsize=8)
            axes.set_xlabel("edits")
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
            if 1 < len(curves) <= len(_STROKES):
                axes.legend(fontsize=7, loc="lower right", labelspacing=0.2)

    return _svg(11.0, 2.6, draw)
