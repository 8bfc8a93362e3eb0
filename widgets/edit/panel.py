"""The edit panel: settings, live curves, outcomes, and why a fact failed."""

from __future__ import annotations

from math import sqrt
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.display.escaping import escape
from alphaedit_core.editing.editors.base import Editor, FineTuner
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.editors.summary import settings_words
from alphaedit_core.editing.search_trace import Trace
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Stage
from alphaedit_core.session.diagnosis import ForgottenFact, diagnose, lost_facts
from alphaedit_core.session.results import EditResult, FactResult, superseded_html
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.method_controls import MethodControls
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

from .figure import RunFigure

#: The stages of an edit, in order, with descriptions.
_STAGES = {
    "statistics": "measure ordinary text (once per model)",
    "null space": "find the null space of each layer",
    "before": "record the model's current answers",
    "target values": "search for the output of the last edited block",
    "training": "fine-tune the weight on the facts",
    "keys and update": "read the keys and write the update, layer by layer",
    "after": "record the new answers",
}
#: Maximum number of notes shown about how facts were tokenized.
_NOTES = 20
#: Stages that record a curve per fact.
_SEARCHES = ("target values", "training")


class EditPanel(Panel):
    """Run and cancel an edit, follow its stages and curves, and see each fact's outcome.

    Attributes:
        batch_size: facts per batch, as in the input on the screen.
        keep_both: True if new facts supersede no earlier ones, as in the checkbox.
        run: see :meth:`run`.
    """

    name = "run"
    title = "Edit"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self.figure: RunFigure | None = None
        self._traces: list[Trace] = []
        self._names: list[str] = []
        self._preflight, self._step, self._stages, self._outcome = (W.HTML() for _ in range(4))
        self._batch_size = W.BoundedIntText(
            100, min=1, max=100_000, description="Batch size",
            style={"description_width": "initial"}, layout=W.Layout(width="170px"),
        )  # fmt: skip
        self.method = MethodControls("Editor", self._method_chosen)
        self._keep_both = W.Checkbox(
            False, description="Keep earlier facts", indent=False,
            tooltip="new facts supersede no earlier ones; both are protected",
            layout=W.Layout(width="auto"),
        )  # fmt: skip
        self._curves_of = W.Dropdown(
            description="Curves of", options=[("all facts", -1)], value=-1,
            style={"description_width": "initial"}, layout=W.Layout(width="280px"),
        )  # fmt: skip
        self.run_button = button(
            "Run the edit", "run", self.with_errors_shown("edit", self.run), style="primary"
        )
        self.cancel_button = button("Cancel", "cancel-run", lambda *_: self.state.cancel())
        self.check_button = button(
            "Do earlier facts still hold?", "check", self.with_errors_shown("check", self.check)
        )
        self._forgotten = W.HTML()
        self._figure_box = W.VBox()
        self.show(
            W.HTML(
                "<h3>Edit</h3><p class='ae-quiet'>Writes all ready facts into the model. History "
                "undoes the edit.</p>"
            ),
            self.method,
            self._preflight,
            row(self.run_button, self.cancel_button, self._batch_size, self._keep_both, self._step),
            self._stages,
            row(self._curves_of),
            self._figure_box,
            self._outcome,
            row(self.check_button, self._forgotten),
        )
        self._curves_of.observe(lambda _: self._draw(), "value")
        self.state.observe(
            self._update_preflight, ["drafts", "threshold_changes", "method_changes", "revision"]
        )
        self.state.observe(self._job_changed, ["job_updates"])
        self.state.observe(lambda _: self._show_result(), ["revision"])
        self._job_changed()
        self._show_result()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """Facts per batch."""
        return int(self._batch_size.value)

    @batch_size.setter
    def batch_size(self, value: int) -> None:
        self._batch_size.value = value

    @property
    def keep_both(self) -> bool:
        """True if new facts supersede no earlier ones."""
        return bool(self._keep_both.value)

    @keep_both.setter
    def keep_both(self, value: bool) -> None:
        self._keep_both.value = value

    @property
    def result(self) -> EditResult | None:
        """Result of the last applied edit."""
        return self.session.last_result

    def run(self, block: bool = False) -> Job[EditResult] | None:
        """Edit all ready facts; do nothing if a job is already running.

        Args:
            block: wait until the edit has ended and raise its exception, if any.

        Raises:
            AlphaEditError: if there is no ready fact or the threshold cannot be used.
        """
        if self.state.foreground_busy and not block:
            return None
        if problem := self.problem():
            raise AlphaEditError(problem)
        facts, session, size = self.state.facts, self.session, self.batch_size
        if self.keep_both:
            facts = [fact.changed(replaces="nothing") for fact in facts]
        self.on_first_show()
        return self.state.start(
            "edit",
            lambda monitor: session.edit(facts, size, monitor),
            self._done,
            block=block,
        )

    def check(self, block: bool = False) -> Job[list[ForgottenFact]]:
        """Find facts of applied edits that no longer hold, and what undid them."""
        session = self.session
        return self.state.start(
            "check", lambda monitor: lost_facts(session, monitor), self._show_check, block=block
        )

    def _show_check(self, forgotten: list[ForgottenFact]) -> None:
        count = sum(len(entry.facts) for entry in self.session.history[: self.session.applied])
        items = "".join(f"<li>{escape(str(fact))}</li>" for fact in forgotten)
        message = f"{len(forgotten)} of {count} written facts no longer hold" if forgotten else (
            f"all {count} facts still hold"
        )  # fmt: skip
        self._forgotten.value = text("lost", message) + (f"<ul>{items}</ul>" if items else "")

    def problem(self) -> str:
        """Return why an edit cannot run now; "" if it can."""
        if not self.state.facts:
            return "no fact is ready; enter one under Facts"
        incomplete = len(self.state.drafts) - len(self.state.facts)
        blank = sum(draft.blank for draft in self.state.drafts)
        if incomplete > blank:
            return f"{incomplete - blank} rows under Facts are incomplete; complete or delete them"
        spectra = self.session.cached_spectra or {}
        hp = self.session.hyperparameters
        for layer, spectrum in spectra.items() if hp.projection else ():
            if warning := spectrum.threshold_warning(Threshold.parse(hp.at(layer).threshold)):
                return warning
        return ""

    @override
    def summary(self) -> str:
        result = self.result
        done = "no edit yet" if result is None else f"{result.written} of {len(result.outcomes)}"
        return f"EditPanel({len(self.state.facts)} facts ready, written: {done})"

    @override
    def static_html(self) -> str:
        return self.result._repr_html_() if self.result else super().static_html()

    @override
    def on_first_show(self) -> None:
        if self.figure is None:
            self.figure = RunFigure()
            self._figure_box.children = (self.figure,)
            self._draw()

    # -- before ----------------------------------------------------------------------------------

    def _update_preflight(self, *_: Any) -> None:
        hp = self.session.hyperparameters
        facts, problem = self.state.facts, self.problem()
        message = (
            f"{len(facts)} {'fact' if len(facts) == 1 else 'facts'} ready · {settings_words(hp)} · "
            f"peak memory about {self._memory(len(facts))} MB"
        )
        undone = len(self.session.history) - self.session.applied
        discarded = f"this edit discards {undone} undone edits; they can no longer be redone"
        self._preflight.value = "".join(
            [
                text("preflight", message, tag="p"),
                f'<p class="ae-warning" data-testid="problem">{escape(problem)}</p>'
                * bool(problem),
                f'<p class="ae-warning" data-testid="drops">{escape(discarded)}</p>' * bool(undone),
            ]
        )
        self.method.set(hp)
        self.method.lock(self.state.foreground_busy)
        self.run_button.disabled = self.state.foreground_busy or bool(problem)
        self.check_button.disabled = self.state.foreground_busy or not self.session.applied

    def _method_chosen(self, name: str, value: Any) -> None:
        self.with_errors_shown("method", lambda: self.state.set_method(name, value))()
        self._update_preflight()

    def _memory(self, facts: int) -> int:
        """Megabytes that an edit needs beside the model: activations for autograd, and bases."""
        architecture, hp = self.session.model.architecture, self.session.hyperparameters
        tokens = min(1024, 40 * facts)
        activations = tokens * self.session.model.layers * (16 * architecture.hidden_size
                                                     + 5 * architecture.inner_size) * 4  # fmt: skip
        # The projector stores at most half of all directions; C^-1 needs all of them.
        half_stored = editor_class(hp.editor).preconditioner is not Editor.preconditioner
        bases = len(hp.layers) * architecture.inner_size**2 * (2 if half_stored else 6)
        return round((activations + bases) / 1e6)

    # -- while it runs ---------------------------------------------------------------------------

    def _job_changed(self, *_: Any) -> None:
        job = self.state.job
        is_own_job = job is not None and job.name == "edit"
        running = self.state.busy and is_own_job
        self._update_preflight()
        self.cancel_button.disabled = not running
        if job is None or not is_own_job:
            return
        if running:
            progress = f"step {job.where.partition(' ')[2]}" if _searching(job) else job.where
            message = f"{progress}{', ' if job.time_left else ''}{job.time_left}"
        elif job.state == "canceled":
            message = f"canceled at {job.where}; the weights are unchanged"
        else:
            message = job.state
        self._step.value = text("run-state", message, tag="span")
        fine_tunes = issubclass(editor_class(self.session.editor), FineTuner)
        self._stages.value = _stage_list(job, fine_tunes)
        # After the job, the result of all batches is shown instead.
        traces = _traces(job) if running else []
        if traces is not self._traces and traces:
            self._traces = traces
            self._set_names([f.subject for f in self._searched_facts(job, len(traces))])
        if traces:
            self._draw()

    def _searched_facts(self, job: Job[Any], count: int) -> list[Fact]:
        """Facts of the running search; the facts of earlier batches come before them."""
        start = sum(len(stage.detail) for stage in _searches(job)[:-1])
        return self.state.facts[start : start + count]

    def _set_names(self, names: list[str]) -> None:
        if not names:
            names = [f"fact {i + 1}" for i in range(len(self._traces))]
        self._names = names
        self._curves_of.options = [("all facts", -1), *((name, i) for i, name in enumerate(names))]
        self._curves_of.value = -1

    def _draw(self) -> None:
        if self.figure is not None and self._traces:
            index = (
                self._curves_of.value if 0 <= self._curves_of.value < len(self._traces) else None
            )
            self.figure.draw(self._traces, self._names, index)

    # -- after -----------------------------------------------------------------------------------

    def _done(self, result: EditResult) -> None:
        self.state.notice = summary(result, self._projected())

    def _projected(self) -> bool:
        """Return true if the last applied edit used the projection."""
        return bool(self.session.history[self.session.applied - 1].hyperparameters.projection)

    def _show_result(self) -> None:
        result = self.result
        self._forgotten.value = ""
        if result is None:
            self._outcome.value = ""
            return
        self._traces = [outcome.trace for outcome in result.outcomes]
        self._set_names([outcome.fact.subject for outcome in result.outcomes])
        self._draw()
        self._outcome.value = (
            text("run-summary", summary(result, self._projected()), tag="p")
            + superseded_html(result.superseded)
            + _notes(result)
            + _facts_table(result)
            + _layers_table(result)
        )


def summary(result: EditResult, projected: bool = True) -> str:
    """Return a one-sentence summary of an edit.

    Args:
        result: the edit.
        projected: True if the edit used the projection.
    """
    count = len(result.outcomes)
    first = sum(outcome.after.new.rank == 1 for outcome in result.outcomes)
    writes = [write for batch in result.writes for write in batch]
    norm = sqrt(sum(write.update_norm**2 for write in writes))
    unprojected = sqrt(sum(write.unprojected_norm**2 for write in writes))
    share = (
        sqrt(sum(write.surviving_norm**2 for write in writes)) / unprojected if unprojected else 0.0
    )
    seconds = sum(result.seconds.values())
    share_label = (
        "share of the unprojected update's norm kept"
        if projected
        else "share of its norm that a projection would keep"
    )
    return (
        f"{result.written} of {count} facts written: target is now the top token for {first}; "
        f"update norm {norm:.3f}; {share_label}: {share:.0%}; {seconds:.1f} s"
    )


def _searching(job: Job[Any]) -> bool:
    return job.stage is not None and job.stage.name in _SEARCHES


def _traces(job: Job[Any]) -> list[Trace]:
    """Traces of the last search of a job; a running search extends them."""
    searches = _searches(job)
    return searches[-1].detail if searches else []


def _searches(job: Job[Any]) -> list[Stage]:
    """Return the stages of a job that have traces, in order."""
    return [stage for stage in job.stages if stage.name in _SEARCHES and stage.detail]


def _stage_list(job: Job[Any], trains: bool) -> str:
    """Return the stages of an edit with their status; fine-tuning has its own stages."""
    done = {stage.name: stage for stage in job.stages}
    trains = "training" in done or (trains and "target values" not in done)
    others = {"target values", "keys and update"} if trains else {"training"}
    items = []
    for name, words in _STAGES.items():
        stage = done.get(name)
        if stage is None:
            if name in {"statistics", "null space"} | others:
                continue  # from the cache, or not needed
            state = "pending"
        elif stage is job.stage and job.state == "running":
            state = "running"
        else:
            state = "done" if stage is not job.stage or job.state == "done" else job.state
        items.append(
            f'<li data-state="{escape(state)}"><span>{escape(name)}</span> '
            f'<span class="ae-quiet">{escape(words)}: {escape(state)}</span></li>'
        )
    return f'<ol class="ae-stages" data-testid="stages">{"".join(items)}</ol>'


def _notes(result: EditResult) -> str:
    """Distinct notes about how the facts were tokenized."""
    notes = dict.fromkeys(outcome.note for outcome in result.outcomes if outcome.note)
    return "".join(text("run-note", note, tag="p") for note in list(notes)[:_NOTES])


def _facts_table(result: EditResult) -> str:
    rows = []
    for index, outcome in enumerate(result.outcomes):
        new = f"{outcome.before.new.probability:.3f} → {outcome.after.new.probability:.3f}"
        rows.append(
            (
                outcome.fact.text,
                outcome.fact.target,
                new,
                str(len(outcome.trace.nll)),
                _residual_text(outcome),
                "written" if outcome.written else f"failed: {diagnose(result, index)}",
            )
        )
    headings = ("prompt", "target", "P(target)", "steps", "residual", "outcome")
    return table(headings, rows, "outcomes", "Result for each fact")


def _residual_text(outcome: FactResult) -> str:
    """Format the residual of an outcome; "held already" if no change was needed."""
    if outcome.residual_left is not None:
        return f"{outcome.residual_left:.0%}"
    return "held already" if outcome.trace.delta == [0.0] else "n/a"


def _layers_table(result: EditResult) -> str:
    rows = [
        (
            str(number),
            str(write.layer),
            f"{write.unprojected_norm:.3f}",
            f"{write.surviving_norm:.3f}",
            f"{write.update_norm:.3f}",
            f"{write.relative:.2%}",
            f"{sum(write.kept) / len(write.kept):.0%}",
        )
        for number, batch in enumerate(result.writes, start=1)
        for write in batch
    ]
    headings = (
        "batch", "layer", "norm without projection and previous keys", "share in the null space",
        "norm written",
        "relative to the weight", "key energy kept",
    )  # fmt: skip
    return table(headings, rows, "layer-writes", "Update per layer")
