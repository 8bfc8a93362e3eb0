"""Header, state and the parts of all panels, without a browser."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import plotly.graph_objects as go
import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.errors import InputError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets import header as header_module
from alphaedit_widgets.components.inputs import Slider, Table, style
from alphaedit_widgets.components.live_figure import LiveFigure
from alphaedit_widgets.components.panel import table, text
from alphaedit_widgets.fact_drafts import Draft, needs, ready
from alphaedit_widgets.header import StatusBar
from alphaedit_widgets.state import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    session = EditSession(
        tiny_model("llama"), hyperparameters=small(tmp_path), contexts=CONTEXTS[:1]
    )
    return State(session)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_line_on_top(state: State) -> None:
    header = StatusBar(state)
    assert words(header._session_line.value).startswith(
        "tiny llama · float32 · cpu · alphaedit +projection +previous-keys · edits: 0 · ready "
        "memory: "
    )
    assert header._alert.value == header._progress.value == words(header._notice.value) == ""
    assert header._progress_row.layout.display == header._notice.layout.display == "none"
    assert repr(header) == (
        "StatusBar: tiny llama · float32 · cpu · alphaedit +projection +previous-keys · edits: 0"
    )


def test_a_running_job_is_named_and_can_be_canceled(state: State) -> None:
    header = StatusBar(state, loaded=lambda _: None)
    begun, go_on = threading.Event(), threading.Event()

    def work(monitor: Monitor) -> None:
        with monitor.stage("reading", 8, "token"):
            monitor.advance(2)
            begun.set()
            assert go_on.wait(10)
            monitor.check()

    job = state.start("look", work)
    assert begun.wait(10)
    assert "running: look" in words(header._session_line.value)
    assert "reading" in words(header._progress.value)
    assert 'aria-label="look"' in header._progress.value
    assert header._progress_row.layout.display == "" and not header.cancel.disabled
    assert header.load.disabled
    header.cancel.click()
    go_on.set()
    assert job.wait(10)
    assert "ready" in words(header._session_line.value)
    assert header._progress.value == "" and header.cancel.disabled and not header.load.disabled
    assert "canceled" in words(header._notice.value)


def test_an_error_stays_until_it_is_dismissed(state: State) -> None:
    header = StatusBar(state)

    def work(_: Monitor) -> None:
        raise ValueError("<b>no</b>")

    with pytest.raises(ValueError, match="no"):
        state.start("look", work, block=True)
    assert 'role="alert"' in header._alert.value
    assert "look failed: ValueError" in words(header._alert.value)
    assert "&lt;b&gt;no&lt;/b&gt;" in header._alert.value and "<b>no" not in header._alert.value
    assert "<details>" in header._alert.value and "Traceback" in header._alert.value
    header.dismiss.click()
    assert header._alert.value == "" and header._failure_row.layout.display == "none"


def test_another_model(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def load(name: str, device: str, dtype: str, monitor: Monitor) -> EditableModel:
        asked.append((name, device, dtype))
        if name == "none":
            raise InputError('model "none" does not exist')
        return tiny_model("gpt2")

    monkeypatch.setattr(header_module, "load_model", load)
    taken: list[EditSession] = []
    header = StatusBar(state, loaded=taken.append)
    header.model.value, header.dtype.value = "none", "float16"
    with pytest.raises(InputError):
        header.load_chosen(block=True)
    assert taken == [] and state.session.model.owner is state.session
    header.model.value = "other"
    header.load_chosen(block=True)
    assert asked == [("none", "auto", "float16"), ("other", "auto", "float16")]
    assert [session.model.name for session in taken] == ["tiny gpt2"]
    assert state.session.model.owner is None


def test_edits_are_counted(state: State, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "cache"))
    header = StatusBar(state)
    state.session.edit(FACTS[:1], monitor=quiet())
    state.notify_weights_changed()
    assert "edits: 1" in words(header._session_line.value)
    state.session.undo()
    state.notify_weights_changed()
    assert "edits: 0" in words(header._session_line.value)


def test_drafts() -> None:
    fact = FACTS[0]
    same = Draft.of(fact).with_fields(target="Oslo")
    drafts = [Draft.of(fact, "g"), Draft("x", "nothing", "y"), Draft("x", "{} is", " "), same]
    assert Draft.of(fact).fact() == fact
    missing = needs(drafts)
    assert missing[0] == "" and "{}" in missing[1] and missing[2] == "a target"
    assert "row 1 has the same" in missing[3]
    assert ready(drafts) == [fact] and ready([Draft()]) == []


def test_selection_follows_the_drafts(state: State) -> None:
    state.facts = FACTS
    assert state.selected == 0 and state.fact == FACTS[0]
    state.selected = 3
    state.drafts = state.drafts[:2]
    assert state.selected == 1
    state.facts = []
    assert state.selected == -1 and state.fact is None


def test_the_threshold_reaches_the_session(state: State) -> None:
    state.threshold = 0.5
    assert str(state.session.hyperparameters.threshold) == "0.5" == str(state.threshold)
    state.threshold = "energy:0.2"
    assert str(state.threshold) == "energy:0.2" and state.threshold_changes == 2
    state.threshold = "energy:0.2"
    assert state.threshold_changes == 2
    with pytest.raises(InputError):
        state.threshold = "much"


def test_a_live_figure_tells_a_new_page_what_it_is_now() -> None:
    figure = go.Figure(go.Scatter(y=[1, 2]))
    figure.add_hline(y=1)
    live = LiveFigure(figure, "two <points>")
    assert "two &lt;points&gt;" in live.label.value
    with live.changing() as widget:
        widget.layout.shapes[0].y0 = 5
        widget.layout.title.text = "new"
        widget.data[0].y = [3, 4]
    assert live.figure._widget_layout["shapes"][0]["y0"] == 5
    assert live.figure._widget_layout["title"]["text"] == "new"
    assert list(live.figure._widget_data[0]["y"]) == [3, 4]


def test_parts() -> None:
    made = Table(columns=["a", "b"], label="rows")
    made.fill([["1", "2"], ["3", "4"]], [7, 9])
    assert made.row_keys == [7, 9] and made.rows[1] == ["3", "4"]
    assert repr(made) == "Table('rows', 2 rows)"
    assert "innerHTML" not in made._esm and "http" not in Slider(label="x")._esm
    assert "--jp-" in style() and "http" not in style() and "@import" not in style()
    assert "&lt;i&gt;" in text("t", "<i>") and "&lt;i&gt;" in table(["<i>"], [["<i>"]], "t")
