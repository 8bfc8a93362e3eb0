"""The edit panel without a browser: what it writes, shows, refuses, cancels and explains."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.errors import AlphaEditError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session import session as session_module
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.figure import means
from alphaedit_widgets.edit.panel import EditPanel, summary
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.facts.status import statuses
from alphaedit_widgets.state import State


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(
            outcomes, "generate_greedy", lambda *a, **k: generate_greedy(*a, **{**k, "tokens": 2})
        )
        yield folder


@pytest.fixture
def panel(place: Path) -> EditPanel:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    made = EditPanel(session)
    made.state.facts = FACTS
    return made


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html)


def test_an_edit_gives_what_the_session_gives(panel: EditPanel, place: Path) -> None:
    panel.run(block=True)
    plain = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    result = plain.edit(FACTS, monitor=quiet())
    assert panel.session.weights_digest() == plain.weights_digest()
    assert panel.result is not None
    for own, other in zip(panel.result.outcomes, result.outcomes, strict=True):
        assert own.trace == other.trace
    assert panel.state.revision == 1


def test_the_curves_end_where_the_traces_do(panel: EditPanel) -> None:
    panel.run(block=True)
    assert panel.figure is not None and panel.result is not None
    traces = [outcome.trace for outcome in panel.result.outcomes]
    figure = panel.figure.figure
    for line, part in zip(figure.data, ("nll", "kl", "decay"), strict=False):
        assert list(line.y) == pytest.approx(means(traces, part))
        assert len(line.y) == max(len(trace.nll) for trace in traces)
    shown = [line for line in figure.data[3:] if line.visible]
    assert [list(line.y) for line in shown] == [trace.probability for trace in traces]
    assert [line.name for line in shown] == [fact.subject for fact in FACTS]
    panel._curves_of.value = 1
    assert list(figure.data[0].y) == pytest.approx(traces[1].nll)
    assert sum(bool(line.visible) for line in figure.data[3:]) == 1


def test_a_page_loaded_again_gets_the_present_figure(panel: EditPanel) -> None:
    panel.run(block=True)
    assert panel.figure is not None
    figure: Any = panel.figure.figure
    assert figure._widget_data[0]["y"] == figure._data[0]["y"]
    assert len(figure._widget_data[0]["y"]) > 0


def test_what_it_says_afterwards(panel: EditPanel) -> None:
    panel.run(block=True)
    result = panel.result
    assert result is not None
    output = words(panel._outcome.value)
    assert f"{result.written} of {len(FACTS)} facts written" in output
    writes = [write for batch in result.writes for write in batch]
    bare = sum(write.unprojected_norm**2 for write in writes) ** 0.5
    own = sum(write.surviving_norm**2 for write in writes) ** 0.5
    assert f"norm kept: {own / bare:.0%}" in output
    assert summary(result).split(";")[0] in panel.state.notice
    found = statuses(panel.state.drafts, panel.session)
    assert found == [["failed", "applied"][outcome.written] for outcome in result.outcomes]
    assert "done" in words(panel._stages.value) and "pending" not in words(panel._stages.value)


def test_nothing_ready_nothing_run(panel: EditPanel) -> None:
    panel.state.drafts = ()
    assert panel.run_button.disabled
    with pytest.raises(AlphaEditError, match="no fact is ready"):
        panel.run(block=True)
    panel.state.drafts = (Draft.of(FACTS[0]), Draft("x", "no place", "y"))
    assert panel.run_button.disabled and "1 rows" in panel.problem()
    panel.state.drafts = (Draft.of(FACTS[0]), Draft())
    assert not panel.run_button.disabled and panel.problem() == ""


def test_a_threshold_that_keeps_nothing_is_refused(panel: EditPanel) -> None:
    panel.session.spectra(quiet())
    panel.state.threshold = "rank:0"
    assert panel.run_button.disabled
    assert "nothing can be written" in panel.problem()
    panel.state.threshold = "rank:30"
    assert not panel.run_button.disabled


class Held:
    """Stops the search at its third step until it is let go."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        advance = Monitor.advance

        def held(monitor: Monitor, amount: float = 1.0, note: str = "") -> None:
            stage = monitor._stage
            if stage is not None and stage.name == "target values" and stage.done == 2:
                self.reached.set()
                assert self.go.wait(20)
            advance(monitor, amount, note)

        patch.setattr(Monitor, "advance", held)


def test_cancel_leaves_the_weights(panel: EditPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = panel.session.weights_digest()
    held = Held(monkeypatch)
    job = panel.run()
    assert job is not None and held.reached.wait(20)
    assert panel.run_button.disabled and not panel.cancel_button.disabled
    assert re.search(r"step \d / 4", words(panel._step.value))
    assert panel.run() is None  # pressed twice
    panel.cancel_button.click()
    held.go.set()
    assert job.wait(20)
    assert job.state == "canceled"
    assert "canceled at step 3 / 4" in words(panel._step.value)
    assert panel.session.weights_digest() == digest and panel.session.applied == 0
    assert not panel.run_button.disabled and panel.cancel_button.disabled


def test_work_in_the_background_makes_way(panel: EditPanel) -> None:
    """The button is not dead while Compare or Drift fill themselves."""

    def forever(monitor: Monitor) -> None:
        while True:
            monitor.check()

    job = panel.state.start("compare", forever, background=True)
    assert panel.state.busy and not panel.run_button.disabled
    edit = panel.run()
    assert edit is not None and edit.wait(30) and edit.state == "done"
    assert job.state == "canceled" and panel.session.applied == 1


def test_a_failure_leaves_the_weights_and_can_be_tried_again(
    panel: EditPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = panel.session.weights_digest()
    with monkeypatch.context() as patch:
        patch.setattr(session_module, "_result", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            panel.run(block=True)
    assert panel.state.failure is not None and panel.state.failure.kind == "ZeroDivisionError"
    assert panel.session.weights_digest() == digest
    assert "failed" in words(panel._step.value)
    panel.run(block=True)
    assert panel.session.applied == 1 and panel.state.failure is None


def test_whether_earlier_facts_hold(panel: EditPanel) -> None:
    assert panel.check_button.disabled
    panel.run(block=True)
    assert not panel.check_button.disabled
    panel.session.undo()
    panel.state.notify_weights_changed()
    assert panel.check_button.disabled
    panel.session.redo()
    panel.state.notify_weights_changed()
    assert not panel.check_button.disabled
    job = panel.check(block=True)
    output = words(panel._forgotten.value)
    if job.result:
        assert (
            f"{len(job.result)} of " in output and "no longer hold" in output and "edit 1" in output
        )
    else:
        assert "still hold" in output


def test_text_of_facts_is_escaped(place: Path) -> None:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=())
    panel = EditPanel(State(session))
    panel.state.facts = [FACTS[0].changed(subject="<img src=x onerror=alert(1)>")]
    panel.run(block=True)
    assert "<img src=x" not in panel._outcome.value
    assert "&lt;img src=x" in panel._outcome.value
    assert "<img src=x" not in panel.static_html()


def test_means_of_parts() -> None:
    from alphaedit_core.editing.search_trace import Trace

    traces = [Trace(nll=[4.0, 2.0, 1.0]), Trace(nll=[2.0])]
    assert means(traces, "nll") == [3.0, 2.0, 1.5]
    assert means([], "nll") == means([Trace()], "nll") == []


def test_the_summary_is_the_same_each_time(panel: EditPanel) -> None:
    assert repr(panel) == "EditPanel(4 facts ready, written: no edit yet)"
    panel.run(block=True)
    assert torch.is_grad_enabled()
    assert re.fullmatch(r"EditPanel\(4 facts ready, written: \d of 4\)", repr(panel))


def test_what_an_edit_superseded_is_said_and_both_can_be_kept(panel: EditPanel) -> None:
    panel.run(block=True)
    assert "replaces" not in words(panel._outcome.value)
    again = FACTS[0].changed(target="Berlin")
    panel.state.facts = [again]
    panel.run(block=True)
    output = f"“{again.text} Berlin” replaces “{again.text} {FACTS[0].target}” of edit 1"
    assert output in words(panel._outcome.value)
    assert statuses([Draft.of(FACTS[0])], panel.session) == ["ready"]
    panel.session.undo()
    panel.keep_both = True
    panel.run(block=True)
    assert panel.result is not None and panel.result.superseded == []
    assert panel.session.history[1].facts == [again.changed(replaces="nothing")]
    for fact in (FACTS[0], again):
        assert statuses([Draft.of(fact)], panel.session)[0] in ("applied", "failed")
    assert panel.state.facts == [again], "the rows stay as they were typed"
