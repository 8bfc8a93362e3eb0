"""``alphaedit history``, ``undo`` and ``redo`` of a saved session, without its model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.errors import SessionError
from alphaedit_core.progress import Monitor

from . import options, output

if TYPE_CHECKING:
    from alphaedit_core.session.edits import Edit


def add(commands: options.Commands) -> None:
    """Declare the subcommands."""
    for name, function, text in (
        ("history", history, "list the edits of a session"),
        ("undo", undo, "undo the last edit of a session"),
        ("redo", redo, "redo the last undone edit"),
    ):
        parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        parser.add_argument("--session", metavar="DIR", required=True, help="the session's folder")
        options.add_json(parser)
        parser.set_defaults(run=function)


def history(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List the edits, newest first, from the JSON files only."""
    saved = _SavedSession(arguments.session, tensors=False)
    if arguments.json:
        output.show_json(saved.report())
    else:
        print(output.clipped(repr(saved.edits)))


def undo(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Undo the last applied edit."""
    with _locked(arguments.session):
        saved = _SavedSession(arguments.session)
        applied = saved.edits.applied
        if applied == 0:
            raise SessionError(f"session {saved.folder}: there is no edit to undo")
        saved.go_to(applied - 1)
    _show(arguments, saved, "undone", saved.edits[applied - 1])


def redo(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Redo the last undone edit."""
    with _locked(arguments.session):
        saved = _SavedSession(arguments.session)
        applied = saved.edits.applied
        if applied == len(saved.edits):
            raise SessionError(f"session {saved.folder}: there is no undone edit to redo")
        saved.go_to(applied + 1)
    _show(arguments, saved, "redone", saved.edits[applied])


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Lock a session against other writers while it is read and written."""
    from alphaedit_core.session import files as session_files

    path = Path(folder).expanduser()
    session_files.load_manifest(path)  # before the lock creates a file in some other folder
    with session_files.locked(path):
        yield


class _SavedSession:
    """A saved session.

    Args:
        folder: the session's folder.
        tensors: whether to read and check the tensors too.

    Raises:
        InputError: if the folder has no session.
        CorruptFileError: if a file is damaged.
    """

    def __init__(self, folder: str, tensors: bool = True) -> None:
        from alphaedit_core.session import files as session_files
        from alphaedit_core.session.history import History

        self.folder = Path(folder).expanduser()
        self.manifest, entries = session_files.load_session(self.folder, tensors=tensors)
        self.edits = History(entries, self.manifest["applied"])

    def go_to(self, number: int) -> None:
        """Set the number of edits that the next load applies."""
        from alphaedit_core.session import files as session_files
        from alphaedit_core.session.history import History

        session_files.set_applied(self.folder, number)
        self.edits = History(self.edits.entries, number)

    def report(self) -> dict[str, Any]:
        """Return the session as JSON values, without the edits' measurements."""
        return {
            "session": str(self.folder.resolve()),
            **{name: self.manifest.get(name) for name in ("model", "fingerprint", "editor")},
            "applied": self.edits.applied,
            "edits": [
                {
                    "number": number,
                    "created": entry.created,
                    "applied": number <= self.edits.applied,
                    "written": entry.result.written,
                    "method": entry.hyperparameters.method,
                    "facts": [fact.to_dict() for fact in entry.facts],
                    "weights_digest": entry.digest,
                }
                for number, entry in enumerate(self.edits, start=1)
            ],
        }


def _show(arguments: argparse.Namespace, saved: _SavedSession, action: str, entry: Edit) -> None:
    if arguments.json:
        output.show_json(saved.report())
        return
    first, more, edits = entry.facts[0], len(entry.facts) - 1, len(saved.edits)
    print(
        f"{action}: {first.text} → {first.target}{f' and {more} more' if more else ''}; "
        f"{saved.edits.applied} of {edits} edit{'' if edits == 1 else 's'} applied"
    )
