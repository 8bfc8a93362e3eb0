"""The status bar: model, number of edits, running job and last error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as W
import psutil
import torch
from typing_extensions import override

from alphaedit_core.display.escaping import escape
from alphaedit_core.model.batch_planning import free_memory
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.model.packaged import PACKAGED
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import Panel, button, row, text

from .state import State

_DTYPES = ("auto", "float32", "bfloat16", "float16")


class StatusBar(Panel):
    """Session state, progress with Cancel, the last error, and the choice of model.

    Args:
        source: the session, or a shared state.
        loaded: called with the new session after another model has loaded; None hides the choice.
    """

    name = "header"
    title = "Session"

    def __init__(
        self,
        source: EditSession | State,
        loaded: Callable[[EditSession], None] | None = None,
    ) -> None:
        super().__init__(source)
        self._loaded = loaded
        self._session_line, self._progress, self._notice, self._alert = (W.HTML() for _ in range(4))
        self.cancel = button("Cancel", "cancel", lambda *_: self.state.cancel(), style="warning")
        self.dismiss = button("Dismiss", "dismiss", self._dismiss)
        self._failure_row = row(self._alert, self.dismiss)
        self._progress_row = row(self._progress, self.cancel)
        rows: list[W.Widget] = [
            self._session_line,
            self._progress_row,
            self._notice,
            self._failure_row,
        ]
        if loaded is not None:
            rows.append(self._model_choice())
        self.show(*rows)
        self.state.observe(self._job_changed, ["job_updates", "job"])
        self.state.observe(self._update, ["revision", "method_changes"])
        self.state.observe(self._notice_changed, ["notice"])
        self.state.observe(self._failure_changed, ["failure"])
        self._update()
        self._job_changed()
        self._notice_changed()
        self._failure_changed()

    @override
    def summary(self) -> str:
        return f"StatusBar: {self._session_text()}"

    # -- what is shown ---------------------------------------------------------------------------

    def _session_text(self) -> str:
        model = self.session.model
        dtype = str(model.dtype).removeprefix("torch.")
        return (
            f"{model.name} · {dtype} · {model.device} · {self.session.hyperparameters.method} · "
            f"edits: {self.session.applied}"
        )

    def _update(self, *_: Any) -> None:
        status = self.state.status
        self._session_line.value = (
            '<p data-testid="session" role="status" class="ae-big">'
            f"{escape(self._session_text())} · "
            f'<span data-testid="status" class="ae-pill">{escape(status)}</span></p>'
            f'<p class="ae-quiet" data-testid="memory">{escape(_memory(self.session.model))}</p>'
        )

    def _job_changed(self, *_: Any) -> None:
        job = self.state.job
        running = self.state.busy and job is not None
        self._progress_row.layout.display = "" if running else "none"
        self.cancel.disabled = not running
        if running and job is not None:
            stage = job.stage
            parts = [stage.name if stage else "", job.where, job.time_left]
            parts += [stage.note if stage else "", *job.warnings]
            total = stage.total if stage else None
            filled = f' value="{stage.done / total:.3f}"' if stage and total else ""
            details = ", ".join(part for part in parts if part)
            self._progress.value = (
                f'<progress aria-label="{escape(job.name)}" max="1"{filled}></progress> '
                f'<span data-testid="progress">{escape(details)}</span>'
            )
        else:
            self._progress.value = ""
        if self._shown_status != self.state.status:
            self._shown_status = self.state.status
            self._update()

    _shown_status = ""

    def _notice_changed(self, *_: Any) -> None:
        self._notice.layout.display = "" if self.state.notice else "none"
        self._notice.value = text("notice", self.state.notice, tag="p")

    def _failure_changed(self, *_: Any) -> None:
        failure = self.state.failure
        self._failure_row.layout.display = "none" if failure is None else ""
        if failure is None:
            self._alert.value = ""
            return
        self._alert.value = (
            f'<div role="alert" data-testid="alert"><strong>{escape(failure.job)} failed: '
            f"{escape(failure.kind)}</strong>: {escape(failure.message)}"
            f"<details><summary>Details</summary><pre>{escape(failure.details)}</pre></details>"
            "</div>"
        )

    def _dismiss(self, *_: Any) -> None:
        self.state.failure = None

    # -- another model ---------------------------------------------------------------------------

    def _model_choice(self) -> W.Widget:
        self.model = W.Combobox(
            description="Model",
            value=self.session.model.name,
            options=list(PACKAGED),
            ensure_option=False,
            tooltip="packaged model, hub id, folder or .gguf file",
            continuous_update=False,
        )
        devices = ["auto", "cpu"]
        devices += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        devices += ["mps"] if torch.backends.mps.is_available() else []
        self.device = W.Dropdown(description="Device", options=devices)
        self.dtype = W.Dropdown(description="Dtype", options=_DTYPES)
        self.load = button(
            "Load model", "load", self.with_errors_shown("load model", self.load_chosen)
        )
        box = W.Accordion([row(self.model, self.device, self.dtype, self.load)], titles=["Model"])
        self.state.observe(self._lock_choice, ["job_updates"])
        return box

    def _lock_choice(self, *_: Any) -> None:
        self.load.disabled = self.state.foreground_busy

    def load_chosen(self, block: bool = False) -> None:
        """Load the chosen model in the background and open a new session on it."""
        name, device, dtype = self.model.value.strip(), self.device.value, self.dtype.value

        def done(model: EditableModel) -> None:
            self.session.close()
            session = EditSession(model)
            assert self._loaded is not None
            self._loaded(session)

        self.state.start(
            "load model",
            lambda monitor: load_model(name, device, dtype, monitor=monitor),
            done,
            block=block,
        )


def _memory(model: EditableModel) -> str:
    """Return the used and free memory of the model's device."""
    gigabyte = 1e9
    if model.device.type == "cuda":
        used = torch.cuda.memory_allocated(model.device)
    else:
        used = psutil.Process().memory_info().rss
    free = free_memory(model.device)
    return f"memory: {used / gigabyte:.1f} GB used, {free / gigabyte:.1f} GB free"
