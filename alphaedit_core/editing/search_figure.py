"""The search for target values as a static picture: loss terms, and each target's probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .search_trace import Trace
from alphaedit_core.display.svg import (
    _NAMED,
    _POINTS,
    _STROKES,
    BLUE,
    GRAY,
    GREEN,
    VERMILLION,
    _ends_and_between,
    _image,
    _svg,
)


def trace_html(traces: Sequence[Trace]) -> str:
    """The picture of a search for target values, facts numbered from 1, and what it leaves out."""
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
    picture = _image(trace_svg(traces), alt)
    hidden = count - len(_lowest_first(traces))
    if not hidden:
        return picture
    return f"{picture}<p>{hidden} facts with the highest probability at the end are not drawn.</p>"


def trace_svg(traces: Sequence[Trace]) -> str:
    """Loss terms (mean over the facts) and the target's probability (each fact) at every step."""
    steps = max(len(trace.nll) for trace in traces)
    shown = _ends_and_between(steps, _POINTS // 8)

    def draw(figure: Figure) -> None:
        left, right = figure.subplots(1, 2)
        terms = {
            "loss": ([trace.loss for trace in traces], GRAY, "-"),
            "target": ([trace.nll for trace in traces], BLUE, (0, (5, 1.5))),
            "KL": ([trace.kl for trace in traces], VERMILLION, (0, (1, 1.2))),
            "decay": ([trace.decay for trace in traces], GREEN, (0, (5, 1.5, 1, 1.5))),
        }
        left.set_yscale("log")
        for name, (rows, color, dashes) in terms.items():
            # A fact that has converged keeps its last value, so that all facts count in the mean.
            mean = np.mean([_held(row, steps) for row in rows], axis=0)
            at = shown[mean[shown] > 0]
            dot = "." if len(at) == 1 else None
            left.plot(at + 1, mean[at], color=color, linestyle=dashes, marker=dot, label=name)
        one = len(traces) == 1
        left.set_title("loss and its terms" + ("" if one else f", mean of {len(traces)} facts"))
        low, high = left.get_ylim()
        left.set_ylim(low, high * (high / low) ** 0.25)  # room for the legend
        left.legend(loc="upper right", ncols=2)
        drawn = _lowest_first(traces)
        for number in reversed(drawn):
            chance = np.asarray(traces[number].probability)
            at = shown[shown < len(chance)]
            place = drawn.index(number)
            named = place < _NAMED
            color, dashes = _STROKES[place] if named else (GRAY, "-")
            right.plot(
                at + 1,
                chance[at],
                color=color,
                linestyle=dashes,
                linewidth=1.8 if named else 0.8,
                marker="o" if traces[number].converged else "x",
                markevery=[-1],
                markersize=5,
                label=f"fact {number + 1}" if named else None,
            )
        right.set_ylim(-0.03, 1.03)
        right.set_title("probability of the target (● converged, × not)")
        if len(traces) > 1:
            handles, labels = right.get_legend_handles_labels()
            order = sorted(range(len(labels)), key=lambda i: int(labels[i].split()[1]))
            right.legend([handles[i] for i in order], [labels[i] for i in order], loc="lower right")
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.set_xlim(0.5, steps + 0.5)
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)

    return _svg(8.0, 2.6, draw)


def _lowest_first(traces: Sequence[Trace]) -> list[int]:
    """Indices of the facts that are drawn, the least probable at the end of the search first."""
    steps = max(len(trace.nll) for trace in traces)
    room = max(_NAMED, _POINTS // steps)
    order = sorted(range(len(traces)), key=lambda i: (traces[i].probability[-1], i))
    return order[:room]


def _held(values: Sequence[float], length: int) -> np.ndarray:
    return np.array([*values, *[values[-1]] * (length - len(values))])
