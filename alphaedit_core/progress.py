"""Progress, cancellation and timing of long work: one small object that the work reports to.

The library never prints. Long functions take ``monitor: Monitor | None``; they say where they are
with :meth:`Monitor.stage` and :meth:`Monitor.advance`, and ask :meth:`Monitor.check` wherever they
can stop. A caller who gives no monitor gets a ``tqdm.auto`` bar (text in a terminal, a widget in a
notebook). A caller who wants silence gives ``Monitor(show=None)``.
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
    """Where one stage of the work stands.

    Attributes:
        name: what is being done, in words ("statistics", "target values").
        total: number of units in all, or None where that is not known.
        unit: what is counted ("token", "step").
        done: units done so far; starts above zero where work is resumed.
        started: ``time.monotonic()`` at the start, in seconds.
        resumed_at: units that were already done at the start.
        note: a short text that goes with the figures ("loss 0.31").
        detail: what the stage is making, for displays that can show it while it grows: the traces
            of a search, what layers wrote.
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
        """Units per second since the start (units done earlier, before a resume, left out)."""
        elapsed = time.monotonic() - self.started
        return (self.done - self.resumed_at) / elapsed if elapsed > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds left at the present rate; None while that cannot be known."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0.0, self.total - self.done) / self.rate


class Display(Protocol):
    """Something that shows a stage: called when it opens, at every change, and when it closes."""

    def __call__(self, stage: Stage, *, closed: bool) -> None:
        """Show the stage as it is now."""


class TqdmDisplay:
    """Shows each stage as a ``tqdm.auto`` bar with rate and time left."""

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
                disable=bool(os.environ.get("TQDM_DISABLE")),  # tqdm's bar in a notebook forgets it
            )
        if self._bar is not None:
            if stage.note:
                self._bar.set_postfix_str(stage.note, refresh=False)
            self._bar.update(stage.done - self._bar.n)
        if closed:
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            # Work may end early, as a search does; a bar short of its total would stay, in red.
            self._bar.total = self._bar.n
            widget = getattr(self._bar, "container", None)
            if widget is not None:
                # In a notebook the bar is hidden, not destroyed: of a widget that is gone, a page
                # that is loaded again says "Error displaying widget".
                self._bar.leave = True
                widget.layout.display = "none"
            self._bar.close()
        self._bar = self._stage = None


class Monitor:
    """What long work reports to.

    Args:
        show: a :class:`Display`; ``"tqdm"`` for bars, None for silence.
        cancel: an event that another thread sets to stop the work; None if nobody will.

    Attributes:
        seconds: wall-clock seconds spent in each stage so far, by name.
        warnings: what a person should know of how the work went, in words, in order.
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

    def warn(self, words: str) -> None:
        """Note, and log, something that a person should know; the work goes on."""
        log.warning("%s", words)
        self.warnings.append(words)

    def check(self) -> None:
        """Stop here if the work was canceled.

        Raises:
            Canceled: if the cancel event is set.
        """
        if self._canceled is not None and self._canceled():
            stage = f' during "{self._stage.name}"' if self._stage else ""
            raise Canceled(f"canceled{stage}; nothing was changed")

    @contextmanager
    def stage(
        self, name: str, total: float | None = None, unit: str = "step", done: float = 0.0
    ) -> Iterator[Stage]:
        """Open a stage; inside it :meth:`advance` moves it on. Stages may nest."""
        outer, stage = self._stage, Stage(name, total, unit, done=done, resumed_at=done)
        self._stage = stage
        self._tell(stage)
        try:
            self.check()
            yield stage
        finally:
            self._stage = outer
            elapsed = time.monotonic() - stage.started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
            self._tell(stage, closed=True)

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Move the open stage on by ``amount`` units, then :meth:`check`."""
        if self._stage is not None:
            self._stage.done += amount
            self._stage.note = note or self._stage.note
            self._tell(self._stage)
        self.check()

    def _tell(self, stage: Stage, closed: bool = False) -> None:
        if self._show is not None:
            self._show(stage, closed=closed)
