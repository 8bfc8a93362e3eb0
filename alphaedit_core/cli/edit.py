"""``alphaedit edit``: edit facts into a model; save the session, the model or both."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.fact_files import read_facts
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.progress import Monitor

from . import hyperparameter_options, options, output

if TYPE_CHECKING:
    from alphaedit_core.session.results import EditResult
    from alphaedit_core.session.session import EditSession


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "edit",
        help="edit facts into a model",
        description="Edit facts into a model and show its completions before and after.",
        epilog="Without --session or --save-model, the edit is not saved.",
    )
    options.add_facts(parser)
    parser.add_argument(
        "--keep-both",
        action="store_true",
        help="keep earlier facts with the same subject and prompt instead of superseding them",
    )
    options.add_model(parser)
    parser.add_argument(
        "--session", metavar="DIR", help="save the session here, or continue an existing one"
    )
    parser.add_argument(
        "--save-model", metavar="DIR", help="save the edited model as a Hugging Face directory"
    )
    hyperparameter_options.add(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Edit; arguments are checked before the model is loaded."""
    clock = _Clock()
    facts = read_facts(arguments.facts, arguments.limit)
    if arguments.keep_both:
        facts = [fact.changed(replaces="nothing") for fact in facts]
    requested = hyperparameter_options.changes(arguments)
    folder = None if arguments.session is None else Path(arguments.session).expanduser()
    model_dir = None if arguments.save_model is None else Path(arguments.save_model).expanduser()
    continued = folder is not None and _check_session(folder, arguments, requested)
    if model_dir is not None:
        _check_output(model_dir, folder)
    clock.lap("start")

    from alphaedit_core.export import hugging_face as export
    from alphaedit_core.session import files as session_files

    # Locked from reading to saving: another process's edit in between would make the save fail.
    lock = session_files.locked(folder) if folder is not None and continued else nullcontext()
    with lock:
        if folder is not None and continued:
            session = options.load_session(folder, arguments, monitor)
        else:
            session = _begin(arguments, requested, monitor)
        clock.lap("load")
        options.ensure_text(session.hyperparameters.text, session.model, monitor)
        clock.lap("text")
        result = session.edit(facts, arguments.batch_size, monitor)
        clock.skip()
        if folder is not None:
            session.save(folder)
            clock.lap("save session")
        if model_dir is not None:
            export.model(session, model_dir, monitor)
            clock.lap("save model")

    seconds = {"start": 0.0, "load": 0.0, "text": 0.0, **result.seconds} | clock.seconds
    if arguments.json:
        output.show_json(_report(session, result, seconds, folder, model_dir))
    else:
        _show(session, result, folder, model_dir)


class _Clock:
    """Wall-clock seconds of the stages that a session does not time itself."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.monotonic()

    def lap(self, name: str) -> None:
        start, self._start = self._start, time.monotonic()
        self.seconds[name] = self._start - start

    def skip(self) -> None:
        self._start = time.monotonic()


def _check_session(folder: Path, arguments: argparse.Namespace, requested: dict[str, Any]) -> bool:
    """Return whether a session exists; raise if it contradicts the arguments."""
    from alphaedit_core.editing.configs import config_from_dict
    from alphaedit_core.session import files as session_files

    session_files.check_place(folder)
    options.check_writable("session", folder)
    if not session_files.is_session(folder):
        return False
    manifest = session_files.load_manifest(folder)
    try:
        stored = config_from_dict(manifest["hyperparameters"])
        dtype = manifest["dtype"]
    except (KeyError, TypeError, InputError) as error:
        raise SessionError(f"session {folder}: damaged ({error}); use a backup copy") from None
    hyperparameter_options.require_same(stored, requested, str(folder))
    if arguments.dtype not in ("auto", dtype):
        raise SessionError(
            f"session {folder}: its dtype is {dtype}, not {arguments.dtype}; leave --dtype out, or "
            "give a new folder"
        )
    return True


def _check_output(model_dir: Path, folder: Path | None) -> None:
    """Refuse an output folder that would overwrite other files or the session."""
    from alphaedit_core.export import hugging_face as export

    export.check_folder(model_dir)
    options.check_writable("output folder", model_dir)
    if folder is not None and model_dir.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise InputError(
            f"output folder {model_dir}: contains the session {folder}, which would be "
            "overwritten; give another folder"
        )


def _begin(
    arguments: argparse.Namespace, requested: dict[str, Any], monitor: Monitor
) -> EditSession:
    from alphaedit_core.editing.defaults import default_hyperparameters
    from alphaedit_core.session.session import EditSession

    model = options.load(arguments, monitor)
    preset = default_hyperparameters(model, requested.get("editor", "alphaedit"))
    return EditSession(model, hyperparameters=hyperparameter_options.applied_to(preset, requested))


def _report(
    session: EditSession,
    result: EditResult,
    seconds: dict[str, float],
    folder: Path | None,
    model_dir: Path | None,
) -> dict[str, Any]:
    """Return everything as JSON values."""
    stored = result.to_dict()
    return {
        "model": session.model.name,
        "fingerprint": session.model.fingerprint,
        "device": str(session.model.device),
        "dtype": str(session.model.dtype).removeprefix("torch."),
        "editor": session.editor,
        "hyperparameters": session.hyperparameters.to_dict(),
        "facts": [
            stored_outcome | {"written": outcome.written, "batch": batch}
            for stored_outcome, outcome, batch in zip(
                stored["outcomes"], result.outcomes, result.batches, strict=True
            )
        ],
        "written": result.written,
        "superseded": stored["superseded"],
        "writes": stored["writes"],
        "plans": stored["plans"],
        "seconds": seconds,
        "weights_digest": session.weights_digest(),
        "edits": session.history.applied,
        "session": None if folder is None else str(folder.resolve()),
        "saved_model": None if model_dir is None else str(model_dir.resolve()),
    }


def _show(
    session: EditSession, result: EditResult, folder: Path | None, model_dir: Path | None
) -> None:
    from alphaedit_core.session.results import HEADINGS

    output.print_table(HEADINGS, result.rows())
    print(f"\n{result.summary()}, {session.hyperparameters.method} on {session.model.name}")
    for outcome in result.outcomes:
        if outcome.note:
            print(f"note: {outcome.fact.text}: {outcome.note}")
    for superseded in result.superseded:
        print(f"replaced: {superseded}")
    if folder is not None:
        edits = session.history.applied
        print(f"session saved in {folder} ({edits} edit{'s' if edits > 1 else ''})")
    if model_dir is not None:
        print(f"model saved in {model_dir}")
    if folder is None and model_dir is None:
        print("edit not kept; save it with --session DIR, or the model with --save-model DIR")
