"""The drift panel: effects of all edits on text that should not change."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.corpora.sources import TextSource
from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.drift import OK, WINDOW, WINDOWS, Drift, DriftTracker
from alphaedit_core.side_effects.drift_figure import (
    NAMES,
    drift_columns,
    drift_html,
    limits,
    reason,
    title,
)
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

from .figure import DriftFigure
from .hidden_states import HiddenStates

_JOB = "measure drift"
_MEANINGS = {
    "weights": "norm of the total update of an edited matrix, relative to the original's norm",
    "kl": "KL divergence of the next-token distribution, averaged over ordinary text",
    "disagreement": "share of these tokens whose top prediction has changed",
    "perplexity": "how much worse (below 0: better) the same text is predicted",
    "neighbors": "share of the facts' neighbors with a changed answer; 100 % minus locality",
}


class DriftPanel(Panel):
    """Charts and a table of each state's drift from the unedited model.

    Args:
        source: the session, or the state that this panel shares with others.
        probe: the text to measure on, as :func:`~alphaedit_core.corpora.sources.open_text` takes
            it; None for the packaged held-out text, or the session's own text file.

    Attributes:
        figure: the charts; None until the panel is first shown.
        hidden: the hidden-states section.
    """

    name = "drift"
    title = "Drift"

    def __init__(
        self,
        source: EditSession | State,
        probe: str | PathLike[str] | TextSource | None = None,
    ) -> None:
        super().__init__(source)
        if probe is not None:
            self.state.drifts = DriftTracker(self.session, probe)
        self.figure: DriftFigure | None = None
        self._was_shown = False
        self._band = OK
        self._shown_state: tuple[object, ...] = ()
        self._band_text, self._table = W.HTML(), W.HTML()
        self._auto = W.Checkbox(
            True, description="Measure every edit", indent=False,
            layout=W.Layout(width="auto"),
        )  # fmt: skip
        self.measure_button = button(
            "Measure", "measure", self.with_errors_shown("measure drift", self.measure),
            help="measure every unmeasured state",
        )  # fmt: skip
        self._figure_box, self.hidden = W.VBox(), HiddenStates(self)
        self.show(
            W.HTML(
                "<h3>Drift</h3><p class='ae-quiet'>How far the edits have moved the model on "
                "unrelated text. 0 is the unedited model.</p>"
            ),
            self._band_text,
            row(self.measure_button, self._auto),
            self._figure_box,
            self._table,
            W.HTML(self._definitions_html()),
            self.hidden,
        )
        self._auto.observe(lambda _: self._measure_if_due(), "value")
        self.state.observe(self._weights_changed, ["revision"])
        self.state.observe(lambda _: self._refresh(), ["measured"])
        self.state.observe(self._job_moved, ["job_updates"])
        self._refresh()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def auto(self) -> bool:
        """True if drift is measured after each edit, once the panel has been shown."""
        return bool(self._auto.value)

    @auto.setter
    def auto(self, value: bool) -> None:
        self._auto.value = value

    @property
    def drifts(self) -> dict[int, Drift]:
        """Drift by state, for the measured states; state 0 is always included."""
        drifts = {n: self.state.drifts.known(n) for n in range(len(self.session.history) + 1)}
        return {number: drift for number, drift in drifts.items() if drift is not None}

    @property
    def band(self) -> str:
        """``ok``, ``watch`` or ``bad`` for the current state; "" if it is not measured."""
        drift = self.state.drifts.known(self.session.applied)
        return "" if drift is None else drift.band

    def measure(self, block: bool = False) -> Job[None] | None:
        """Measure all states not measured yet; return None if there are none.

        Args:
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            SessionError: if another job runs.
        """
        missing = self._missing(len(self.session.history))
        if not missing:
            return None
        return self.state.start(_JOB, lambda monitor: self._measure(missing, monitor), block=block)

    @override
    def summary(self) -> str:
        band = self.band or "not measured"
        measured = len(self.drifts) - 1
        return f"DriftPanel(edits: {len(self.session.history)}, measured: {measured}, now: {band})"

    @override
    def static_html(self) -> str:
        comparison = self.hidden.result
        hidden = "" if comparison is None else comparison._repr_html_()
        return drift_html(self.drifts, self.session.applied) + hidden

    @override
    def on_first_show(self) -> None:
        self._was_shown = True
        self._draw()
        self._measure_if_due()

    # -- measuring -------------------------------------------------------------------------------

    def _missing(self, last: int) -> list[int]:
        """Unmeasured states up to ``last``, newest first."""
        return [n for n in range(last, 0, -1) if self.state.drifts.known(n) is None]

    def _measure(self, numbers: list[int], monitor: Monitor) -> None:
        for number in numbers:
            self.state.drifts.measure(number, monitor)
            self.state.measured += 1

    def _measure_if_due(self) -> None:
        """Measure the applied edits if ``auto`` is set and the model is idle."""
        if not self._was_shown or not self.auto or not self.state.idle:
            return
        missing = self._missing(self.session.applied)
        if not missing:
            return
        model = self.session.model

        def work(monitor: Monitor) -> None:
            with ExitStack() as stack:
                try:
                    stack.enter_context(model.exclusive(self.state.cancel, monitor.check))
                except SessionError as error:  # a cell is using the model; try again later
                    raise Canceled(str(error)) from error
                self._measure(missing, monitor)

        self.state.start(_JOB, work, ended=self._ended, background=True)

    def _ended(self, job: Job[None]) -> None:
        if job.state == "failed":
            self.auto = False  # it would fail again after every edit

    def _weights_changed(self, *_: Any) -> None:
        self._refresh()
        self._measure_if_due()

    def _job_moved(self, *_: Any) -> None:
        job = self.state.job
        self.measure_button.disabled = self.state.foreground_busy
        # The job that stopped a background job runs first; its end triggers the measurement.
        if not (job is not None and job.background and job.state in ("canceled", "failed")):
            self._measure_if_due()

    # -- showing ---------------------------------------------------------------------------------

    def _refresh(self) -> None:
        """Redraw if the history or the measurements have changed."""
        history, drifts = self.session.history, self.drifts
        titles = tuple(entry.title for entry in history)
        state = (history.applied, titles, *((n, id(drift)) for n, drift in drifts.items() if n))
        if state == self._shown_state:
            return
        self._shown_state = state
        self._update_band(drifts)
        self._table.value = self._table_html(drifts)
        self._draw()

    def _draw(self) -> None:
        if not self._was_shown:
            return
        layers = self.session.hyperparameters.layers
        if self.figure is None or self.figure.layers != tuple(layers):
            previous, self.figure = self.figure, DriftFigure(layers)
            self._figure_box.children = (self.figure,)
            if previous is not None:
                previous.close()
        self.figure.draw(self.drifts, self.session.applied)

    def _update_band(self, drifts: dict[int, Drift]) -> None:
        applied = self.session.applied
        drift = drifts.get(applied)
        if drift is None:
            message = f"edit {applied} is not measured"
        elif drift.band != self._band:
            message = f"Drift was {self._band}, now {reason(drift)} (edit {applied})"
            self._band = drift.band
        elif applied == 0:
            message = "Drift is ok: no edits"
        else:
            message = f"Drift is {reason(drift)} (edit {applied})"
        self._band_text.value = text("drift-band", message, tag="p")

    def _table_html(self, drifts: dict[int, Drift]) -> str:
        history = self.session.history
        columns = drift_columns(self.session.hyperparameters.layers)
        rows = []
        for number in range(len(history), -1, -1):
            drift = drifts.get(number)
            state = "current" if number == history.applied else ""
            state = "undone" if number > history.applied else state
            name = history.entries[number - 1].title if number else "original"
            rows.append(
                (
                    f"{number} {name}".rstrip(),
                    state,
                    "not measured" if drift is None else reason(drift),
                    *(column.text(drift) for column in columns),
                    _perplexity(drift),
                )
            )
        headings = ("edit", "state", "band", *(column.heading for column in columns), "perplexity")
        return table(headings, rows, "drift-table", "The same numbers as in the charts")

    def _definitions_html(self) -> str:
        rows = []
        for name, heading in NAMES.items():
            watch, bad = limits(name)
            unit = title(name).rpartition(", ")[2]
            rows.append((heading, _MEANINGS[name], f"{watch:g} {unit}", f"{bad:g} {unit}"))
        definitions = table(("metric", "meaning", "watch from", "bad from"), rows, "drift-meanings")
        probe = self.state.drifts.probe
        name = probe.name if isinstance(probe, TextSource) else str(probe)
        return (
            "<details><summary>Metric definitions</summary>"
            f"<p data-testid='drift-probe'>Text: the first {WINDOWS} windows of up to "
            f"{WINDOW} tokens of {escape(name)}. The values depend on the text.</p>{definitions}"
            "<p><i>Outside the null space</i> is the part of an update that the projection would "
            "remove: 0 for an editor that projects.</p></details>"
        )


def _perplexity(drift: Drift | None) -> str:
    """Format perplexity before and after; a dash if it was not measured."""
    if drift is None or drift.perplexity_before is None or drift.perplexity_after is None:
        return "–"
    return f"{drift.perplexity_before:.2f} → {drift.perplexity_after:.2f}"
