"""Drift of every state of the history: stacked charts over the number of edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from plotly.subplots import make_subplots

from alphaedit_core.side_effects.drift import Drift
from alphaedit_core.side_effects.drift_figure import NAMES, drift_columns, limits, title, words
from alphaedit_widgets.components.colors import AFTER, SERIES
from alphaedit_widgets.components.live_figure import LiveFigure

_DASHES = ("solid", "dash", "dot", "dashdot")
#: Maximum number of tick labels.
_LABELS = 20


class DriftFigure(LiveFigure):
    """Five charts: weights by layer, KL, disagreement, perplexity, neighbors.

    Args:
        layers: the edited layers; one curve each.

    Attributes:
        layers: the same.
        columns: the quantity of each curve, in order.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self.layers = tuple(layers)
        self.columns = [column for column in drift_columns(layers) if column.measure]
        measures = list(NAMES)
        figure = make_subplots(
            len(measures), 1, shared_xaxes=True, vertical_spacing=0.055,
            subplot_titles=[title(measure) for measure in measures],
        )  # fmt: skip
        for row, column in enumerate(self.columns):
            several = column.measure == "weights"
            color = SERIES[row % len(SERIES)] if several else SERIES[0]
            figure.add_scatter(
                x=[], y=[], name=column.name, mode="lines+markers", showlegend=several,
                line={
                    "color": color, "width": 2,
                    "dash": _DASHES[row // len(SERIES) % len(_DASHES)] if several else "solid",
                },
                marker={"size": 8, "symbol": [], "opacity": []},
                hovertemplate=f"edit %{{x}}: %{{y:.{column.digits}f}}",
                row=1 + measures.index(column.measure), col=1,
            )  # fmt: skip
        for row, measure in enumerate(measures, start=1):
            for limit, name, dash in zip(
                limits(measure), ("watch", "bad"), ("dot", "dash"), strict=True
            ):
                figure.add_hline(
                    limit, row=row, col=1, opacity=0.8,
                    line={"color": AFTER, "width": 1, "dash": dash},
                    annotation={"text": name, "font": {"size": 10}, "showarrow": False},
                    annotation_position="top left",
                )  # fmt: skip
        figure.update_xaxes(title_text="edit", row=len(measures), col=1)
        figure.update_layout(
            height=150 * len(measures),
            margin={"l": 60, "r": 15, "t": 50, "b": 45},
            legend={"orientation": "h", "y": 1.03, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        )
        super().__init__(figure, "Drift by number of edits; nothing has been measured yet.")

    def draw(self, drifts: Mapping[int, Drift], applied: int) -> None:
        """Draw the drift of the given states.

        Args:
            drifts: drift by number of edits.
            applied: the current state; later states are undone and drawn hollow and pale.
        """
        numbers = sorted(drifts)
        marker: dict[str, Any] = {
            "symbol": ["circle-open" if number > applied else "circle" for number in numbers],
            "opacity": [0.45 if number > applied else 1.0 for number in numbers],
        }
        step = 1 + (max(numbers, default=0) // _LABELS)
        ticks = [number for number in numbers if number % step == 0]
        curves = [[column.value(drifts[number]) for number in numbers] for column in self.columns]
        with self.changing() as figure:
            for line, values in zip(figure.data, curves, strict=True):
                line.x, line.y = numbers, values
                line.marker.symbol, line.marker.opacity = marker["symbol"], marker["opacity"]
            figure.update_xaxes(
                tickmode="array", tickvals=ticks, ticktext=[str(number) for number in ticks],
                range=[-0.5, max(numbers, default=0) + 0.5],
            )  # fmt: skip
            for row, measure in enumerate(NAMES, start=1):
                plotted = [
                    value
                    for column, values in zip(self.columns, curves, strict=True)
                    if column.measure == measure
                    for value in values
                    if value is not None
                ]
                figure.update_yaxes(range=span(plotted, *limits(measure)), row=row, col=1)
        self.describe(words(drifts, applied))


def span(values: Sequence[float], watch: float, bad: float) -> list[float]:
    """Return the range of an axis: all values, and a limit only if they come near it.

    Plotly's automatic range includes every limit line, which would flatten small drifts.

    Args:
        values: the plotted values.
        watch: the lower limit.
        bad: the upper one.
    """
    finite = [value for value in values if isfinite(value)]
    high = max([watch / 20, *finite])
    low = min([0.0, *finite])
    for limit in (watch, bad):
        if high > limit / 2:
            high = max(high, limit)
    margin = 0.12 * (high - low)
    return [low - margin, high + margin]
