"""What a picture shows, as numbers: read from matplotlib, so that another library can draw it too.

A picture stays the text that it is. It carries its :class:`Drawing` only for who asks, so that the
numbers on an interactive figure are those of the picture, and nothing is described twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as MatplotlibAxis
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Axis:
    """One axis of a panel."""

    title: str
    log: bool
    limits: tuple[float, float]
    """From the left or the bottom; the first is the larger one where the axis is reversed."""
    ticks: tuple[tuple[float, str], ...]
    """Places and what is written there, where these are fixed; else empty."""
    written: bool
    """Whether anything is written at the ticks; not where a panel beside it says the same."""


@dataclass(frozen=True)
class Curve:
    """Points, joined by a line, marked, or both."""

    name: str
    """Empty where the legend does not name it."""
    x: Numbers
    y: Numbers
    color: str
    width: float
    """Of the line in points; 0 where none is drawn."""
    dashes: tuple[float, ...]
    """Lengths of strokes and gaps as multiples of the width; empty for a whole line."""
    marker: str
    """As matplotlib names it; empty where points are not marked."""
    size: float
    hollow: bool
    marked: tuple[int, ...] | None
    """Indices of the points that are marked; None for all."""


@dataclass(frozen=True)
class Rule:
    """A line from one side of a panel to the other."""

    at: float
    upright: bool
    words: str
    """What is written beside it."""
    color: str
    width: float
    dashes: tuple[float, ...]


@dataclass(frozen=True)
class Cells:
    """A map of colored cells."""

    x: Numbers
    """Middles of the columns."""
    y: Numbers
    """Middles of the rows."""
    values: tuple[Numbers, ...]
    """Row after row; None where there is no value."""
    limits: tuple[float, float]
    """Values of the first and the last color."""
    colors: str
    """The name of the scale."""
    scale: str | None
    """The title of the scale beside the map; None where the numbers stand in the cells."""


@dataclass(frozen=True)
class Panel:
    """A pair of axes and all that is drawn in it."""

    row: int
    column: int
    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...]
    rules: tuple[Rule, ...]
    cells: tuple[Cells, ...]


@dataclass(frozen=True)
class Drawing:
    """All panels of a picture; those of a diagram, which has no axes, are none."""

    height: float = 0.0
    """In inches."""
    rows: int = 0
    widths: tuple[float, ...] = ()
    """Of the columns, relative to each other."""
    panels: tuple[Panel, ...] = ()


class Picture(str):
    """The text of a picture, SVG or HTML, equal to the same text without its drawing.

    What is made from it by adding or replacing is plain text again.

    Attributes:
        drawing: what the picture shows.
    """

    drawing: Drawing

    # The default lets copies be made: they know the text alone, and set the attribute afterwards.
    def __new__(cls, text: str, drawing: Drawing = Drawing()) -> Picture:
        made = super().__new__(cls, text)
        made.drawing = drawing
        return made


def drawing_of(figure: Figure) -> Drawing:
    """What is drawn on a figure; call it where its style holds, after it was saved."""
    shown = [axes for axes in figure.axes if axes.axison and axes.get_label() != "<colorbar>"]
    if not shown:
        return Drawing()
    grid = _place(shown[0]).get_gridspec()
    widths = grid.get_width_ratios() or [1.0] * grid.ncols
    return Drawing(
        float(figure.get_figheight()),
        grid.nrows,
        tuple(float(one) for one in widths),
        tuple(_panel(axes) for axes in shown),
    )


def _place(axes: Axes) -> Any:
    place = axes.get_subplotspec()
    assert place is not None, "pictures place their axes by subplots()"
    return place


def _panel(axes: Axes) -> Panel:
    from matplotlib.collections import QuadMesh

    place = _place(axes)
    curves, rules = [], []
    for line in axes.get_lines():
        # A line across the panel has one coordinate in the data's units and one in the panel's.
        if line.get_transform() == axes.get_xaxis_transform(which="grid"):
            rules.append(_rule(axes, line, upright=True))
        elif line.get_transform() == axes.get_yaxis_transform(which="grid"):
            rules.append(_rule(axes, line, upright=False))
        else:
            curves.append(_curve(line))
    return Panel(
        place.rowspan.start,
        place.colspan.start,
        _plain(axes.get_title(loc="left")),
        _axis(axes.xaxis, axes.get_xlim(), "labelbottom"),
        _axis(axes.yaxis, axes.get_ylim(), "labelleft"),
        tuple(curve for curve in curves if curve.x),
        tuple(rules),
        tuple(_cells(mesh) for mesh in axes.collections if isinstance(mesh, QuadMesh)),
    )


def _axis(axis: MatplotlibAxis, limits: tuple[float, float], written: str) -> Axis:
    from matplotlib.ticker import FixedLocator

    locator, formatter = axis.get_major_locator(), axis.get_major_formatter()
    places = list(locator()) if isinstance(locator, FixedLocator) else []
    words = formatter.format_ticks(places) if places else []
    return Axis(
        _plain(axis.get_label_text()),
        axis.get_scale() == "log",
        (float(limits[0]), float(limits[1])),
        tuple((float(at), _plain(word)) for at, word in zip(places, words, strict=True)),
        bool(axis.get_tick_params().get(written, True)),
    )


def _curve(line: Line2D) -> Curve:
    name, marker = str(line.get_label()), str(line.get_marker())
    marked: Any = line.get_markevery()
    x, y = (_numbers(values) for values in (line.get_xdata(False), line.get_ydata(False)))
    return Curve(
        "" if name.startswith("_") else _plain(name),
        x,
        y,
        _hex(line),
        0.0 if line.get_linestyle() == "None" else float(line.get_linewidth()),
        _dashes(line),
        "" if marker == "None" else marker,
        float(line.get_markersize()),
        line.get_fillstyle() == "none",
        None if marked is None else tuple(range(len(x))[one] for one in marked),
    )


def _rule(axes: Axes, line: Line2D, upright: bool) -> Rule:
    from matplotlib.text import Annotation

    at = float(np.ravel(line.get_xdata() if upright else line.get_ydata())[0])
    units = ("data", "axes fraction") if upright else ("axes fraction", "data")
    words = [
        text.get_text()
        for text in axes.texts
        if isinstance(text, Annotation)
        and text.xycoords == units
        and float(text.xy[0 if upright else 1]) == at
    ]
    return Rule(
        at, upright, _plain(" ".join(words)), _hex(line), float(line.get_linewidth()), _dashes(line)
    )


def _cells(mesh: QuadMesh) -> Cells:
    corners: Any = mesh.get_coordinates()
    values: Any = mesh.get_array()
    rows: Any = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    low, high = mesh.get_clim()
    scale = mesh.colorbar
    assert low is not None and high is not None, "the limits are known once the map is drawn"
    return Cells(
        _numbers((corners[0, :-1, 0] + corners[0, 1:, 0]) / 2),
        _numbers((corners[:-1, 0, 1] + corners[1:, 0, 1]) / 2),
        tuple(_numbers(row) for row in rows),
        (float(low), float(high)),
        mesh.get_cmap().name,
        None if scale is None else _plain(scale.ax.get_ylabel()),
    )


def _numbers(values: Any) -> Numbers:
    filled: Any = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)
    return tuple(float(one) if np.isfinite(one) else None for one in filled)


def _hex(line: Line2D) -> str:
    from matplotlib.colors import to_hex

    return to_hex(line.get_color())


def _dashes(line: Line2D) -> tuple[float, ...]:
    # matplotlib says only "--" of a pattern of one's own; the pattern itself has no public name.
    _, pattern = line._unscaled_dash_pattern  # type: ignore[attr-defined]
    return tuple(float(one) for one in pattern or ())


def _plain(text: str) -> str:
    """Text as it is read: a dollar sign that stands for itself is escaped in matplotlib."""
    return text.replace(r"\$", "$")
