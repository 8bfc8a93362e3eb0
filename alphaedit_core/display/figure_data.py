"""Figures as plain data, to be rendered by more than one library.

:mod:`.svg` renders a figure with matplotlib, ``alphaedit_widgets.interactive_figure`` with plotly.
Both render text literally, except that of a :class:`Text`. The colors are those of Okabe and Ito
(2008); no information is in color alone.
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
#: Color and dashes of each curve that one panel can distinguish.
STROKES: tuple[tuple[str, Dashes], ...] = tuple(
    (color, dashes) for dashes in ((), (5, 1.5)) for color in (BLUE, VERMILLION, GREEN)
)
#: Approximate maximum of points in a figure; more could not be distinguished.
MAX_POINTS = 500


def stroke(index: int) -> tuple[str, Dashes]:
    """Return color and dashes of a panel's curve; solid gray beyond :data:`STROKES`."""
    return STROKES[index] if index < len(STROKES) else (GRAY, ())


def sample_indices(size: int, count: int = MAX_POINTS) -> np.ndarray:
    """Return about ``count`` indices of ``range(size)``: all at both ends, even steps between."""
    ends = min(count // 20, size)
    between = np.linspace(0, size - 1, min(count - 2 * ends, size)).round().astype(int)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(size - ends, size)]))


def coordinates(points: Iterable[tuple[float, float | None]]) -> tuple[Numbers, Numbers]:
    """Return x and y of the points, skipping those whose y is None."""
    known = [(x, y) for x, y in points if y is not None]
    return tuple(x for x, _ in known), tuple(y for _, y in known)


def data_limits(
    values: Iterable[float | None], *, log: bool = False, margins: Limits = (0.05, 0.05)
) -> Limits:
    """Return the limits of an axis that shows all values.

    Args:
        values: the values; those that cannot be on the axis are skipped.
        log: whether the axis is logarithmic.
        margins: padding below and above the values, as fractions of their range on the axis.
    """
    known = [value for value in values if value is not None and isfinite(value)]
    known = [log10(value) for value in known if value > 0] if log else known
    low, high = min(known, default=0.0), max(known, default=1.0)
    magnitude = max(abs(low), abs(high))
    if high - low <= 1e-15 * magnitude:  # a single value needs a range around it
        low, high = (
            (ceil(low) - 1, floor(high) + 1)
            if log
            else (low - 0.05 * (magnitude or 1), high + 0.05 * (magnitude or 1))
        )
    low, high = low - margins[0] * (high - low), high + margins[1] * (high - low)
    # Floats cannot represent larger or smaller powers.
    return (10 ** max(low, -323.0), 10 ** min(high, 308.0)) if log else (low, high)


@dataclass(frozen=True)
class Axis:
    """One axis of a panel.

    Attributes:
        label: title of the axis.
        log: whether it is logarithmic; values that are not above zero are not drawn then.
        limits: lower and upper limit; None for those of the data with ``margins``.
        margins: padding below and above the data, as fractions of its range.
        ticks: positions and labels of ticks; empty for ticks at round numbers.
        integer: whether ticks are at integers only.
        labeled: whether ticks have labels.
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
    """Points with a line, markers or both.

    Attributes:
        x, y: coordinates, equally many; None or a value that is not finite leaves a gap.
        color: ``#rrggbb``.
        name: its name in the legend; empty to leave it out.
        width: line width in points; 0 for no line.
        dashes: lengths of strokes and gaps as multiples of the width; empty for a solid line.
        marker: a marker of matplotlib: ``o``, ``.``, ``s``, ``^``, ``x`` or ``X``; empty for none.
        size: marker size in points.
        hollow: whether markers are outlines.
        last_only: whether only the last point has a marker.
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
    """A line across a panel.

    Attributes:
        at: position on the axis that it crosses.
        color: ``#rrggbb``.
        upright: whether it is vertical.
        text: label above a vertical line or below a horizontal one.
        text_right: whether the label of a horizontal line is at its right end.
        width: line width in points.
        dashes: as in :class:`Curve`.
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
    """A shaded range of the horizontal axis, from ``start`` to ``end``, with a label."""

    start: float
    end: float
    color: str
    text: str = ""


@dataclass(frozen=True)
class Text:
    """Text inside a panel; text between dollar signs is mathematics.

    Attributes:
        x, y: its position in data coordinates.
        text: the text.
        size: font size in points.
        offset: shift to the right and up, in points.
        align: part of the text at the position: ``left``, ``center`` or ``right``.
        vertical_align: likewise: ``center`` or ``bottom``.
        box: color of a box around the text; empty for none.
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
    """Colored cells; the cell of row r and column c covers y in [r, r + 1] and x in [c, c + 1].

    Attributes:
        values: (rows, columns); None for an empty cell.
        limits: values of the first and last color of the color map "cividis".
        color_label: title of the color bar; None for the value in each cell instead of a bar.
    """

    values: tuple[Numbers, ...]
    limits: Limits
    color_label: str | None = None


@dataclass(frozen=True)
class Legend:
    """The curves' names in ``columns``; ``location`` is matplotlib's name of the place."""

    location: str
    columns: int = 1


@dataclass(frozen=True)
class Panel:
    """A pair of axes and its content; ``framed`` is False for a diagram."""

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
        """Left and right limit of the horizontal axis."""
        return self._limits(self.x, [curve.x for curve in self.curves], upright=True)

    @property
    def y_limits(self) -> Limits:
        """Lower and upper limit of the vertical axis."""
        return self._limits(self.y, [curve.y for curve in self.curves], upright=False)

    def _limits(self, axis: Axis, values: list[Numbers], upright: bool) -> Limits:
        rules = tuple(rule.at for rule in self.rules if rule.upright is upright)
        return axis.limits or data_limits(chain(rules, *values), log=axis.log, margins=axis.margins)


@dataclass(frozen=True)
class Figure:
    """Panels in a grid.

    Attributes:
        width, height: size in inches.
        panels: the panels, row by row.
        columns: number of columns.
        column_widths: relative widths; empty for equal ones.
        legend: legend of all panels, each name once.
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
        """Number of rows."""
        return ceil(len(self.panels) / self.columns)


class FigureText(str):
    """A figure as SVG or HTML text, with its data; equal to the same plain string.

    String operations return plain strings.

    Attributes:
        figure: the figure's data, if any.
    """

    figure: Figure | None

    # copy and pickle pass the text only and set the attribute afterwards, hence the default.
    @override
    def __new__(cls, text: str, figure: Figure | None = None) -> FigureText:
        instance = super().__new__(cls, text)
        instance.figure = figure
        return instance
