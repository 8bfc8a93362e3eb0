"""Hidden states of unrelated prompts before and after the edits, computed on request.

The figure is static: a workbench has only three live figures, to limit the load on page and kernel.
"""

from __future__ import annotations

import ipywidgets as W

from alphaedit_core.evaluation.before_after import state_digest
from alphaedit_core.progress import Monitor
from alphaedit_core.side_effects.hidden_states import (
    DEFINITIONS,
    PROMPTS,
    HiddenDrift,
    hidden_drift,
    unrelated_prompts,
)
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job

_JOB = "compare hidden states"


class HiddenStates(W.VBox):
    """Section of the drift panel for the hidden states of the current state.

    Args:
        panel: the drift panel.

    Attributes:
        result: the last comparison; None before the first.
    """

    def __init__(self, panel: Panel) -> None:
        self._state, self._digest = panel.state, ""
        self.result: HiddenDrift | None = None
        self.compare_button = button(
            "Compare hidden states", "compare-hidden", panel.with_errors_shown(_JOB, self.compare),
            help="run unrelated prompts in the unedited model and in the current state",
        )  # fmt: skip
        self._message, self._details = W.HTML(), W.HTML()
        super().__init__(
            [
                W.HTML(
                    "<h4>Hidden states of unrelated prompts</h4><p class='ae-quiet'>The output of "
                    f"the last edited block at the last token of up to {PROMPTS} sentences of the "
                    "same text, in the unedited model and in the current state. An edit that "
                    "leaves other text alone does not move the cloud.</p>"
                ),
                row(self.compare_button),
                self._message,
                self._details,
            ]
        )
        self.add_class("ae-hidden-states")
        self._state.observe(lambda _: self._update_message(), ["revision"])
        self._state.observe(self._job_moved, ["job_updates"])
        self._update_message()

    def compare(self, block: bool = False) -> Job[tuple[str, HiddenDrift]]:
        """Compare the current state with the unedited model.

        Args:
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            SessionError: if another job runs.
        """
        session, number = self._state.session, self._state.session.applied
        probe = self._state.drifts.probe

        def work(monitor: Monitor) -> tuple[str, HiddenDrift]:
            prompts = unrelated_prompts(session, probe=probe, monitor=monitor)
            return state_digest(session, number), hidden_drift(session, number, prompts, monitor)

        return self._state.start(_JOB, work, self._show, block=block)

    def _show(self, compared: tuple[str, HiddenDrift]) -> None:
        self._digest, result = compared
        self.result = result
        rows = [(name, value, DEFINITIONS[name]) for name, value in result.rows()]
        self._details.value = (
            result.figure()
            + table(("metric", "value", "meaning"), rows, "hidden-table")
            + table(("moved most", "by"), result.most_moved(), "hidden-most")
        )
        self._update_message()

    def _update_message(self) -> None:
        session, result = self._state.session, self.result
        if result is None:
            message = "not compared"
        else:
            message = f"After edit {result.number} the mean has moved by {result.mean_shift:.2%}."
            if state_digest(session, session.applied) != self._digest:
                message += " The state has changed since; compare again to update."
        self._message.value = text("hidden-words", message, tag="p")

    def _job_moved(self, *_: object) -> None:
        self.compare_button.disabled = self._state.foreground_busy
