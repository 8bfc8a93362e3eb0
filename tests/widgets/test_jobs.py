"""One job at a time beside the kernel: progress, cancel, failure, and the model left alone."""

from __future__ import annotations

import threading

import pytest
from tiny import tiny_model

from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.header import StatusBar
from alphaedit_widgets.state import State


@pytest.fixture
def state() -> State:
    return State(EditSession(tiny_model("llama")))


def waiting(monitor: Monitor) -> None:
    with monitor.stage("waiting", 3):
        while True:
            monitor.check()


def test_a_job_runs_beside_and_gives_its_result(state: State) -> None:
    thread: list[threading.Thread] = []

    def work(monitor: Monitor) -> int:
        thread.append(threading.current_thread())
        with monitor.stage("counting", 4, "number"):
            for _ in range(4):
                monitor.advance()
        return 7

    got: list[int] = []
    job = state.start("count", work, got.append, block=True)
    assert thread[0] is not threading.main_thread()
    assert (job.state, job.result, got, job.where) == ("done", 7, [7], "number 4 / 4")
    assert [stage.name for stage in job.stages] == ["counting"]
    assert state.status == "ready" and not state.busy


def test_only_one_at_a_time_and_cancel(state: State) -> None:
    job = state.start("wait", waiting)
    assert state.busy and state.status == "running: wait"
    with pytest.raises(SessionError, match="wait is running; wait for it, or cancel it"):
        state.start("count", lambda _: None)
    state.cancel()
    assert job.wait(5)
    assert job.state == "canceled" and not state.busy and state.failure is None
    assert "canceled at step 0 / 3" in state.notice
    state.start("again", lambda _: None, block=True)


def test_what_is_told_late_of_an_earlier_job_does_not_hide_the_running_one(state: State) -> None:
    """A job lets go before it tells of its end, and the next may begin in between."""
    earlier = state.start("count", lambda _: None, block=True)
    running = state.start("wait", waiting)
    state._follow(earlier)
    assert state.job is running and state.status == "running: wait"
    state.cancel()
    assert running.wait(5) and running.state == "canceled"


def test_a_failure_stays_until_the_next_job(state: State) -> None:
    def broken(_: Monitor) -> None:
        raise ValueError("of no use")

    with pytest.raises(ValueError, match="of no use"):
        state.start("break", broken, block=True)
    failure = state.failure
    assert failure is not None and (failure.job, failure.kind) == ("break", "ValueError")
    assert "of no use" in failure.message and "Traceback" in failure.details
    assert state.job is not None and state.job.state == "failed" and not state.busy
    state.start("count", lambda _: None, block=True)
    assert state.failure is None


def test_what_a_person_should_know_of_a_job_is_said(state: State) -> None:
    header = StatusBar(state)
    displayed: list[str] = []

    def work(monitor: Monitor) -> None:
        with monitor.stage("search", 2):
            monitor.warn("out of memory with 64 tokens at once")
            displayed.append(header._progress.value)
            monitor.advance()
            with monitor.stage("again", 1):  # a new stage is told of at once
                displayed.append(header._progress.value)

    state.start(
        "edit", work, lambda _: setattr(state, "notice", "3 of 3 facts written"), block=True
    )
    assert "out of memory" in displayed[1]
    assert state.notice == "3 of 3 facts written; out of memory with 64 tokens at once"


def test_what_follows_a_job_may_start_the_next(state: State) -> None:
    states: list[str] = []
    second: list[object] = []

    def follow(job: object) -> None:
        states.append(state.status)
        second.append(state.start("second", lambda _: None))

    state.start("first", lambda _: None, ended=follow, block=True)
    assert states == ["ready"]
    assert second[0].wait(5)  # type: ignore[attr-defined]


def test_a_blocked_start_raises_canceled(state: State) -> None:
    def work(monitor: Monitor) -> None:
        state.cancel()
        waiting(monitor)

    with pytest.raises(Canceled):
        state.start("wait", work, block=True)
    assert state.failure is None


def test_another_thread_is_refused_the_model(state: State) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work(_: Monitor) -> None:
        with state.session.at_state(0):
            entered.set()
            assert leave.wait(5)

    job = state.start("look", work)
    assert entered.wait(5)
    with pytest.raises(SessionError, match="busy"):
        state.session.restore(0)
    leave.set()
    assert job.wait(5)
    state.session.restore(0)
