"""Background jobs: one worker thread, one job at a time, with progress and cancellation.

The kernel handles no other message while a button's callback runs. The callback therefore starts a
job and returns at once, and the kernel stays free for cells.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.progress import Monitor, Stage

T = TypeVar("T")

#: Minimum seconds between progress updates; faster updates are unreadable.
_EVERY = 0.1


@dataclass(frozen=True)
class Failure:
    """An exception that ended a job.

    Attributes:
        job: the job's name.
        kind: the exception's type.
        message: the exception's message.
        details: the traceback.
    """

    job: str
    kind: str
    message: str
    details: str

    @classmethod
    def of(cls, job: str, error: BaseException) -> Failure:
        """Create a failure from an exception."""
        return cls(
            job, type(error).__name__, str(error), "".join(traceback.format_exception(error))
        )


@dataclass
class Job(Generic[T]):
    """A running or finished job.

    Attributes:
        name: the name shown to the user ("edit", "statistics").
        state: ``running``, ``done``, ``canceled`` or ``failed``.
        stages: all stages so far, in the order they started.
        stage: the stage updated last.
        result: the return value, once the job is done.
        failure: the exception, if the job failed.
        background: True if any other job may stop this one.
        warnings: warnings to show to the user.
    """

    name: str
    background: bool = False
    state: str = "running"
    warnings: list[str] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    stage: Stage | None = None
    result: T | None = None
    failure: Failure | None = None
    _cancel: threading.Event = field(default_factory=threading.Event)
    _finished: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Request cancellation; the job stops at its next check."""
        self._cancel.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the job to end; return False if ``seconds`` pass first."""
        return self._finished.wait(seconds)

    @property
    def where(self) -> str:
        """Current progress, such as ``step 3 / 25``; "" before the first stage."""
        stage = self.stage
        if stage is None:
            return ""
        return f"{stage.unit} {stage.done:,.0f}" + (f" / {stage.total:,.0f}" if stage.total else "")

    @property
    def time_left(self) -> str:
        """Estimated time left in the current stage; "" while it is unknown."""
        left = self.stage.seconds_left if self.stage else None
        if left is None or self.state != "running":
            return ""
        return f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left"


class Worker:
    """Run jobs one after the other, each in its own thread.

    Args:
        changed: called from the worker thread with the job when it starts, about ten times a
            second while it makes progress, and when it has ended.
    """

    def __init__(self, changed: Callable[[Job[Any]], None]) -> None:
        self._changed = changed
        self._busy = threading.Lock()
        self.job: Job[Any] | None = None

    @property
    def running(self) -> bool:
        """True while a job runs."""
        return self._busy.locked()

    def start(
        self,
        name: str,
        work: Callable[[Monitor], T],
        done: Callable[[T], None] = lambda _: None,
        *,
        block: bool = False,
        ended: Callable[[Job[T]], None] = lambda _: None,
        background: bool = False,
    ) -> Job[T]:
        """Start a job in the worker thread.

        Args:
            name: the job's name.
            work: called with a monitor that shows progress and checks for cancellation.
            done: called with the work's return value, in the worker thread.
            block: wait until the job has ended and raise its exception, if any.
            ended: called with the job however it ended, once the worker is free again.
            background: True if any other job may stop this one; recorded only.

        Raises:
            SessionError: if another job runs.
        """
        if not self._busy.acquire(blocking=False):
            doing = self.job.name if self.job else "other work"
            raise SessionError(f"{doing} is running; wait for it, or cancel it")
        job: Job[T] = Job(name, background)
        self.job = job
        self._changed(job)
        errors: list[BaseException] = []

        def run() -> None:
            monitor = Monitor(_Throttled(job, self._changed), job._cancel)
            job.warnings = monitor.warnings  # shared, because warnings are shown while the job runs
            try:
                job.result = work(monitor)
                done(job.result)
                job.state = "done"
            except Canceled as error:
                job.state = "canceled"
                errors.append(error)
            except BaseException as error:
                job.state, job.failure = "failed", Failure.of(name, error)
                errors.append(error)
            finally:
                self._busy.release()
                self._changed(job)
                try:
                    ended(job)
                finally:
                    job._finished.set()

        thread = threading.Thread(target=run, name=f"alphaedit: {name}", daemon=True)
        thread.start()
        if block:
            thread.join()
            if errors:
                raise errors[0]
        return job


class _Throttled:
    """A display that records a job's stages and reports at most ten times a second."""

    def __init__(self, job: Job[Any], changed: Callable[[Job[Any]], None]) -> None:
        self._job, self._changed = job, changed
        self._last = 0.0

    def __call__(self, stage: Stage, *, closed: bool) -> None:
        new = all(stage is not known for known in self._job.stages)
        if new:
            self._job.stages.append(stage)
        self._job.stage = stage
        now = time.monotonic()
        if new or closed or now - self._last >= _EVERY:
            self._last = now
            self._changed(self._job)
