"""What only the screen knows: drafts, what is selected, the running job. Panels are views of it.

All panels of one workbench share one :class:`State`. It uses no widgets, so what a panel does can
be done, and tested, without any.
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
    """A whole number, one of numpy's too."""

    @override
    def validate(self, obj: Any, value: Any) -> Any:
        with suppress(TypeError):
            value = index(value)
        return super().validate(obj, value)


class State(T.HasTraits):
    """What all panels of a workbench share.

    Args:
        session: the session that is looked at.

    Attributes:
        drifts: the drift of the session's states, as far as it has been measured.
    """

    session = T.Instance(EditSession)
    #: Rows of the facts table.
    drafts: Any = T.Tuple(default_value=())
    #: The selected row, from 0; -1 for none.
    selected = Whole(-1)
    #: The layer that is looked at.
    layer = Whole()
    #: Grows with every change of the threshold, and when the spectra have been made.
    threshold_changes = T.Int(0)
    #: Grows with every change of the editor or its switches.
    method_changes = T.Int(0)
    #: State of the history that "before" means.
    reference = Whole(0)
    #: Grows whenever the weights or the history have changed.
    revision = T.Int(0)
    #: Grows whenever the drift of a state has been measured.
    measured = T.Int(0)
    #: The running or last job, and a number that grows with everything it tells.
    job: Any = T.Instance(Job, allow_none=True)
    job_updates = T.Int(0)
    #: The text that Compare is to look at, where it is not the selected fact's own.
    prompt = T.Unicode("")
    #: What failed last, until it is dismissed.
    failure: Any = T.Instance(Failure, allow_none=True)
    #: The last thing worth saying, in words.
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
        """A state as it is, or a new one for a session."""
        return source if isinstance(source, State) else cls(source)

    # -- facts -----------------------------------------------------------------------------------

    @property
    def facts(self) -> list[Fact]:
        """All facts that are ready to be written."""
        return ready(self.drafts)

    @facts.setter
    def facts(self, facts: Sequence[Fact]) -> None:
        self.drafts = tuple(Draft.of(fact) for fact in facts)
        self.selected = 0 if self.drafts else -1

    @property
    def fact(self) -> Fact | None:
        """The selected fact, or None if there is none or it is not ready."""
        if not 0 <= self.selected < len(self.drafts):
            return None
        found = ready([self.drafts[self.selected]])
        return found[0] if found else None

    @T.observe("drafts")
    def _keep_selection(self, change: Any) -> None:
        if self.selected >= len(change["new"]):
            self.selected = len(change["new"]) - 1

    # -- the threshold ---------------------------------------------------------------------------

    @property
    def threshold(self) -> Threshold:
        """Where the kept space of the selected layer ends.

        Set, it is that of all layers.
        """
        return self.threshold_at(self.layer)

    @threshold.setter
    def threshold(self, value: float | str | Threshold) -> None:
        new = Threshold.parse(value)
        hp = self.session.hyperparameters
        if new != hp.threshold or hp.layer_thresholds:
            self.session.hyperparameters = hp.replace(threshold=new, layer_thresholds=())

    def threshold_at(self, layer: int) -> Threshold:
        """Where the kept space of a layer ends, as the next edit will use it."""
        return self.session.hyperparameters.at(layer).threshold

    # -- the method ------------------------------------------------------------------------------

    def set_method(self, name: str, value: str | bool) -> None:
        """Change ``editor``, ``projection`` or ``previous_keys`` of the next edit.

        Another editor brings its published settings for this model; threshold, text and seed stay.

        Raises:
            InputError: if there is no such editor, or the switch means nothing for it.
            SessionError: if the editor edits other layers and the session has edits.
        """
        hp = self.session.hyperparameters
        new = method_changed(self.session, hp, name, value)
        if new != hp:
            self.session.hyperparameters = new

    # -- work ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a job runs."""
        return self._worker.running

    @property
    def status(self) -> str:
        """``ready``, ``closed``, or ``running:`` and what."""
        if self.busy and self.job:
            return f"running: {self.job.name}"
        return "closed" if self.session.closed else "ready"

    @property
    def idle(self) -> bool:
        """Whether work that nobody asked for may begin: no job runs, and there is a model."""
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
        """Start a job; see :meth:`~.Worker.start`. A failure is kept until it is dismissed.

        A job in the background is stopped when another is started; ``busy`` is True while it runs,
        ``engaged`` is not.
        """
        self.preempt_background_job()
        if not background:
            self.failure = None
        return self._worker.start(name, work, done, block=block, ended=ended, background=background)

    def preempt_background_job(self) -> None:
        """Stop a job that runs in the background, if one does, and wait until it has ended."""
        # Its end may have let the next one of its kind begin.
        while self.busy and (job := self._worker.job) is not None and job.background:
            job.cancel()
            if not job.wait(10):
                return

    @property
    def foreground_busy(self) -> bool:
        """Whether a job runs that does not make way for others."""
        job = self._worker.job
        return self.busy and job is not None and not job.background

    def cancel(self) -> None:
        """Ask the running job to stop."""
        if (job := self._worker.job) is not None:
            job.cancel()

    def _follow_session(self, change: str) -> None:
        """Follow what was done to the session, here, in a cell or in another workbench."""
        if change == "spectra":
            self.threshold_changes += 1
        elif change == "hyperparameters":
            before, self._settings = self._settings, self.session.hyperparameters
            threshold = {name: getattr(before, name) for name in ("threshold", "layer_thresholds")}
            if self._settings.replace(**threshold) == before:
                self.threshold_changes += 1
            else:
                self.method_changes += 1
        else:
            self.preempt_background_job()  # work in the background is about other weights by now
            self.notify_weights_changed()

    def notify_weights_changed(self) -> None:
        """Tell every panel that weights or history have changed."""
        self.reference = min(self.reference, len(self.session.history))
        self.revision += 1

    def report(self, job: str, error: BaseException) -> None:
        """Show an exception of something that was not a job."""
        self.failure = Failure.of(job, error)

    def _follow(self, job: Job[Any]) -> None:
        # The end of one job may be told of when the next has begun already.
        self.job = self._worker.job
        if job.state == "failed":
            self.failure = job.failure
        elif job.state == "canceled" and not job.background:
            self.notice = f"{job.name}: canceled at {job.where}; the weights are unchanged"
        elif job.state == "done" and job.warnings and not job.background:
            self.notice = "; ".join([*filter(None, [self.notice]), *job.warnings])
        self.job_updates += 1


#: What stays as it was set when another editor is chosen.
_KEPT = ("threshold", "text", "tokens", "seed", "contexts", "context_tokens")


def method_changed(
    session: EditSession, hp: EditConfig, name: str, value: str | bool
) -> EditConfig:
    """Hyperparameters with another ``editor``, ``projection`` or ``previous_keys``.

    Raises:
        InputError: if there is no such editor.
    """
    if name != "editor":
        return hp.replace(**{name: value})
    if value == hp.editor:
        return hp
    return settled(default_hyperparameters(session.model, str(value)), hp)


def settled(hp: EditConfig, present: EditConfig) -> EditConfig:
    """Return hyperparameters with the present threshold, text, seed and layers' thresholds."""
    kept = {name: getattr(present, name) for name in _KEPT}
    # Thresholds by layer mean nothing for other layers than they were given for.
    own = present.layer_thresholds if hp.layers == present.layers else ()
    return hp.replace(**kept, layer_thresholds=own)
