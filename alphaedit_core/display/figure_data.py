"""A figure described once as plain data, which more than one library can draw.

:mod:`.svg` draws a description with matplotlib, ``alphaedit_widgets.interactive_figure`` with
plotly. Both take text literally, except that of a :class:`Text`. Colors are those of Okabe and Ito
(2008), and nothing is said by color alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from math import ceil, floor, isfinite, log10

import numpy as np
from typing_extensions import override

Numbers = tuple[float | None, ...]
Limits = tuple[float, float]
Dashes = tuple[float, ...]

BLUE, VERMILLION, GREEN, GRAY = "#0072b2", "#d55e00", "#009e73", "#777777"
#: A color and dashes for each of the curves that one panel tells apart.
STROKES: tuple[tuple[str, Dashes], ...] = tuple(
    (color, dashes) for dashes in ((), (5, 1.5)) for color in (BLUE, VERMILLION, GREEN)
)
#: Points that a figure draws at most, about; more could not be told apart.
MAX_POINTS = 500


def stroke(place: int) -> tuple[str, Dashes]:
    """Color and dashes of a panel's curve number ``place``; solid gray beyond :data:`STROKES`."""
    return STROKES[place] if place < len(STROKES) else (GRAY, ())


def sample_indices(size: int, most: int = MAX_POINTS) -> np.ndarray:
    """Indices of ``range(size)``, about ``most`` of them: both ends whole, even steps between."""
    ends = min(most // 20, size)
    between = np.linspace(0, size - 1, min(most - 2 * ends, size)).round().astype(int)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(size - ends, size)]))


def coordinates(points: Iterable[tuple[float, float | None]]) -> tuple[Numbers, Numbers]:
    """The x and the y of some points; those whose y is None are left out."""
    known = [(x, y) for x, y in points if y is not None]
    return tuple(x for x, _ in known), tuple(y for _, y in known)


def data_limits(
    values: Iterable[float | None], *, log: bool = False, margins: Limits = (0.05, 0.05)
) -> Limits:
    """The ends of an axis that shows all of some values.

    Args:
        values: those that have no place on the axis are passed over.
        log: whether the axis is logarithmic.
        margins: room below and above the values, as shares of their range on the axis.
    """
    known = [value for value in values if value is not None and isfinite(value)]
    known = [log10(value) for value in known if value > 0] if log else known
    low, high = min(known, default=0.0), max(known, default=1.0)
    most = max(abs(low), abs(high))
    if high - low <= 1e-15 * most:  # one value needs a range around it
        low, high = (
            (ceil(low) - 1, floor(high) + 1)
            if log
            else (low - 0.05 * (most or 1), high + 0.05 * (most or 1))
        )
    low, high = low - margins[0] * (high - low), high + margins[1] * (high - low)
    # Beyond these powers there are no floats.
    return (10 ** max(low, -323.0), 10 ** min(high, 308.0)) if log else (low, high)


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        label: what it shows.
        log: whether it is logarithmic; what is not above zero is then not drawn.
        limits: from the left or the bottom; None for those of the data with ``margins``.
        margins: room below and above the data, as shares of its range.
        ticks: places and what is written there; empty for ticks at round numbers.
        integer: whether ticks stand at whole numbers only.
        labeled: whether anything is written at the ticks.
    """

    label: str = ""
    log: bool = False
    limits: Limits | None = None
    margins: Limits = (0.05, 0.05)
    ticks: tuple[tuple[float, str], ...] = ()
    integer: bool = False
    labeled: bool = True


@dataclass(frozen=True)
class Curve:
    """Points, joined by a line, marked, or both.

    Attributes:
        x, y: equally many coordinates; one that is None or not finite leaves a gap.
        color: ``#rrggbb``.
        name: what the legend calls it; empty where it does not.
        width: of the line in points; 0 for none.
        dashes: lengths of strokes and gaps as multiples of the width; empty for a solid line.
        marker: as matplotlib names it: ``o``, ``.``, ``s``, ``^``, ``x`` or ``X``; empty for none.
        size: of the markers in points.
        hollow: whether only the outline of markers is drawn.
        last_only: whether only the last point is marked.
        opacity: 0 to 1.
    """

    x: Numbers
    y: Numbers
    color: str
    name: str = ""
    width: float = 1.8
    dashes: Dashes = ()
    marker: str = ""
    size: float = 6.0
    hollow: bool = False
    last_only: bool = False
    opacity: float = 1.0


@dataclass(frozen=True)
class Rule:
    """A line from one side of a panel to the other.

    Attributes:
        at: its place on the axis that it crosses.
        color: ``#rrggbb``.
        upright: whether it crosses the horizontal axis.
        text: over an upright line, under another one.
        text_right: whether the text of a line that is not upright stands at its right end.
        width: in points.
        dashes: as those of a :class:`Curve`.
    """

    at: float
    color: str
    upright: bool = False
    text: str = ""
    text_right: bool = False
    width: float = 1.2
    dashes: Dashes = (5, 2)


@dataclass(frozen=True)
class Span:
    """A shaded part of the horizontal axis, from ``start`` to ``end``, with a word in it."""

    start: float
    end: float
    color: str
    text: str = ""


@dataclass(frozen=True)
class Text:
    """Text inside a panel; what stands between dollar signs is mathematics.

    Attributes:
        x, y: the point where it is put, in the axes' units.
        text: what is written.
        size: of the font in points.
        offset: right and up from the point, in points.
        align: which part of the text is put there: ``left``, ``center`` or ``right``.
        vertical_align: the same: ``center`` or ``bottom``.
        box: color of a box around it; empty for none.
    """

    x: float
    y: float
    text: str
    size: float = 9.0
    offset: tuple[float, float] = (0.0, 0.0)
    align: str = "center"
    vertical_align: str = "center"
    box: str = ""


@dataclass(frozen=True)
class Arrow:
    """A gray arrow between two points; ``width`` in points."""

    start: tuple[float, float]
    end: tuple[float, float]
    width: float = 1.3


@dataclass(frozen=True)
class HeatMap:
    """Colored cells: that of row r and column c lies between r and r + 1, c and c + 1.

    Attributes:
        values: (rows, columns); None for an empty cell.
        limits: values of the first and the last color of the map "cividis".
        color_label: title of the color bar; None for no bar, but the value in every cell.
    """

    values: tuple[Numbers, ...]
    limits: Limits
    color_label: str | None = None


@dataclass(frozen=True)
class Legend:
    """Names of the curves, in ``columns``; ``location`` as matplotlib names it."""

    location: str
    columns: int = 1


@dataclass(frozen=True)
class Panel:
    """A pair of axes and all that is drawn in it; ``framed`` is False for a diagram."""

    x: Axis = Axis()
    y: Axis = Axis()
    title: str = ""
    curves: tuple[Curve, ...] = ()
    rules: tuple[Rule, ...] = ()
    spans: tuple[Span, ...] = ()
    texts: tuple[Text, ...] = ()
    arrows: tuple[Arrow, ...] = ()
    heat_map: HeatMap | None = None
    legend: Legend | None = None
    framed: bool = True

    @property
    def x_limits(self) -> Limits:
        """The ends of the horizontal axis, from the left."""
        return self._limits(self.x, [curve.x for curve in self.curves], upright=True)

    @property
    def y_limits(self) -> Limits:
        """The ends of the vertical axis, from the bottom."""
        return self._limits(self.y, [curve.y for curve in self.curves], upright=False)

    def _limits(self, axis: Axis, values: list[Numbers], upright: bool) -> Limits:
        crossed = tuple(rule.at for rule in self.rules if rule.upright is upright)
        shown = chain(crossed, *values)
        return axis.limits or data_limits(shown, log=axis.log, margins=axis.margins)


@dataclass(frozen=True)
class Figure:
    """Panels in a grid.

    Attributes:
        width, height: in inches.
        panels: row after row.
        columns: of the grid.
        column_widths: relative to each other; empty for equal ones.
        legend: of all panels' curves, every name once.
        small: whether titles and legends are small, for many panels in a row.
    """

    width: float
    height: float
    panels: tuple[Panel, ...]
    columns: int = 1
    column_widths: tuple[float, ...] = ()
    legend: Legend | None = None
    small: bool = False

    @property
    def rows(self) -> int:
        """Rows of the grid."""
        return ceil(len(self.panels) / self.columns)


class FigureText(str):
    """The text of a figure, SVG or HTML, equal to the same text without its description.

    What is made from it by adding or replacing is plain text again.

    Attributes:
        figure: the description; None where there is none.
    """

    figure: Figure | None

    # The default lets copies be made: they know the text alone, and set the attribute afterwards.
    @override
    def __new__(cls, text: str, figure: Figure | None = None) -> FigureText:
        made = super().__new__(cls, text)
        made.figure = figure
        return made
