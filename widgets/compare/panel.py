"""Before and after: one prompt, one model in memory, the weights of two states of the history."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.display.text_diff import Difference
from alphaedit_core.errors import AlphaEditError, Canceled, InputError, SessionError
from alphaedit_core.evaluation.before_after import (
    Comparison,
    HistoryPoint,
    Question,
    StateAnswer,
    probabilities_over_history,
)
from alphaedit_core.evaluation.before_after import compare as compare_states
from alphaedit_core.inference.token_by_token import Sampling, TokenStep
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import Panel, button, row, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

from .column import Column
from .html import (
    chat_html,
    history_html,
    ratings_html,
    short,
    sides_html,
    state_name,
    summary_words,
)
from .settings import AskSettings

_NAMED = {"style": {"description_width": "initial"}}
TOKENS, WORDS = "tokens", "words"
DIFFS, MATCHES = "Diffs", "Matches"


class ComparePanel(Panel):
    """Two columns of tokens, their differences, and the probabilities of both targets.

    It fills by itself after every edit, undo or change of the reference, once it has been shown:
    in the background, so that whatever else is to be done goes first.

    Attributes:
        columns: the two sides, before and after.
        settings: number of tokens, sampling and chat.
    """

    name = "compare"
    title = "Compare"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self._comparison: Comparison | None = None
        self._points: tuple[Question, list[HistoryPoint]] | None = None
        self._live = False
        self._shown_version = self._weights_version()
        self._make_widgets()
        state = self.state
        state.observe(self._selected_changed, ["selected"])
        state.observe(self._question_changed, ["drafts", "prompt"])
        state.observe(self._weights_changed, ["revision", "reference"])
        state.observe(self._job_moved, ["job_updates"])
        self._question_changed()
        self._job_moved()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def prompt(self) -> str:
        """The prompt: the user's own text, or else the selected fact's prompt."""
        fact = self.state.fact
        return self.state.prompt or (fact.text if fact else "")

    @prompt.setter
    def prompt(self, value: str) -> None:
        fact = self.state.fact
        self.state.prompt = "" if fact and value == fact.text else value

    @property
    def tokens(self) -> int:
        """Maximum number of new tokens, 1 to 200."""
        return self.settings.tokens

    @tokens.setter
    def tokens(self, value: int) -> None:
        self.settings.tokens = value

    @property
    def sampling(self) -> Sampling | None:
        """Sampling settings; None for greedy decoding."""
        return self.settings.sampling

    @sampling.setter
    def sampling(self, value: Sampling | None) -> None:
        self.settings.sampling = value

    @property
    def chat(self) -> bool:
        """Whether the prompt is sent as a chat message; requires a chat template to set."""
        return self.settings.chat

    @chat.setter
    def chat(self, value: bool) -> None:
        self.settings.chat = value

    @property
    def marks(self) -> str:
        """Which parts are marked: ``Diffs`` or ``Matches``."""
        return str(self._marks.value)

    @marks.setter
    def marks(self, value: str) -> None:
        self._marks.value = value

    @property
    def unit(self) -> str:
        """Unit of the comparison: ``tokens`` or ``words``."""
        return str(self._unit.value)

    @unit.setter
    def unit(self, value: str) -> None:
        self._unit.value = value

    @property
    def question(self) -> Question:
        """What Compare would ask now.

        Raises:
            InputError: if there is no prompt.
        """
        fact = self.state.fact
        return Question(
            self.prompt,
            self.tokens,
            self.sampling,
            self.chat,
            fact.target if fact else None,
            fact.target_true if fact else None,
        )

    @property
    def comparison(self) -> Comparison | None:
        """The comparison shown; None before the first one."""
        return self._comparison

    @property
    def before(self) -> list[TokenStep]:
        """The left column's tokens."""
        return list(self._comparison.before.steps) if self._comparison else []

    @property
    def after(self) -> list[TokenStep]:
        """The right column's tokens."""
        return list(self._comparison.after.steps) if self._comparison else []

    @property
    def difference(self) -> Difference | None:
        """The differences in the displayed unit; None before the first comparison."""
        if self._comparison is None:
            return None
        return self._comparison.by_tokens if self.unit == TOKENS else self._comparison.by_words

    @property
    def history(self) -> list[HistoryPoint]:
        """The targets' probabilities in every state; empty until requested."""
        return list(self._points[1]) if self._points else []

    def compare(self, block: bool = False) -> Job[Comparison]:
        """Ask in both states.

        Args:
            block: wait until it is done, and raise what it raised.

        Raises:
            InputError: if there is no prompt.
            SessionError: if another job runs.
        """
        session, question, reference = self.session, self.question, self.state.reference
        version, cached = self._weights_version(), self._cached_answers()
        self._live = True
        return self.state.start(
            "compare",
            lambda monitor: compare_states(session, question, reference, cached, monitor),
            lambda comparison: self._show(comparison, version),
            block=block,
        )

    def probabilities_over_history(self, block: bool = False) -> Job[list[HistoryPoint]]:
        """Follow the probability of both targets through all states up to the present one.

        Args:
            block: wait until it is done, and raise what it raised.

        Raises:
            InputError: if no fact is selected.
            SessionError: if another job runs.
        """
        session, question = self.session, self.question
        if question.new is None:
            raise InputError("no target to follow; select a fact")

        def done(points: list[HistoryPoint]) -> None:
            self._points = question, points
            self._draw_history()

        return self.state.start(
            "history of the targets",
            lambda monitor: probabilities_over_history(session, question, monitor),
            done,
            block=block,
        )

    @override
    def on_first_show(self) -> None:
        self._live = True
        self._fill_if_due()

    @override
    def summary(self) -> str:
        comparison = self._comparison
        if comparison is None:
            return f"ComparePanel({short(self.prompt)!r}, no answers yet)"
        return f"ComparePanel({summary_words(comparison)})"

    @override
    def static_html(self) -> str:
        comparison = self._comparison
        if comparison is None:
            return super().static_html()
        return (
            sides_html(self.session, comparison) + ratings_html(comparison) + self._history_html()
        )

    # -- the widgets -----------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._selected, self._status, self._headline = W.HTML(), W.HTML(), W.HTML()
        self._ratings, self._chat_check, self._through = W.HTML(), W.HTML(), W.HTML()
        wide = W.Layout(width="100%")
        self._prompt = W.Textarea(
            description="Prompt", rows=2, continuous_update=False, layout=wide, **_NAMED
        )
        self._prompt.add_class("ae-prompt")
        self.settings = AskSettings(self.session.model, self._question_changed)
        self.compare_button = button(
            "Compare",
            "compare-run",
            self.with_errors_shown("compare", self.compare),
            style="primary",
        )
        self.reset_button = button("Use the fact's prompt", "own-prompt", self._use_facts_prompt)
        self._marks = W.Dropdown(
            description="Mark", options=[DIFFS, MATCHES], layout=W.Layout(width="150px"), **_NAMED
        )
        self._unit = W.Dropdown(
            description="Compare by", options=[TOKENS, WORDS],
            layout=W.Layout(width="190px"), **_NAMED,
        )  # fmt: skip
        self.columns = Column("Before", "removed"), Column("After", "added")
        numbers = self.state.reference, self.session.applied
        for column, number in zip(self.columns, numbers, strict=True):
            column.name(state_name(self.session, number))
        self.history_button = button(
            "Through history", "through-history",
            self.with_errors_shown("history of the targets", self.probabilities_over_history),
            help="probability of both targets in every state of the history",
        )  # fmt: skip
        self._arrange_widgets()
        self._prompt.observe(self._prompt_typed, "value")
        for widget in (self._marks, self._unit):
            widget.observe(lambda _: self._draw_difference(), "value")

    def _arrange_widgets(self) -> None:
        columns = W.HBox(self.columns)
        columns.add_class("ae-columns")
        self.show(
            W.HTML(
                "<h3>Before and after</h3><p class='ae-quiet'>Completions with the weights of two "
                "states of the history. Darker tokens are more likely; the number is the "
                "probability. Hover or focus a token to see its alternatives; click or press Enter "
                "to keep the list open, Escape to close it.</p>"
            ),
            self._selected,
            self._prompt,
            row(self.compare_button, self.reset_button, self.settings),
            self._status,
            row(self._marks, self._unit, self._headline),
            columns,
            self._ratings,
            self._chat_check,
            row(self.history_button),
            self._through,
        )

    # -- what is asked ---------------------------------------------------------------------------

    def _selected_changed(self, *_: Any) -> None:
        # The user's own text belonged to the previously selected fact.
        self.state.prompt = ""
        self._question_changed()

    def _prompt_typed(self, *_: Any) -> None:
        self.prompt = self._prompt.value
        self._question_changed()

    def _use_facts_prompt(self, *_: Any) -> None:
        self.state.prompt = ""
        self._question_changed()

    def _question_changed(self, *_: Any) -> None:
        state = self.state
        draft = state.drafts[state.selected] if 0 <= state.selected < len(state.drafts) else None
        subject = draft.subject if draft and draft.subject.strip() else "none"
        self._selected.value = text("selected", f"selected: {subject}", tag="p")
        if self._prompt.value != self.prompt:
            self._prompt.value = self.prompt
        self.reset_button.layout.display = "" if state.prompt and state.fact else "none"
        if self._points and self._points[0] != self._question_or_none():
            self._points = None
            self._draw_history()
        self._update_status()

    def _question_or_none(self) -> Question | None:
        try:
            return self.question
        except AlphaEditError:
            return None

    # -- filling by itself -----------------------------------------------------------------------

    def _weights_version(self) -> tuple[int, int]:
        """Everything besides the question that an answer depends on."""
        return self.state.revision, self.state.reference

    def _weights_changed(self, change: Any) -> None:
        if change["name"] == "revision" and self._points:
            self._points = None
            self._draw_history()
        self._update_status()
        self._fill_if_due()

    def _job_moved(self, *_: Any) -> None:
        job = self.state.job
        busy = self.state.foreground_busy
        self.compare_button.disabled = self.history_button.disabled = busy
        # The job that preempted the background job runs first; its end triggers this again.
        if not (job is not None and job.background and job.state == "canceled"):
            self._fill_if_due()

    def _fill_if_due(self) -> None:
        """Compare again in the background if the weights changed and the model is free."""
        version = self._weights_version()
        if not self._live or self._shown_version == version or not self.state.idle:
            return
        question = self._question_or_none()
        if question is None:
            return
        session, reference, cached = self.session, self.state.reference, self._cached_answers()

        def work(monitor: Monitor) -> Comparison:
            with ExitStack() as stack:
                try:
                    model = session.model
                    stack.enter_context(model.exclusive(self.state.cancel, monitor.check))
                except SessionError as error:  # a cell is using the model; retry later
                    raise Canceled(str(error)) from error
                try:
                    return compare_states(session, question, reference, cached, monitor)
                except Canceled:
                    raise
                except Exception:
                    self._shown_version = version  # it would fail again
                    raise

        with suppress(SessionError):  # other work has just begun; its end triggers this again
            self.state.start(
                "compare", work, lambda comparison: self._show(comparison, version), background=True
            )

    def _cached_answers(self) -> list[tuple[Question, StateAnswer]]:
        comparison = self._comparison
        return (
            [(comparison.question, comparison.before), (comparison.question, comparison.after)]
            if comparison
            else []
        )

    # -- what is shown ---------------------------------------------------------------------------

    def _show(self, comparison: Comparison, version: tuple[int, int]) -> None:
        self._comparison, self._shown_version = comparison, version
        for column, answer in zip(self.columns, (comparison.before, comparison.after), strict=True):
            column.name(state_name(self.session, answer.number))
            column.show(answer, comparison.question.tokens)
        self._draw_difference()
        self._ratings.value = ratings_html(comparison)
        self._chat_check.value = chat_html(comparison)
        self._update_status()

    def _update_status(self) -> None:
        """Whether the columns match the current settings."""
        comparison, question = self._comparison, self._question_or_none()
        if comparison is None:
            message = "Press Compare." if question else "Select a fact or type a prompt."
        elif question is not None and comparison.question != question:
            message = "The columns are for another prompt or other settings; press Compare."
        elif self._shown_version != self._weights_version():
            message = "The weights have changed; the columns update, or press Compare."
        else:
            message = ""
        self._status.value = text("compare-state", message, tag="p") if message else ""

    def _draw_difference(self) -> None:
        comparison, difference = self._comparison, self.difference
        if comparison is None or difference is None:
            return
        testid = "no-difference" if difference.none else "difference"
        self._headline.value = text(testid, str(difference), tag="span")
        for column, flags in zip(self.columns, (difference.before, difference.after), strict=True):
            column.mark(flags, matches=self.marks == MATCHES, by_tokens=self.unit == TOKENS)

    def _draw_history(self) -> None:
        self._through.value = self._history_html()

    def _history_html(self) -> str:
        return history_html(self.session, *self._points) if self._points else ""
