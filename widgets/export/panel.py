"""The export panel: script, data, report, session or edited model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.fact_files import facts_text
from alphaedit_core.data.facts import Fact
from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.evaluation.probes import ProbeRow, ProbeRunner, probes_of
from alphaedit_core.export import hugging_face as export
from alphaedit_core.export.script import to_python, to_record
from alphaedit_core.export.session_report import model_card, report_html
from alphaedit_core.progress import Monitor
from alphaedit_core.session import files as session_files
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.json_text import to_json
from alphaedit_widgets.components.download import Download
from alphaedit_widgets.components.panel import Panel, button, row, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

R = TypeVar("R")

#: Maximum characters of the script on the page; the download is complete.
_SHOWN = 50_000
_NAMED = {"style": {"description_width": "initial"}}
_FOLDER = {**_NAMED, "layout": W.Layout(width="360px")}


class ExportPanel(Panel):
    """A script that repeats the edits, files to download, and folders to save and load.

    Args:
        source: the session, or a shared state.
        loaded: called with a session loaded from a folder; None if the panel cannot switch
            sessions, which hides loading.
    """

    name = "export"
    title = "Export"

    def __init__(
        self,
        source: EditSession | State,
        loaded: Callable[[EditSession], None] | None = None,
    ) -> None:
        super().__init__(source)
        self._loaded = loaded
        self._was_shown = False
        self._status = W.HTML()
        self._code = W.Textarea(
            description="Python", rows=16, continuous_update=False,
            layout=W.Layout(width="100%"), **_NAMED,
        )  # fmt: skip
        self._code.add_class("ae-code")
        self._folder = W.Text("alphaedit-session", description="Session folder", **_FOLDER)
        self._model_folder = W.Text("alphaedit-model", description="Model folder", **_FOLDER)
        self._with_probes = W.Checkbox(
            False,
            description="Measure paraphrases and neighbors for the report",
            indent=False,
            layout=W.Layout(width="auto"),
            **_NAMED,
        )
        self.save_button = button("Save session", "save-session", self._action(self.save))
        self.load_button = button("Load session", "load-session", self._action(self.load))
        self.model_button = button(
            "Save edited model", "save-model", self._action(self.save_model)
        )  # fmt: skip
        self.downloads = self._make_downloads()
        self.show(*self._make_rows())
        # The code is shown for copying; changes to it are reverted.
        self._code.observe(lambda _: self._show_code(), "value")
        self.state.observe(
            lambda _: self._show_code(),
            ["drafts", "revision", "threshold_changes", "method_changes"],
        )
        self.state.observe(self._lock, ["job_updates"])
        self._lock()

    def _make_downloads(self) -> dict[str, Download]:
        """Create the download buttons, keyed by hook."""
        files: dict[str, tuple[str, str, str, Callable[[], str]]] = {
            "python": ("Download script", "edits.py", "text/x-python", lambda: self.code),
            "json": ("Session as JSON", "session.json", "application/json", self.json),
            "facts-json": (
                "Facts as JSON", "facts.json", "application/json", lambda: self.facts("json")
            ),
            "facts-csv": ("Facts as CSV", "facts.csv", "text/csv", lambda: self.facts("csv")),
            "card": ("Model card fragment", "card.md", "text/markdown", self.card),
        }  # fmt: skip
        downloads: dict[str, Download] = {}
        for hook, (label, name, media_type, content) in files.items():

            def send(hook: str = hook, name: str = name, media_type: str = media_type,
                     content: Callable[[], str] = content) -> None:  # fmt: skip
                self._require_free()
                downloads[hook].deliver(f"alphaedit-{name}", content(), media_type)
                self._say(f"alphaedit-{name} downloaded")

            downloads[hook] = Download(
                label, f"download-{hook}", self.with_errors_shown("download", send)
            )
        downloads["report"] = Download(
            "Report as HTML", "download-report", self._action(self._download_report)
        )
        return downloads

    def _make_rows(self) -> list[W.Widget]:
        downloads = self.downloads
        files = [downloads[h] for h in ("json", "facts-json", "facts-csv", "card", "report")]
        folder_row = [self._folder, self.save_button]
        if self._loaded is not None:
            folder_row.append(self.load_button)
        return [
            W.HTML(
                "<h3>Export</h3><p class='ae-quiet'>This script repeats the applied edits "
                "without the workbench and checks that the weights are equal bit for bit. Facts "
                "that are ready but not applied come last.</p>"
            ),
            self._code,
            row(downloads["python"], self._status),
            W.HTML(
                "<h3>Files</h3><p class='ae-quiet'>Downloaded by the browser. The report is a "
                "single page that needs no network.</p>"
            ),
            row(*files),
            self._with_probes,
            W.HTML(
                "<h3>Folders</h3><p class='ae-quiet'>FactBatch on the kernel's machine. A session "
                "can be loaded with all its edits, and undone; an edited model is a Hugging Face "
                "directory.</p>"
            ),
            row(*folder_row),
            row(self._model_folder, self.model_button),
        ]

    # -- from Python -----------------------------------------------------------------------------

    @property
    def code(self) -> str:
        """Python source that repeats the applied edits, followed by the ready facts."""
        return to_python(self.session, self.drafts)

    @property
    def drafts(self) -> list[Fact]:
        """Ready facts that are not applied."""
        applied = {fact.id for fact in self._applied_facts()}
        return [fact for fact in self.state.facts if fact.id not in applied]

    @property
    def folder(self) -> str:
        """Folder for saving and loading a session."""
        return str(self._folder.value)

    @folder.setter
    def folder(self, value: str | Path) -> None:
        self._folder.value = str(value)

    @property
    def model_folder(self) -> str:
        """Target folder of :meth:`save_model`."""
        return str(self._model_folder.value)

    @model_folder.setter
    def model_folder(self, value: str | Path) -> None:
        self._model_folder.value = str(value)

    @property
    def with_probes(self) -> bool:
        """True if the report measures paraphrases and neighbors of all applied facts."""
        return bool(self._with_probes.value)

    @with_probes.setter
    def with_probes(self, value: bool) -> None:
        self._with_probes.value = value

    def json(self) -> str:
        """Return the session as one JSON object: schema, model, seeds, versions, numbers, facts.

        Raises:
            SessionError: if a job runs.
        """
        self._require_free()
        record = to_record(self.session, self.drafts)
        return to_json(record, indent=1) + "\n"

    def facts(self, layout: str = "json") -> str:
        """Return the table's ready facts as file content; the applied facts if there are none.

        Args:
            layout: ``json``, ``jsonl`` or ``csv``.

        Raises:
            InputError: if there are no facts, or the layout cannot hold them.
            SessionError: if a job runs.
        """
        self._require_free()
        facts = self.state.facts or self._applied_facts()
        if not facts:
            raise InputError("there are no facts to export; enter one under Facts")
        return facts_text(facts, layout)

    def card(self) -> str:
        """Return Markdown for the model card of the edited model.

        Raises:
            SessionError: if a job runs.
        """
        self._require_free()
        return model_card(self.session)

    def report(self) -> str:
        """Return the report as one HTML page; waits for the spectra and any probes.

        Raises:
            SessionError: if another job runs.
        """
        job = self._report(block=True)
        assert job.result is not None
        return job.result

    def save(self, folder: str | Path | None = None, block: bool = False) -> Job[Path]:
        """Save the session to a folder, replacing an earlier session of the same model.

        Args:
            folder: None for the folder on the screen.
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            InputError: if the folder holds something else.
            SessionError: if another job runs.
        """
        target, session = self._target_folder(self._folder, folder), self.session
        _check_target(target, session)

        def work(monitor: Monitor) -> Path:
            with monitor.stage("saving the session", 1), session.model.exclusive():
                session.save(target)
            return target

        return self._start("save session", work, f"session saved in {target}", block=block)

    def load(self, folder: str | Path | None = None, block: bool = False) -> Job[EditSession]:
        """Close this session and show a saved one on the same model.

        If loading fails, this session is restored.

        Args:
            folder: None for the folder on the screen.
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            FingerprintError: if the session belongs to another model; names both models.
            CorruptFileError: if a file of the session is damaged.
            InputError: if the folder holds no session.
            SessionError: if another job runs, or the panel cannot switch sessions.
        """
        loaded = self._loaded
        if loaded is None:
            raise SessionError(
                "a standalone panel cannot load another session; use EditSession.load(folder)"
            )
        source, session = self._target_folder(self._folder, folder), self.session

        def work(monitor: Monitor) -> EditSession:
            with monitor.stage("loading the session", 1):
                return _swap_session(session, source, monitor)

        message = f"session loaded from {source}"
        return self._start("load session", work, message, loaded, block=block)

    def save_model(self, folder: str | Path | None = None, block: bool = False) -> Job[Path]:
        """Save the edited model as a Hugging Face directory.

        Args:
            folder: a new folder or an earlier export; None for the folder on the screen.
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            InputError: if the folder holds something else.
            SessionError: if another job runs.
        """
        target, session = self._target_folder(self._model_folder, folder), self.session
        export.check_folder(target)

        def work(monitor: Monitor) -> Path:
            with session.model.exclusive():
                export.model(session, target, monitor)
            return target

        return self._start("save model", work, f"edited model saved in {target}", block=block)

    @override
    def on_first_show(self) -> None:
        if not self._was_shown:
            self._was_shown = True
            self._show_code()

    @override
    def summary(self) -> str:
        lines = len(self.code.splitlines())
        not_applied = len(self.drafts)
        return (
            f"ExportPanel(edits: {self.session.applied}, facts not applied: {not_applied}, "
            f"script: {lines} lines)"
        )

    @override
    def static_html(self) -> str:
        return f"<pre>{escape(_truncated(self.code))}</pre>"

    # -- work ------------------------------------------------------------------------------------

    def _start(
        self,
        name: str,
        work: Callable[[Monitor], R],
        message: str,
        done: Callable[[R], None] = lambda _: None,
        *,
        block: bool,
    ) -> Job[R]:
        """Start a job and show its outcome in this panel, too."""

        def ended(job: Job[R]) -> None:
            failure = job.failure
            self._say(message if job.state == "done" else failure.message if failure else job.state)

        return self.state.start(name, work, done, block=block, ended=ended)

    def _report(
        self, done: Callable[[str], None] = lambda _: None, block: bool = False
    ) -> Job[str]:
        session, facts = self.session, self._applied_facts()
        with_probes, applied = self.with_probes, self.session.applied

        def work(monitor: Monitor) -> str:
            # Applied edits have cached spectra; without edits, computing them takes minutes.
            spectra = session.spectra(monitor) if applied else session.cached_spectra
            rows: list[ProbeRow] | None = None
            if with_probes:
                probes = ProbeRunner(session)
                rows = [
                    row
                    for fact in facts
                    for row in probes.measure(fact, probes_of(fact), 0, applied, monitor)
                ]
            return report_html(session, spectra, rows)

        return self.state.start("report", work, done, block=block)

    def _download_report(self) -> None:
        button = self.downloads["report"]

        def done(page: str) -> None:
            button.deliver("alphaedit-report.html", page, "text/html")
            self._say("alphaedit-report.html downloaded")

        self._report(done)

    def _require_free(self) -> None:
        if self.state.foreground_busy and self.state.job is not None:
            doing = self.state.job.name
            raise SessionError(f"{doing} is running; wait until it has ended, or cancel it")

    def _applied_facts(self) -> list[Fact]:
        return export.facts_in_model(self.session)

    def _target_folder(self, field: W.Text, folder: str | Path | None) -> Path:
        name = str(field.value if folder is None else folder).strip()
        if not name:
            raise InputError("no folder given; enter one")
        return Path(name).expanduser()

    # -- what is shown ---------------------------------------------------------------------------

    def _action(self, action: Callable[..., Any]) -> Callable[..., None]:
        """Return a button callback that shows errors in this panel, too."""

        def act() -> None:
            self._say("")
            try:
                action()
            except (InputError, SessionError) as error:
                self._say(str(error))
                raise

        return self.with_errors_shown("export", act)

    def _show_code(self) -> None:
        if self._was_shown:
            code = _truncated(self.code)
            if self._code.value != code:
                self._code.value = code

    def _lock(self, *_: Any) -> None:
        busy = self.state.foreground_busy
        for widget in (self.save_button, self.load_button, self.model_button):
            widget.disabled = busy
        for download in self.downloads.values():
            download.disabled = busy

    def _say(self, message: str) -> None:
        self._status.value = text("export-state", message, tag="span")


def _truncated(code: str) -> str:
    if len(code) <= _SHOWN:
        return code
    start = code[:_SHOWN].rpartition("\n")[0]
    return f"{start}\n# … truncated; the downloaded script has {len(code.splitlines())} lines.\n"


def _check_target(target: Path, session: EditSession) -> None:
    """Raise InputError if saving to the folder would overwrite other data."""
    session_files.check_place(target)
    if session_files.is_session(target):
        manifest = session_files.load_manifest(target)
        if manifest["fingerprint"] != session.model.fingerprint:
            raise InputError(
                f'session {target}: holds a session of "{manifest["model"]}", not of '
                f'"{session.model.name}"; give a new folder'
            )


def _swap_session(session: EditSession, folder: Path, monitor: Monitor) -> EditSession:
    """Close a session and load a saved one on its model; restore the first on failure."""
    model = session.model
    with model.exclusive():
        owned, applied = model.owner is session, session.applied
        if owned:
            session.close()
        try:
            return EditSession.load(folder, model, monitor=monitor)
        except BaseException:
            if owned:
                model.owner = session
                session.restore(applied)
            raise
