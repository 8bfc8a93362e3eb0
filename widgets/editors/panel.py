"""The editors panel: two editors on the same facts, each from the unedited model."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.corpora.sources import open_text
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.editors.summary import settings_words
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.experiments.editor_comparison import EditorComparison, compare_editors
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.method_controls import MethodControls
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State, method_changed, settled

#: Facts per batch.
_BATCH = 100
#: Characters of held-out text for the perplexity.
_PROBE = 20_000
_MEASURES = (
    (
        "efficacy",
        "the new target is more likely than the true one after the prompt; higher is better",
    ),
    ("generalization", "the same after the paraphrases; higher is better"),
    ("specificity", "the true target is more likely after the neighbors; higher is better"),
    ("exact", "greedy decoding gives the new target, token by token; higher is better"),
    ("perplexity", "of held-out ordinary text; lower is better"),
)


class EditorsPanel(Panel):
    """Compare two editors on the ready facts; the session's edits are restored afterwards.

    Attributes:
        methods: hyperparameters of both editors.
        comparison: the last comparison; None before the first.
    """

    name = "editors"
    title = "Editors"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self._comparison: EditorComparison | None = None
        present = self.session.hyperparameters
        other = "memit" if present.editor == "alphaedit" else "alphaedit"
        self._methods = [present, method_changed(self.session, present, "editor", other)]
        self.controls = [
            MethodControls(label, partial(self._chosen, place))
            for place, label in enumerate(("First editor", "Second editor"))
        ]
        self._with_text = W.Checkbox(
            True, description="Measure perplexity", indent=False, layout=W.Layout(width="auto")
        )
        self.run_button = button(
            "Compare editors", "compare-editors",
            self.with_errors_shown("editors", self.compare),
            style="primary",
        )  # fmt: skip
        self.cancel_button = button("Cancel", "cancel-editors", lambda *_: self.state.cancel())
        self._settings, self._status, self._shown = W.HTML(), W.HTML(), W.HTML()
        meanings = "".join(
            f"<li><strong>{name}</strong>: {words}</li>" for name, words in _MEASURES
        )
        self.show(
            W.HTML(
                "<h3>Editors side by side</h3><p class='ae-quiet'>Writes the ready facts into "
                "the unedited model with each editor and measures both. Your own edits are "
                "restored afterwards.</p>"
            ),
            *self.controls,
            self._settings,
            row(self.run_button, self.cancel_button, self._with_text, self._status),
            self._shown,
            W.HTML(f"<details><summary>Metric definitions</summary><ul>{meanings}</ul></details>"),
        )
        self.state.observe(self._job_moved, ["job_updates", "drafts"])
        self.state.observe(self._say_settings, ["threshold_changes", "method_changes"])
        for place in (0, 1):
            self._set(place, self._methods[place])
        self._job_moved()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def methods(self) -> tuple[EditConfig, EditConfig]:
        """Hyperparameters of both editors; threshold, text and seed are the session's."""
        first, second = (settled(hp, self.session.hyperparameters) for hp in self._methods)
        return first, second

    @methods.setter
    def methods(self, methods: tuple[EditConfig, EditConfig]) -> None:
        for place, hp in enumerate(methods):
            self._set(place, hp)

    @property
    def with_perplexity(self) -> bool:
        """True to measure perplexity on held-out text, which takes most of the time."""
        return bool(self._with_text.value)

    @with_perplexity.setter
    def with_perplexity(self, value: bool) -> None:
        self._with_text.value = value

    @property
    def comparison(self) -> EditorComparison | None:
        """The last comparison; None before the first."""
        return self._comparison

    def compare(self, block: bool = False) -> Job[EditorComparison]:
        """Edit the ready facts with both editors and measure the results.

        Args:
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            AlphaEditError: if no fact is ready.
            SessionError: if another job runs.
        """
        facts, session, methods = self.state.facts, self.session, self.methods
        if not facts:
            raise AlphaEditError("no fact is ready; enter one under Facts")
        with_text = self.with_perplexity

        def work(monitor: Monitor) -> EditorComparison:
            text = _probe(session, monitor) if with_text else None
            return compare_editors(session, facts, methods, _BATCH, text, monitor)

        return self.state.start("editors", work, self._done, block=block)

    @override
    def summary(self) -> str:
        names = " against ".join(hp.method for hp in self.methods)
        done = "not compared yet" if self._comparison is None else "compared"
        return f"EditorsPanel({names}: {done})"

    @override
    def static_html(self) -> str:
        if self._comparison is None:
            return super().static_html()
        return self._comparison._repr_html_() + html_table(_HEADINGS, _fact_rows(self._comparison))

    # -- inside ----------------------------------------------------------------------------------

    def _chosen(self, place: int, name: str, value: Any) -> None:
        def change() -> None:
            self._set(place, method_changed(self.session, self._methods[place], name, value))

        self.with_errors_shown("editors", change)()

    def _set(self, place: int, hp: EditConfig) -> None:
        self._methods[place] = hp
        self.controls[place].set(hp)
        self._say_settings()

    def _say_settings(self, *_: Any) -> None:
        words = " · ".join(f"{hp.editor}: {settings_words(hp)}" for hp in self.methods)
        self._settings.value = text("editors-settings", f"{words} · batch size {_BATCH}", tag="p")

    def _job_moved(self, *_: Any) -> None:
        busy, job = self.state.foreground_busy, self.state.job
        self.run_button.disabled = busy or not self.state.facts
        for controls in self.controls:
            controls.lock(busy)
        is_own_job = job is not None and job.name == "editors"
        self.cancel_button.disabled = not (is_own_job and self.state.busy)
        if is_own_job and job is not None:
            words = ", ".join(filter(None, [job.where, job.time_left])) if self.state.busy else ""
            if job.state == "canceled":
                words = f"canceled at {job.where}; the weights are unchanged"
            self._status.value = text("editors-state", words or job.state, tag="span")

    def _done(self, comparison: EditorComparison) -> None:
        self._comparison = comparison
        headings = ("method", *(name for name, _ in _MEASURES), "seconds")
        count = len(comparison.facts)
        caption = (
            f"{count} {'fact' if count == 1 else 'facts'} each; editors with the same target "
            "search share it"
        )
        scores = table(headings, comparison.rows(), "editors-scores", caption)
        facts = table(
            _HEADINGS, _fact_rows(comparison), "editors-facts", "Each fact with each editor"
        )
        self._shown.value = scores + facts


_HEADINGS = ("prompt", "target", "method", "P(target)", "says now", "outcome")


def _fact_rows(comparison: EditorComparison) -> list[tuple[str, ...]]:
    return [
        (
            fact.text if number == 0 else "",
            fact.target if number == 0 else "",
            run.hyperparameters.method,
            f"{outcome.before.new.probability:.3f} → {outcome.after.new.probability:.3f}",
            outcome.after.completion,
            "written" if outcome.written else "not written",
        )
        for index, fact in enumerate(comparison.facts)
        for number, run in enumerate(comparison.runs)
        for outcome in [run.result.outcomes[index]]
    ]


def _probe(session: EditSession, monitor: Monitor) -> str:
    """Return the beginning of the drift text."""
    from alphaedit_core.side_effects.drift import default_probe

    source = open_text(default_probe(session.hyperparameters.text), session.model, monitor)
    return "\n\n".join(islice(source.documents(), 20))[:_PROBE]
