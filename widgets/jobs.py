"""Long work beside the kernel: one worker thread, one job at a time, progress and cancel.

A callback of a button must return at once: while it runs, no other message of the page is read. So
it starts a job here and returns; the kernel stays free for cells.
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

#: Seconds between two messages about progress; more often nobody can read them.
_EVERY = 0.1


@dataclass(frozen=True)
class Failure:
    """An exception that ended a job.

    Attributes:
        job: what was being done.
        kind: the exception's type.
        message: what it says.
        details: the traceback.
    """

    job: str
    kind: str
    message: str
    details: str

    @classmethod
    def of(cls, job: str, error: BaseException) -> Failure:
        """From an exception that is being handled."""
        return cls(
            job, type(error).__name__, str(error), "".join(traceback.format_exception(error))
        )


@dataclass
class Job(Generic[T]):
    """Work that runs, or ran.

    Attributes:
        name: what is being done, in words ("edit", "statistics").
        state: ``running``, ``done``, ``canceled`` or ``failed``.
        stages: every stage so far, in order of their beginnings.
        stage: the one that moved last.
        result: what the work returned, once it is done.
        failure: what ended it, if it failed.
        background: whether it makes way for any other work.
        warnings: what a person should know of how it went, in words.
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
        """Ask it to stop; it does at its next check."""
        self._cancel.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; False if it has not within so many seconds."""
        return self._finished.wait(seconds)

    @property
    def where(self) -> str:
        """Where it stands, in words: ``step 3 / 25``; "" before the first stage."""
        stage = self.stage
        if stage is None:
            return ""
        return f"{stage.unit} {stage.done:,.0f}" + (f" / {stage.total:,.0f}" if stage.total else "")

    @property
    def time_left(self) -> str:
        """What is left of the present stage, in words; "" while that cannot be known."""
        left = self.stage.seconds_left if self.stage else None
        if left is None or self.state != "running":
            return ""
        return f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left"


class Worker:
    """Runs jobs one after the other, each in a thread of its own.

    Args:
        changed: called with the job when it starts, about ten times a second while it moves on,
            and when it has ended; from the worker's thread.
    """

    def __init__(self, changed: Callable[[Job[Any]], None]) -> None:
        self._changed = changed
        self._busy = threading.Lock()
        self.job: Job[Any] | None = None

    @property
    def running(self) -> bool:
        """Whether a job runs now."""
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
        """Start work and return.

        Args:
            name: what it is, in words.
            work: is given a monitor that shows progress and knows of the canceling.
            done: is given what the work returned; in the worker's thread.
            block: wait until the job has ended; its exception, if any, is raised here then.
            ended: is given the job however it ended, after the worker is free again.
            background: whether it makes way for any other work (the worker only notes it).

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
            job.warnings = monitor.warnings  # they are read while the work goes on
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
    """A display that keeps a job's stages, and tells of them ten times a second at most."""

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
