"""Progress, cancellation and timing of long-running work.

The library never prints. Long functions take ``monitor: Monitor | None``, report progress with
:meth:`Monitor.stage` and :meth:`Monitor.advance`, and call :meth:`Monitor.check` where they can
stop. Without a monitor, progress is shown as a ``tqdm.auto`` bar (text in a terminal, a widget in a
notebook). Use ``Monitor(show=None)`` for no output.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import Canceled

log = logging.getLogger(__name__)


@dataclass
class Stage:
    """Progress of one stage of the work.

    Attributes:
        name: name of the stage, such as "statistics" or "target values".
        total: total number of units; None if unknown.
        unit: what is counted, such as "token" or "step".
        done: number of units done; starts above zero if the work is resumed.
        started: ``time.monotonic()`` at the start, in seconds.
        resumed_at: number of units done before the start.
        note: short text shown with the progress, such as "loss 0.31".
        detail: partial result for live displays, such as the traces of a search.
    """

    name: str
    total: float | None = None
    unit: str = "step"
    done: float = 0.0
    started: float = field(default_factory=time.monotonic)
    resumed_at: float = 0.0
    note: str = ""
    detail: Any = field(default=None, repr=False, compare=False)

    @property
    def rate(self) -> float:
        """Units per second since the start, without units done before a resume."""
        elapsed = time.monotonic() - self.started
        return (self.done - self.resumed_at) / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds left at the current rate; None if unknown."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, self.total - self.done) / self.rate


class Display(Protocol):
    """Callable that shows a stage; called when it opens, at every change, and when it closes."""

    def __call__(self, stage: Stage, *, closed: bool) -> None:
        """Show the stage as it is now."""


class TqdmDisplay:
    """Display of each stage as a ``tqdm.auto`` bar with rate and time left."""

    def __init__(self) -> None:
        self._bar = None
        self._stage: Stage | None = None

    def __call__(self, stage: Stage, *, closed: bool) -> None:
        """Update the bar of the stage, or close it."""
        from tqdm.auto import tqdm

        if self._stage is not stage:
            self._close()
            self._stage = stage
            self._bar = tqdm(
                total=stage.total,
                initial=stage.done,
                desc=stage.name,
                unit=stage.unit,
                unit_scale=stage.unit in {"token", "B"},
                leave=False,
                disable=bool(
                    os.environ.get("TQDM_DISABLE")
                ),  # the notebook bar ignores the variable
            )
        if self._bar is not None:
            if stage.note:
                self._bar.set_postfix_str(stage.note, refresh=False)
            self._bar.update(stage.done - self._bar.n)
        if closed:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            # Work such as a search can end early; an incomplete bar would stay visible in red.
            self._bar.total = self._bar.n
            widget = getattr(self._bar, "container", None)
            if widget is not None:
                # Hide the bar instead of destroying it: a reloaded notebook page would show "Error
                # displaying widget" for a destroyed one.
                self._bar.leave = True
                widget.layout.display = "none"
            self._bar.close()
        self._bar = self._stage = None


class Monitor:
    """Receiver of the progress of long-running work, which can also cancel it.

    Args:
        show: a :class:`Display`, ``"tqdm"`` for bars, or None for no output.
        cancel: event that another thread sets to cancel the work, or a function that returns True
            to cancel; None if the work cannot be canceled.

    Attributes:
        seconds: wall-clock seconds spent in each stage so far, by name.
        warnings: warnings for the user, in order.
    """

    def __init__(
        self,
        show: Display | str | None = "tqdm",
        cancel: threading.Event | Callable[[], bool] | None = None,
    ) -> None:
        self._show: Display | None = TqdmDisplay() if show == "tqdm" else show  # type: ignore[assignment]
        self._canceled = cancel.is_set if isinstance(cancel, threading.Event) else cancel
        self._stage: Stage | None = None
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        """Log a warning and add it to ``warnings``."""
        log.warning("%s", message)
        self.warnings.append(message)

    def check(self) -> None:
        """Raise an exception if the work was canceled.

        Raises:
            Canceled: if the work was canceled.
        """
        if self._canceled is not None and self._canceled():
            stage = f' during "{self._stage.name}"' if self._stage else ""
            raise Canceled(f"canceled{stage}; nothing was changed")

    @contextmanager
    def stage(
        self, name: str, total: float | None = None, unit: str = "step", done: float = 0.0
    ) -> Iterator[Stage]:
        """Open a stage for the duration of the context; stages can be nested.

        Args:
            name: name of the stage.
            total: total number of units; None if unknown.
            unit: what is counted.
            done: number of units done before the start.

        Yields:
            The stage, which :meth:`advance` updates.

        Raises:
            Canceled: if the work was canceled.
        """
        outer, stage = self._stage, Stage(name, total, unit, done=done, resumed_at=done)
        self._stage = stage
        self._display(stage)
        try:
            self.check()
            yield stage
        finally:
            self._stage = outer
            elapsed = time.monotonic() - stage.started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
            self._display(stage, closed=True)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Advance the open stage by ``amount`` units, then :meth:`check`.

        Raises:
            Canceled: if the work was canceled.
        """
        if self._stage is not None:
            self._stage.done += amount
            self._stage.note = note or self._stage.note
            self._display(self._stage)
        self.check()

    def _display(self, stage: Stage, closed: bool = False) -> None:
        if self._show is not None:
            self._show(stage, closed=closed)
