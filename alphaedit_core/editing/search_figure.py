"""Static figure of a target search: the loss terms and each target's probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

if TYPE_CHECKING:
    from .search_trace import Trace


def trace_html(traces: Sequence[Trace]) -> str:
    """Return the figure of a target search, with facts numbered from 1; "" without traces."""
    if not traces:
        return ""
    count = len(traces)
    facts = "1 fact" if count == 1 else f"{count} facts"
    loss = [np.mean([trace.loss[at] for trace in traces]) for at in (0, -1)]
    chance = [np.mean([trace.probability[at] for trace in traces]) for at in (0, -1)]
    alt = (
        f"Search for the target values of {facts}, on average: loss {loss[0]:.2f} at the first "
        f"step and {loss[1]:.2f} at the last; probability of the target {chance[0]:.3f} and "
        f"{chance[1]:.3f}; {sum(trace.converged for trace in traces)} of {count} converged."
    )
    html = figure_html(trace_svg(traces), alt)
    hidden = count - len(_lowest_first(traces))
    if not hidden:
        return html
    return f"{html}<p>{hidden} facts with the highest probability at the end are not shown.</p>"


def trace_svg(traces: Sequence[Trace]) -> str:
    """Return the figure: mean loss terms over the facts, and the probability of each target."""
    steps = max(len(trace.nll) for trace in traces)
    shown = fig.sample_indices(steps, fig.MAX_POINTS // 8)
    step = fig.Axis("step", limits=(0.5, steps + 0.5), integer=True)
    terms: tuple[tuple[str, list[Sequence[float]], str, fig.Dashes], ...] = (
        ("loss", [trace.loss for trace in traces], fig.GRAY, ()),
        ("target", [trace.nll for trace in traces], fig.BLUE, (5, 1.5)),
        ("KL", [trace.kl for trace in traces], fig.VERMILLION, (1, 1.2)),
        ("decay", [trace.decay for trace in traces], fig.GREEN, (5, 1.5, 1, 1.5)),
    )
    means = []
    for name, rows, color, dashes in terms:
        # Converged facts keep their last value, so that the mean is over all facts.
        mean = np.mean([_pad_with_last(row, steps) for row in rows], axis=0)
        at = shown[mean[shown] > 0]
        x, y, dot = tuple(at + 1), tuple(mean[at]), "." if len(at) == 1 else ""
        means.append(fig.Curve(x, y, color, name, dashes=dashes, marker=dot))
    one = len(traces) == 1
    left = fig.Panel(
        step,
        fig.Axis(log=True, margins=(0.05, 0.325)),  # room for the legend
        "loss and its terms" + ("" if one else f", mean of {len(traces)} facts"),
        tuple(means),
        legend=fig.Legend("upper right", columns=2),
    )
    order = _lowest_first(traces)
    labeled = order[: len(fig.STROKES)]
    curves = []
    for number in [*reversed(order[len(labeled) :]), *sorted(labeled)]:
        probability = np.asarray(traces[number].probability)
        at = shown[shown < len(probability)]
        color, dashes = fig.stroke(order.index(number))
        name, width = (f"fact {number + 1}", 1.8) if number in labeled else ("", 0.8)
        mark = "o" if traces[number].converged else "x"
        x, y = tuple(at + 1), tuple(probability[at])
        curves.append(fig.Curve(x, y, color, name, width, dashes, mark, 5, last_only=True))
    right = fig.Panel(
        step,
        fig.Axis(limits=(-0.03, 1.03)),
        "probability of the target (● converged, × not)",
        tuple(curves),
        legend=None if one else fig.Legend("lower right"),
    )
    return render_svg(fig.Figure(8.0, 2.6, (left, right), columns=2))


def _lowest_first(traces: Sequence[Trace]) -> list[int]:
    """Return the indices of the facts to draw, by ascending final probability."""
    steps = max(len(trace.nll) for trace in traces)
    most = max(len(fig.STROKES), fig.MAX_POINTS // steps)
    order = sorted(range(len(traces)), key=lambda i: (traces[i].probability[-1], i))
    return order[:most]


def _pad_with_last(values: Sequence[float], length: int) -> np.ndarray:
    return np.array([*values, *[values[-1]] * (length - len(values))])
