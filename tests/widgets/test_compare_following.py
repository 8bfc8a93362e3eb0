"""Before and after filled by itself: after edits, beside jobs and cells, and canceled."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from compare_panels import (
    FACT,
    OTHER,
    compare_panel,
    edited_session,
    fresh,
    text_of,
    wait,
    words_of,
)
from examples import quiet

from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.evaluation import before_after as comparison_module
from alphaedit_core.evaluation.before_after import Question, compare
from alphaedit_core.inference.token_by_token import TokenStep, generate_with_probabilities
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.compare.panel import ComparePanel
from alphaedit_widgets.state import State

edited = pytest.fixture(edited_session, scope="module")
panel = pytest.fixture(compare_panel)


def test_after_an_edit_both_columns_fill_by_themselves(place: Path) -> None:
    session = fresh(place)
    state = State(session)
    state.facts = (FACT, OTHER)
    panel = ComparePanel(state)
    panel.on_first_show()
    assert not state.busy and not panel.after  # nothing has changed, so nothing is asked
    state.start(
        "edit",
        lambda monitor: session.edit([FACT], monitor=monitor),
        lambda _: state.notify_weights_changed(),
        block=True,
    )
    wait(state)
    assert panel.comparison is not None
    assert (panel.comparison.before.number, panel.comparison.after.number) == (0, 1)
    assert panel.after == generate_with_probabilities(session.model, FACT.text, 12)
    session.undo()
    state.notify_weights_changed()
    wait(state)
    assert panel.comparison.after.number == 0 and panel.before == panel.after
    assert state.failure is None


def test_a_panel_that_has_not_been_shown_waits_until_it_is(edited: EditSession) -> None:
    panel = ComparePanel(edited)
    panel.state.facts = (FACT, OTHER)
    edited.restore(2)
    panel.state.notify_weights_changed()
    assert not panel.state.busy and panel.comparison is None
    panel.on_first_show()
    wait(panel.state)
    assert panel.comparison is not None and panel.comparison.after.number == 2
    edited.restore(1)


def test_another_reference_changes_heading_and_changes(panel: ComparePanel) -> None:
    panel.compare(block=True)
    change = text_of(panel._ratings.value, "delta-new")
    panel.state.reference = 2
    wait(panel.state)
    assert words_of(panel.columns[0].heading.value) == "Before: 2"
    assert text_of(panel._ratings.value, "delta-new") != change
    panel.session.rename(2, "the <b>capital</b>")
    panel.state.notify_weights_changed()
    wait(panel.state)
    assert words_of(panel.columns[0].heading.value) == "Before: 2 the <b>capital</b>"
    panel.session.rename(2, "")


def test_filling_makes_way_for_a_job_and_for_a_cell(
    panel: ComparePanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wanted next has the model at once; the columns follow afterwards."""
    panel.compare(block=True)
    entered = threading.Event()
    real = comparison_module.generate_with_probabilities

    def slow(*args: object, monitor: Monitor, **kwargs: object) -> list[TokenStep]:
        entered.set()
        while True:  # until it is stopped
            monitor.check()

    monkeypatch.setattr(comparison_module, "generate_with_probabilities", slow)
    digest = panel.session.weights_digest()
    panel.state.reference = 2
    assert entered.wait(5) and panel.state.busy and not panel.state.foreground_busy
    assert not panel.compare_button.disabled
    for number in (2, 1):
        entered.clear()
        panel.session.restore(number)  # as a cell would, without asking the panel
        assert entered.wait(5)  # it is filled anew …
    assert panel.session.weights_digest() == digest  # … and left for later
    wait(panel.state)
    assert panel.comparison is not None and panel.comparison.before.number == 0
    assert "update" in panel._status.value and panel.state.failure is None

    entered.clear()
    panel.state.notify_weights_changed()
    assert entered.wait(5)
    monkeypatch.setattr(comparison_module, "generate_with_probabilities", real)
    panel.state.start("other work", lambda _: None, block=True)
    wait(panel.state)
    assert panel.comparison.before.number == 2 and panel._status.value == ""


def test_what_fails_by_itself_is_told_once(
    panel: ComparePanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.compare(block=True)
    calls: list[int] = []

    def failing(*args: object, **kwargs: object) -> None:
        calls.append(1)
        raise ValueError("of no use")

    monkeypatch.setattr(comparison_module, "generate_with_probabilities", failing)
    panel.state.reference = 2
    wait(panel.state)
    assert panel.state.failure is not None and panel.state.failure.message == "of no use"
    assert len(calls) == 1
    assert panel.session.weights_digest() == panel.session.history[0].digest


def test_cancel_leaves_weights_and_columns(
    panel: ComparePanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.compare(block=True)
    shown, digest = panel.comparison, panel.session.weights_digest()
    panel.prompt = "Rome is"

    def canceled(*args: object, monitor: Monitor, **kwargs: object) -> None:
        panel.state.cancel()
        monitor.check()

    monkeypatch.setattr(comparison_module, "generate_with_probabilities", canceled)
    with pytest.raises(Canceled):
        panel.compare(block=True)
    assert panel.comparison is shown and panel.session.weights_digest() == digest


def test_only_work_that_can_be_stopped_is_stopped(edited: EditSession) -> None:
    model = edited.model
    entered, stop = threading.Event(), threading.Event()

    def hold(stoppable: bool) -> None:
        with model.exclusive(stop.set if stoppable else None), model.exclusive():
            entered.set()
            stop.wait(5)

    for stoppable in (True, False):
        entered.clear(), stop.clear()
        thread = threading.Thread(target=hold, args=(stoppable,))
        thread.start()
        assert entered.wait(5)
        if stoppable:
            with model.exclusive():
                assert stop.is_set()
        else:
            with pytest.raises(SessionError, match="busy"), model.exclusive():
                pass
        stop.set()
        thread.join(5)


def test_answers_of_equal_weights_are_used_again(
    edited: EditSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = Question(FACT.text, 3, new=FACT.target)
    first = compare(edited, question, 0, monitor=quiet())
    known = [(question, first.before), (question, first.after)]
    monkeypatch.setattr(
        comparison_module, "generate_with_probabilities", None
    )  # would fail if it were called
    again = compare(edited, question, 1, known, quiet())
    assert again.before == again.after == first.after
    with pytest.raises(TypeError):
        compare(edited, Question(FACT.text, 4), 0, known, quiet())
