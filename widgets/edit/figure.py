"""Live curves of an edit: the loss terms and the probability of each target."""

from __future__ import annotations

from collections.abc import Sequence

from plotly.subplots import make_subplots

from alphaedit_core.display.escaping import in_figure
from alphaedit_core.editing.search_trace import Trace
from alphaedit_widgets.components.colors import SERIES
from alphaedit_widgets.components.live_figure import LiveFigure

#: Maximum number of curves; with more facts, the least likely targets are shown.
_CURVES = 8
_PARTS = (("nll", "−log P(target)"), ("kl", "KL"), ("decay", "decay"))
_DASHES = ("solid", "dash", "dot")


class RunFigure(LiveFigure):
    """Loss terms on the left and target probabilities on the right, by step."""

    def __init__(self) -> None:
        figure = make_subplots(
            1, 2, subplot_titles=("loss, mean over the facts", "probability of the target")
        )
        for (_, name), color, dash in zip(_PARTS, SERIES, _DASHES, strict=False):
            line = {"color": color, "dash": dash, "width": 2}
            figure.add_scatter(x=[], y=[], name=name, line=line, mode="lines", row=1, col=1)
        for index in range(_CURVES):
            line = {
                "color": SERIES[index % len(SERIES)],
                "dash": _DASHES[index // len(SERIES)],
                "width": 2,
            }
            figure.add_scatter(
                x=[], y=[], name="", line=line, mode="lines+markers", marker={"size": 4},
                visible=False, row=1, col=2,
            )  # fmt: skip
        figure.update_xaxes(title_text="step", rangemode="tozero")
        figure.update_yaxes(title_text="nats", rangemode="tozero", row=1, col=1)
        figure.update_yaxes(range=[-0.02, 1.02], row=1, col=2)
        figure.update_layout(
            height=330,
            margin={"l": 55, "r": 15, "t": 35, "b": 45},
            legend={"orientation": "h", "y": -0.25},
        )
        super().__init__(figure, "Loss and target probability per step; no edit has run yet.")

    def draw(self, traces: Sequence[Trace], names: Sequence[str], only: int | None = None) -> None:
        """Draw the current state of a search.

        Args:
            traces: one per fact; a running search may still extend them.
            names: labels of the facts.
            only: index of the one fact to show, None for all.
        """
        shown = list(range(len(traces))) if only is None else [only]
        if len(shown) > _CURVES:
            last = {i: traces[i].probability[-1] if traces[i].probability else 0.0 for i in shown}
            curves = sorted(sorted(shown, key=last.__getitem__)[:_CURVES])
        else:
            curves = shown
        steps = max((len(traces[i].nll) for i in shown), default=0)
        with self.changing() as figure:
            for line, (part, _) in zip(figure.data, _PARTS, strict=False):
                line.x, line.y = list(range(1, steps + 1)), means([traces[i] for i in shown], part)
            for position, line in enumerate(figure.data[len(_PARTS) :]):
                if position < len(curves):
                    values = list(traces[curves[position]].probability)
                    line.x, line.y = list(range(1, len(values) + 1)), values
                    line.name = in_figure(names[curves[position]])
                line.visible = position < len(curves)
            title = "probability of the target"
            if len(curves) < len(shown):
                title += f", {len(curves)} least likely of {len(shown)}"
            figure.layout.annotations[1].text = title
            subject = "mean over the facts" if only is None else in_figure(names[only])
            figure.layout.annotations[0].text = f"loss, {subject}"
        final = ", ".join(
            f"{names[i]} {traces[i].probability[-1]:.2f}" for i in curves if traces[i].probability
        )
        self.describe(f"After {steps} steps the target probabilities are: {final}.")


def means(traces: Sequence[Trace], part: str) -> list[float]:
    """Return the mean of a loss term over the facts, by step.

    A fact that has converged keeps its last value.

    Args:
        traces: one per fact, of different lengths.
        part: ``nll``, ``kl`` or ``decay``.
    """
    # Copied once, because another thread may extend the trace.
    values = [list(getattr(trace, part)) for trace in traces]
    values = [series for series in values if series]
    steps = max(map(len, values), default=0)
    return [sum(series[min(step, len(series) - 1)] for series in values) / len(values)
            for step in range(steps)]  # fmt: skip
