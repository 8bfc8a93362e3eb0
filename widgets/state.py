"""State shared by the panels: fact drafts, selection and the running job.

All panels of one workbench share one :class:`State`. It uses no widgets, so the panels' actions can
be run and tested without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import index
from typing import Any, TypeVar

import traitlets as T
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.drift import DriftTracker

from .fact_drafts import Draft, ready
from .jobs import Failure, Job, Worker

R = TypeVar("R")


class Whole(T.Int[Any, Any]):
    """An integer trait that also accepts NumPy integers."""

    @override
    def validate(self, obj: Any, value: Any) -> Any:
        with suppress(TypeError):
            value = index(value)
        return super().validate(obj, value)


class State(T.HasTraits):
    """State that all panels of a workbench share.

    Args:
        session: the edit session to show.

    Attributes:
        drifts: the drift measured so far for each state of the session.
    """

    session = T.Instance(EditSession)
    #: Rows of the facts table.
    drafts: Any = T.Tuple(default_value=())
    #: Index of the selected row; -1 if none is selected.
    selected = Whole(-1)
    #: The selected layer.
    layer = Whole()
    #: Counts changes of the threshold and new spectra.
    threshold_changes = T.Int(0)
    #: Counts changes of the editor and its options.
    method_changes = T.Int(0)
    #: State of the history that "before" refers to.
    reference = Whole(0)
    #: Counts changes of the weights or the history.
    revision = T.Int(0)
    #: Counts drift measurements.
    measured = T.Int(0)
    #: The running or last job, and a count of its updates.
    job: Any = T.Instance(Job, allow_none=True)
    job_updates = T.Int(0)
    #: Prompt for the Compare tab; empty to use the selected fact's prompt.
    prompt = T.Unicode("")
    #: The last failure, until it is dismissed.
    failure: Any = T.Instance(Failure, allow_none=True)
    #: The last message to the user.
    notice = T.Unicode("")

    def __init__(self, session: EditSession) -> None:
        layers = session.hyperparameters.layers
        super().__init__(session=session, layer=layers[len(layers) // 2])
        self.drifts = DriftTracker(session)
        self._worker = Worker(self._follow)
        self._settings = session.hyperparameters
        session.watch(self._follow_session)

    @classmethod
    def of(cls, source: EditSession | State) -> State:
        """Return a state unchanged, or create one for a session."""
        return source if isinstance(source, State) else cls(source)

    # -- facts -----------------------------------------------------------------------------------

    @property
    def facts(self) -> list[Fact]:
        """All facts that are ready to edit."""
        return ready(self.drafts)

    @facts.setter
    def facts(self, facts: Sequence[Fact]) -> None:
        self.drafts = tuple(Draft.of(fact) for fact in facts)
        self.selected = 0 if self.drafts else -1

    @property
    def fact(self) -> Fact | None:
        """The selected fact; None if no row is selected or the row is incomplete."""
        if not 0 <= self.selected < len(self.drafts):
            return None
        facts = ready([self.drafts[self.selected]])
        return facts[0] if facts else None

    @T.observe("drafts")
    def _keep_selection(self, change: Any) -> None:
        if self.selected >= len(change["new"]):
            self.selected = len(change["new"]) - 1

    # -- the threshold ---------------------------------------------------------------------------

    @property
    def threshold(self) -> Threshold:
        """Threshold of the kept space in the selected layer.

        Setting it applies the threshold to all layers.
        """
        return self.threshold_at(self.layer)

    @threshold.setter
    def threshold(self, value: float | str | Threshold) -> None:
        new = Threshold.parse(value)
        hp = self.session.hyperparameters
        if new != hp.threshold or hp.layer_thresholds:
            self.session.hyperparameters = hp.replace(threshold=new, layer_thresholds=())

    def threshold_at(self, layer: int) -> Threshold:
        """Return the threshold that the next edit uses in a layer."""
        return self.session.hyperparameters.at(layer).threshold

    # -- the method ------------------------------------------------------------------------------

    def set_method(self, name: str, value: str | bool) -> None:
        """Change ``editor``, ``projection`` or ``previous_keys`` of the next edit.

        Changing the editor loads its published settings; threshold, text and seed are kept.

        Raises:
            InputError: if the editor is unknown or does not support the option.
            SessionError: if the editor edits other layers and the session has edits.
        """
        hp = self.session.hyperparameters
        new = method_changed(self.session, hp, name, value)
        if new != hp:
            self.session.hyperparameters = new

    # -- work ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._worker.running

    @property
    def status(self) -> str:
        """``ready``, ``closed``, or ``running:`` and the job's name."""
        if self.busy and self.job:
            return f"running: {self.job.name}"
        return "closed" if self.session.closed else "ready"

    @property
    def idle(self) -> bool:
        """True if background work may start: no job runs and the session is open."""
        return not self.busy and not self.session.closed

    def start(
        self,
        name: str,
        work: Callable[[Monitor], R],
        done: Callable[[R], None] = lambda _: None,
        *,
        block: bool = False,
        ended: Callable[[Job[R]], None] = lambda _: None,
        background: bool = False,
    ) -> Job[R]:
        """Start a job; see :meth:`~.Worker.start`. A failure is shown until it is dismissed.

        A background job is stopped when another job starts. While it runs, ``busy`` is True and
        ``foreground_busy`` is False.
        """
        self.preempt_background_job()
        if not background:
            self.failure = None
        return self._worker.start(name, work, done, block=block, ended=ended, background=background)

    def preempt_background_job(self) -> None:
        """Stop a running background job, if any, and wait until it has ended."""
        # The end of one background job may start the next, so loop.
        while self.busy and (job := self._worker.job) is not None and job.background:
            job.cancel()
            if not job.wait(10):
                return

    @property
    def foreground_busy(self) -> bool:
        """True while a job runs that is not a background job."""
        job = self._worker.job
        return self.busy and job is not None and not job.background

    def cancel(self) -> None:
        """Ask the running job to stop."""
        if (job := self._worker.job) is not None:
            job.cancel()

    def _follow_session(self, change: str) -> None:
        """Update after a change of the session here, in a cell or in another workbench."""
        if change == "spectra":
            self.threshold_changes += 1
        elif change == "hyperparameters":
            previous, self._settings = self._settings, self.session.hyperparameters
            threshold = {
                name: getattr(previous, name) for name in ("threshold", "layer_thresholds")
            }
            if self._settings.replace(**threshold) == previous:
                self.threshold_changes += 1
            else:
                self.method_changes += 1
        else:
            self.preempt_background_job()  # it started from weights that have changed
            self.notify_weights_changed()

    def notify_weights_changed(self) -> None:
        """Notify all panels that the weights or the history have changed."""
        self.reference = min(self.reference, len(self.session.history))
        self.revision += 1

    def report(self, job: str, error: BaseException) -> None:
        """Show an exception that was raised outside a job."""
        self.failure = Failure.of(job, error)

    def _follow(self, job: Job[Any]) -> None:
        # The next job may have started before the end of this one is reported.
        self.job = self._worker.job
        if job.state == "failed":
            self.failure = job.failure
        elif job.state == "canceled" and not job.background:
            self.notice = f"{job.name}: canceled at {job.where}; the weights are unchanged"
        elif job.state == "done" and job.warnings and not job.background:
            self.notice = "; ".join([*filter(None, [self.notice]), *job.warnings])
        self.job_updates += 1


#: Fields that keep their values when another editor is chosen.
_KEPT = ("threshold", "text", "tokens", "seed", "contexts", "context_tokens")


def method_changed(
    session: EditSession, hp: EditConfig, name: str, value: str | bool
) -> EditConfig:
    """Return hyperparameters with another ``editor``, ``projection`` or ``previous_keys``.

    Raises:
        InputError: if there is no such editor.
    """
    if name != "editor":
        return hp.replace(**{name: value})
    if value == hp.editor:
        return hp
    return settled(default_hyperparameters(session.model, str(value)), hp)


def settled(hp: EditConfig, present: EditConfig) -> EditConfig:
    """Return hyperparameters with the current thresholds, text and seed."""
    kept = {name: getattr(present, name) for name in _KEPT}
    # Per-layer thresholds apply only to the layers that they were set for.
    layer_thresholds = present.layer_thresholds if hp.layers == present.layers else ()
    return hp.replace(**kept, layer_thresholds=layer_thresholds)
