"""The figure of one layer's spectrum: three views, the threshold as a line that can be dragged.

Eigenvalues are drawn as their log10 on a linear axis, and so is the index where it is logarithmic:
then a position of a shape is the very number that the slider holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_widgets.components.colors import AFTER, BEFORE, GOOD, NOTE
from alphaedit_widgets.components.live_figure import LiveFigure

from .scales import (
    DEFAULT,
    cumulative_energy,
    decimated,
    from_log,
    histogram,
    log_eigenvalues,
    visible_range,
)

View = Literal["eigenvalues", "cumulative energy", "histogram"]
Index = Literal["linear", "log"]

VIEWS: tuple[View, ...] = ("eigenvalues", "cumulative energy", "histogram")
INDICES: tuple[Index, ...] = ("linear", "log")
_QUIET = "#777777"


class SpectrumFigure(LiveFigure):
    """One layer's eigenvalues, cumulative energy, or their histogram, with the kept part shaded.

    ``figure.data``: 0 eigenvalues, 1 cumulative energy, 2 massive directions, 3 histogram.
    ``figure.layout.shapes``: 0 threshold, 1 kept part, 2 AlphaEdit's default.

    Args:
        dragged: given the threshold that the line was dragged to: an absolute one where the axis
            is that of eigenvalues, a rank where it is the index.
    """

    def __init__(self, dragged: Callable[[Threshold], None]) -> None:
        self._dragged = dragged
        self._spectrum: Spectrum | None = None
        self._view: View = "eigenvalues"
        self._index: Index = "linear"
        self._line_position = 0.0
        self._shown_range: tuple[float, float] | None = None
        super().__init__(_empty(), "The spectrum is not collected yet.")
        self.figure.layout.on_change(self._shapes_changed, "shapes")

    def draw(
        self, spectrum: Spectrum, view: View, index: Index, threshold: Threshold, line: float
    ) -> None:
        """Show a layer in a view.

        Args:
            spectrum: of the layer.
            view: what of it.
            index: whether directions are counted on a linear or a logarithmic axis.
            threshold: where the kept space ends.
            line: log10 of the eigenvalue at which the line stands.
        """
        self._spectrum, self._view, self._index = spectrum, view, index
        logs, indices = log_eigenvalues(spectrum), decimated(spectrum.size)
        x = self._axis(indices + 1.0)
        massive = np.arange(spectrum.num_massive_directions)
        centers, counts = histogram(spectrum)
        curve, bars = view == "eigenvalues", view == "histogram"
        with self.changing() as figure:
            eigenvalues, energy, marks, histogram_bars = figure.data
            eigenvalues.x, eigenvalues.y, eigenvalues.visible = x, logs[indices], curve
            energy.x, energy.y, energy.visible = x, cumulative_energy(spectrum)[indices], not bars
            marks.x = self._axis(massive + 1.0)
            marks.customdata = [f"{value:.3g}" for value in spectrum.eigenvalues[massive]]
            marks.visible = curve and bool(spectrum.num_massive_directions)
            histogram_bars.x, histogram_bars.y = centers, counts
            histogram_bars.width = (centers[1] - centers[0]) * 0.92
            histogram_bars.visible = bars
            self._set_axes(figure.layout, int(counts.max()))
            self._shown_range = None
            self._set_threshold(figure, threshold, line)
        self._say(threshold)

    def move(self, threshold: Threshold, line: float) -> None:
        """Show another threshold on the layer that is drawn; the curves stay as they are."""
        with self.changing() as figure:
            self._set_threshold(figure, threshold, line)
        self._say(threshold)

    # -- inside ----------------------------------------------------------------------------------

    def _axis(self, index: np.ndarray) -> np.ndarray:
        """Return positions on the axis of directions, which counts from 1."""
        return np.log10(index) if self._index == "log" else index

    def _set_axes(self, layout: Any, most: int) -> None:
        spectrum, view = self._spectrum, self._view
        assert spectrum is not None
        size = spectrum.size
        ends = self._axis(np.array([1.0, size + 0.5]))
        layout.yaxis2.visible = view == "eigenvalues"
        if view == "histogram":
            layout.xaxis.title.text = "eigenvalue"
            layout.yaxis.title.text = "directions"
            layout.yaxis.update(tickmode="auto", range=[0, 1.08 * float(max(most, 1))])
            return
        layout.xaxis.title.text = "direction, largest eigenvalue first"
        layout.xaxis.range = [ends[0] - 0.012 * (ends[1] - ends[0]), ends[1]]
        if self._index == "log":
            ticks = [n for n in _round_numbers(size) if n <= size]
            layout.xaxis.update(
                tickmode="array",
                tickvals=[float(np.log10(n)) for n in ticks],
                ticktext=[f"{n:,}" for n in ticks],
            )
        else:
            layout.xaxis.update(tickmode="auto")
        if view == "cumulative energy":
            layout.yaxis.title.text = "cumulative share of the energy"
            layout.yaxis.update(tickmode="auto", range=[-0.02, 1.04])
        else:
            layout.yaxis.title.text = "eigenvalue"

    def _set_threshold(self, figure: Any, threshold: Threshold, line: float) -> None:
        spectrum, layout = self._spectrum, figure.layout
        assert spectrum is not None
        view, size, rank = self._view, spectrum.size, spectrum.rank(threshold)
        mark = float(np.log10(DEFAULT))
        # A threshold far from all eigenvalues widens the axis range, to keep its line visible.
        # Only if necessary: the user may have zoomed in.
        low, high = visible_range(spectrum, line)
        range_changed, self._shown_range = self._shown_range != (low, high), (low, high)
        kept_start, end = (float(v) for v in self._axis(np.array([size - rank + 0.5, size + 0.5])))
        default = float(self._axis(np.array([size - spectrum.rank(DEFAULT) + 0.5]))[0])
        if view == "eigenvalues":
            if range_changed:
                _powers(layout.yaxis, low, high)
            figure.data[2].y = np.full(spectrum.num_massive_directions, high - 0.025 * (high - low))
            self._line_position, kept = line, (kept_start, end)
            _horizontal(layout.shapes[0], line)
            _horizontal(layout.shapes[2], mark)
        elif view == "cumulative energy":
            self._line_position, kept = kept_start, (kept_start, end)
            _vertical(layout.shapes[0], kept_start)
            _vertical(layout.shapes[2], default)
        else:
            if range_changed:
                _powers(layout.xaxis, low, high)
            self._line_position, kept = line, (low, min(max(line, low), high))
            _vertical(layout.shapes[0], line)
            _vertical(layout.shapes[2], mark)
        # Of the line over the energy it is known only which data set it belongs to.
        figure.data[1].update(
            yaxis="y2" if view == "eigenvalues" else "y",
            line={"dash": "dot" if view == "eigenvalues" else "solid"},
        )
        layout.shapes[1].update(x0=kept[0], x1=kept[1])
        value, standard, shaded, massive = layout.annotations
        value.text = f"threshold {threshold}"
        shaded.update(x=sum(kept) / 2, text=f"kept: {rank:,}", visible=8 * rank > size)
        massive.update(
            x=float(self._axis(np.array([max(spectrum.num_massive_directions, 1)]))[0]),
            text=massive_mark(spectrum),
            visible=view == "eigenvalues" and bool(spectrum.num_massive_directions),
        )
        if view == "eigenvalues":
            value.update(xref="paper", x=0.005, xanchor="left", yref="y", y=line, yanchor="top")
            standard.update(xref="paper", x=0.995, xanchor="right", yref="y", y=mark)
            standard.yanchor = "bottom"
        else:
            position, default_position = (
                (kept_start, default) if view == "cumulative energy" else (line, mark)
            )
            value.update(xref="x", x=position, xanchor="auto", yref="paper", y=0.9, yanchor="top")
            standard.update(
                xref="x", x=default_position, xanchor="auto", yref="paper", y=1, yanchor="top"
            )
        layout.title.text = (
            f"Layer {spectrum.layer}: null-space rank {rank} / {size} at {threshold}"
        )

    def _say(self, threshold: Threshold) -> None:
        spectrum = self._spectrum
        assert spectrum is not None
        rank = spectrum.rank(threshold)
        self.describe(
            f"{self._view.capitalize()} of layer {spectrum.layer}, {spectrum.size} directions. The "
            f"threshold {threshold} keeps the {rank} with the smallest eigenvalues; they contain "
            f"{spectrum.leakage(threshold):.1%} of ordinary text's energy. "
            f"Massive directions: {spectrum.num_massive_directions}."
        )

    def _shapes_changed(self, _layout: Any, shapes: Any) -> None:
        """Report a dragged line; ignore moves that this figure made itself."""
        spectrum, line = self._spectrum, shapes[0]
        if spectrum is None:
            return
        ends, extent = (line.x0, line.x1), (line.y0, line.y1)
        if self._view == "eigenvalues":
            ends, extent = extent, ends
        # Dragging an end of the line moves only that end.
        moved = next((end for end in ends if abs(end - self._line_position) > 1e-9), None)
        if moved is None:
            if extent != (0, 1):  # pushed along itself
                with self.changing():
                    set_line = _horizontal if self._view == "eigenvalues" else _vertical
                    set_line(line, self._line_position)
            return
        if self._view == "cumulative energy":
            position = 10**moved if self._index == "log" else moved
            removed = min(max(round(position - 0.5), 0), spectrum.size)
            self._dragged(Threshold("rank", float(spectrum.size - removed)))
        else:
            self._dragged(from_log(moved))


def massive_mark(spectrum: Spectrum) -> str:
    """Return the label beside the mark of massive directions."""
    if not spectrum.num_massive_directions:
        return ""
    count = (
        "1 massive direction"
        if spectrum.num_massive_directions == 1
        else f"{spectrum.num_massive_directions} massive"
    )
    return f"{count}, up to {spectrum.eigenvalues[0]:.3g}: off the scale"


def _round_numbers(size: int) -> list[int]:
    return [step * 10**power for power in range(len(str(size))) for step in (1, 3)]


def _powers(axis: Any, low: float, high: float) -> None:
    """Return an axis of log10 values, labeled with the values themselves."""
    step = max(1, round((high - low) / 8))
    powers = list(range(int(np.ceil(low)), int(np.floor(high)) + 1, step))
    axis.update(
        range=[low, high],
        tickmode="array",
        tickvals=powers,
        ticktext=[f"10<sup>{power}</sup>".replace("-", "−") for power in powers],
    )


def _horizontal(line: Any, at: float) -> None:
    line.update(xref="paper", x0=0, x1=1, yref="y", y0=at, y1=at)


def _vertical(line: Any, at: float) -> None:
    line.update(xref="x", x0=at, x1=at, yref="paper", y0=0, y1=1)


def _empty() -> go.Figure:
    """Create all traces, empty: they must exist before the figure is shown."""
    figure = go.Figure()
    figure.add_scatter(
        x=[], y=[], name="eigenvalue", mode="lines", line={"color": BEFORE, "width": 2.2},
        hovertemplate="10^%{y:.2f}<extra>eigenvalue</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[], y=[], name="cumulative energy", mode="lines", yaxis="y2",
        line={"color": _QUIET, "dash": "dot", "width": 1.6},
        hovertemplate="%{y:.1%}<extra>cumulative energy</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[], y=[], name="massive", mode="markers", visible=False, showlegend=False,
        marker={"symbol": "triangle-up", "size": 11, "color": AFTER},
        hovertemplate="%{customdata}<extra>massive, off the scale</extra>",
    )  # fmt: skip
    figure.add_bar(
        x=[], y=[], name="directions", marker={"color": BEFORE}, visible=False,
        hovertemplate="%{y} directions near 10^%{x:.2f}<extra></extra>",
    )  # fmt: skip
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": 0, "y1": 0}
    figure.update_layout(
        height=380,
        margin={"l": 65, "r": 60, "t": 45, "b": 75},
        hovermode="x",
        title={"text": "", "x": 0, "xref": "paper", "font": {"size": 14}},
        legend={"orientation": "h", "y": -0.22},
        xaxis={"title": {"text": ""}, "zeroline": False},
        yaxis={"title": {"text": ""}, "zeroline": False},
        yaxis2={
            "title": {"text": "cumulative energy"}, "overlaying": "y", "side": "right",
            "range": [-0.02, 1.04], "tickformat": ".0%", "showgrid": False, "zeroline": False,
            "tickvals": [0, 0.25, 0.5, 0.75, 1],
        },
        shapes=[
            line | {"line": {"color": AFTER, "width": 3, "dash": "dash"}, "editable": True},
            {
                "type": "rect", "xref": "x", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1,
                "fillcolor": GOOD, "opacity": 0.13, "line": {"width": 0}, "layer": "below",
            },
            line | {"line": {"color": NOTE, "width": 1.5, "dash": "dot"}},
        ],
        annotations=[
            {"text": "", "showarrow": False},
            {"text": f"AlphaEdit's default {DEFAULT}", "showarrow": False},
            {"text": "", "showarrow": False, "xref": "x", "yref": "paper", "y": 0.02,
             "yanchor": "bottom"},
            {"text": "", "showarrow": False, "xref": "x", "xanchor": "left", "xshift": 10,
             "yref": "paper", "y": 0.985, "yanchor": "top", "visible": False},
        ],
    )  # fmt: skip
    return figure
