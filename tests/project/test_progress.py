"""Progress: displays, times, warnings and cancellation."""

from __future__ import annotations

import threading
import time

import pytest

from alphaedit_core.errors import Canceled
from alphaedit_core.progress import Monitor, Stage


class Recorder:
    """A display that records every state."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, str, bool]] = []

    def __call__(self, stage: Stage, *, closed: bool) -> None:
        self.seen.append((stage.name, stage.done, stage.note, closed))


def test_display_receives_every_step_and_the_end() -> None:
    recorder = Recorder()
    monitor = Monitor(recorder)
    with monitor.stage("statistics", total=30, unit="token", done=10) as stage:
        monitor.advance(5, note="loss 0.5")
        monitor.advance(15)
    assert (stage.total, stage.unit, stage.resumed_at) == (30, "token", 10)
    assert recorder.seen == [
        ("statistics", 10, "", False),
        ("statistics", 15, "loss 0.5", False),
        ("statistics", 30, "loss 0.5", False),
        ("statistics", 30, "loss 0.5", True),
    ]


def test_stages_nest() -> None:
    recorder = Recorder()
    monitor = Monitor(recorder)
    with monitor.stage("outer"):
        with monitor.stage("inner"):
            monitor.advance(2)
        monitor.advance(1)
    assert [(name, done) for name, done, _, _ in recorder.seen] == [
        *(("outer", 0), ("inner", 0), ("inner", 2), ("inner", 2), ("outer", 1), ("outer", 1))
    ]
    monitor.advance()  # no effect outside a stage
    assert len(recorder.seen) == 6


def test_rate_and_time_left_exclude_earlier_work() -> None:
    stage = Stage("x", total=100, done=40, resumed_at=20, started=time.monotonic() - 10)
    assert stage.rate == pytest.approx(2.0, rel=0.01)
    assert stage.seconds_left == pytest.approx(30.0, rel=0.01)
    stage.done = 120
    assert stage.seconds_left == 0.0
    assert Stage("x", total=100).seconds_left is None
    assert Stage("x", done=5, started=time.monotonic() - 1).seconds_left is None


def test_seconds_add_up_by_name() -> None:
    monitor = Monitor(None)
    for _ in range(2):
        with monitor.stage("a"):
            time.sleep(0.02)
    with pytest.raises(ValueError, match="no"), monitor.stage("b"):
        raise ValueError("no")
    assert monitor.seconds["a"] >= 0.04
    assert set(monitor.seconds) == {"a", "b"}


@pytest.mark.parametrize("way", ["event", "function"])
def test_cancel_stops_the_work(way: str) -> None:
    event = threading.Event()
    recorder = Recorder()
    monitor = Monitor(recorder, event if way == "event" else event.is_set)
    monitor.check()
    with (
        pytest.raises(Canceled, match='canceled during "work"; nothing was changed'),
        monitor.stage("work", total=3),
    ):
        monitor.advance()
        event.set()
        monitor.advance()
    assert recorder.seen[-1] == ("work", 2, "", True)  # the display is closed all the same
    with pytest.raises(Canceled, match=r"^canceled; nothing was changed$"):
        monitor.check()
    with pytest.raises(Canceled), monitor.stage("more"):
        pytest.fail("a canceled stage was begun")


def test_terminal_progress_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monitor = Monitor()
    with monitor.stage("reading text", total=2000, unit="token"):
        monitor.advance(500, note="halfway there")
        with monitor.stage("inner", total=1):
            monitor.advance()
        monitor.advance(500)
        time.sleep(0.15)  # a bar is not drawn more often than every tenth of a second
        monitor.advance(500)
    out, err = capsys.readouterr()
    assert out == ""
    assert "reading text" in err and "inner" in err and "1.50k/2.00k" in err
    assert "halfway there" in err


def test_no_output_if_disabled(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Monitor(show=None).stage("reading"):
        pass
    monkeypatch.setenv("TQDM_DISABLE", "1")
    with Monitor().stage("reading"):
        pass
    assert capsys.readouterr() == ("", "")


def test_warnings_are_stored_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    monitor = Monitor(show=None)
    monitor.warn("out of memory with 128 tokens at once")
    assert monitor.warnings == ["out of memory with 128 tokens at once"]
    assert "128 tokens" in caplog.text


def test_notebook_progress_bar_is_hidden_not_destroyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a page reload, a destroyed widget would show an error."""
    from tqdm import notebook

    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setattr("tqdm.auto.tqdm", notebook.tqdm)
    monkeypatch.setattr(notebook, "display", lambda *_: None)
    bars: list[notebook.tqdm] = []
    kept = notebook.tqdm.__init__

    def noting(self: notebook.tqdm, *args: object, **options: object) -> None:
        bars.append(self)
        kept(self, *args, **options)

    monkeypatch.setattr(notebook.tqdm, "__init__", noting)
    with Monitor().stage("reading", total=3):
        assert bars[0].container.layout.display is None
    assert bars[0].container.comm is not None, "the widget model still exists"
    assert bars[0].container.layout.display == "none"
