"""Hidden states of unrelated prompts: two clouds of points, made only when they are asked for."""

from __future__ import annotations

from html import escape

import ipywidgets as W
import plotly.graph_objects as go

from alphaedit_core.comparison import state_digest
from alphaedit_core.hidden_drift import (
    DEFINITIONS,
    PROMPTS,
    HiddenDrift,
    hidden_drift,
    unrelated_prompts,
)
from alphaedit_core.hidden_drift_picture import axis_titles, mean_of, words
from alphaedit_core.progress import Monitor

from .colours import AFTER, BEFORE
from .jobs import Job
from .live_figure import LiveFigure
from .panel import Panel, button, row, table, text

_JOB = "compare hidden states"


class HiddenFigure(LiveFigure):
    """The states of all prompts along two directions, unedited and edited, with their means."""

    def __init__(self) -> None:
        figure = go.Figure()
        for colour, symbol, size in (
            (BEFORE, "circle-open", 7), (AFTER, "x-thin-open", 7),
            (BEFORE, "circle", 14), (AFTER, "x", 14),
        ):  # fmt: skip
            figure.add_scatter(
                x=[], y=[], mode="markers", text=[],
                marker={"color": colour, "symbol": symbol, "size": size, "line": {"width": 1.5}},
                hovertemplate="%{text}" if size < 10 else None,
            )  # fmt: skip
        figure.update_layout(
            height=420,
            margin={"l": 60, "r": 15, "t": 30, "b": 45},
            legend={"orientation": "h", "y": 1.02, "x": 1, "xanchor": "right", "yanchor": "bottom"},
        )
        super().__init__(figure, "Hidden states of unrelated prompts; nothing is compared yet.")

    def draw(self, found: HiddenDrift) -> None:
        """Show a comparison."""
        clouds = (found.before, found.after, [mean_of(found.before)], [mean_of(found.after)])
        edited = f"after edit {found.number}"
        names = ("unedited", edited, "mean, unedited", f"mean, {edited}")
        told = [escape(prompt) for prompt in found.prompts]
        first, second = axis_titles(found)
        with self.changing() as figure:
            for trace, points, name in zip(figure.data, clouds, names, strict=True):
                trace.x, trace.y = [x for x, _ in points], [y for _, y in points]
                trace.name = name
                trace.text = told if len(points) == len(told) else []
            figure.update_xaxes(title_text=first)
            figure.update_yaxes(title_text=second)
        self.describe(words(found))


class HiddenStates(W.VBox):
    """The section of the drift panel with the hidden states of the present state.

    Args:
        panel: the panel that it belongs to.

    Attributes:
        found: the last comparison, or None.
        figure: the picture, once a comparison has been asked for.
    """

    def __init__(self, panel: Panel) -> None:
        self._state, self._digest = panel.state, ""
        self.found: HiddenDrift | None = None
        self.figure: HiddenFigure | None = None
        self.compare_button = button(
            "Compare hidden states", "compare-hidden", panel.guarded(_JOB, self.compare),
            help="read unrelated prompts in the unedited model and in the present state",
        )  # fmt: skip
        self._said, self._place, self._table = W.HTML(), W.VBox(), W.HTML()
        super().__init__(
            [
                W.HTML(
                    "<h4>Hidden states of unrelated prompts</h4><p class='ae-quiet'>The output of "
                    f"the last edited block at the last token of up to {PROMPTS} sentences of the "
                    "same text, in the unedited model and in the present state. An edit that "
                    "spares other text leaves the cloud where it is.</p>"
                ),
                row(self.compare_button),
                self._said,
                self._place,
                self._table,
            ]
        )
        self.add_class("ae-hidden-states")
        self._state.observe(lambda _: self._say(), ["revision"])
        self._state.observe(self._job_moved, ["ticks"])
        self._say()

    def compare(self, block: bool = False) -> Job[HiddenDrift]:
        """Compare the present state with the unedited model.

        Args:
            block: wait until it is done, and raise what went wrong.

        Raises:
            SessionError: if another job runs.
        """
        session, number = self._state.session, self._state.session.applied
        probe = self._state.drifts.probe
        if self.figure is None:  # here, not in the worker's thread
            self.figure = HiddenFigure()

        def work(monitor: Monitor) -> HiddenDrift:
            prompts = unrelated_prompts(session, probe=probe, monitor=monitor)
            self._digest = state_digest(session, number)
            return hidden_drift(session, number, prompts, monitor)

        return self._state.start(_JOB, work, self._show, block=block)

    def _show(self, found: HiddenDrift) -> None:
        assert self.figure is not None
        self.found = found
        self.figure.draw(found)
        self._place.children = (self.figure,)
        rows = [(name, value, DEFINITIONS[name]) for name, value in found.rows()]
        self._table.value = table(("number", "value", "what it is"), rows, "hidden-table")
        self._say()

    def _say(self) -> None:
        session, found = self._state.session, self.found
        if found is None:
            told = "not compared"
        else:
            told = f"After edit {found.number} the mean has moved by {found.mean_shift:.2%}."
            if state_digest(session, session.applied) != self._digest:
                told += " The present state is another one; compare again to see it."
        self._said.value = text("hidden-words", told, tag="p")

    def _job_moved(self, *_: object) -> None:
        self.compare_button.disabled = self._state.engaged
