"""``alphaedit history``, ``undo`` and ``redo``: a saved session, without loading its model."""

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
        ("undo", undo, "take back the last edit of a session"),
        ("redo", redo, "apply again the edit that was undone last"),
    ):
        parser = commands.add_parser(name, help=text, description=f"{text.capitalize()}.")
        parser.add_argument("--session", metavar="DIR", required=True, help="the session's folder")
        options.add_json(parser)
        parser.set_defaults(run=function)


def history(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List the edits, newest first; reads no tensors, so that it takes no time."""
    saved = _Saved(arguments.session, tensors=False)
    if arguments.json:
        output.show_json(saved.report())
    else:
        print(output.clipped(repr(saved.edits)))


def undo(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Take back the last applied edit."""
    with _locked(arguments.session):
        saved = _Saved(arguments.session)
        applied = saved.edits.applied
        if applied == 0:
            raise SessionError(f"session {saved.folder}: there is no edit to undo")
        saved.go_to(applied - 1)
    _show(arguments, saved, "undone", saved.edits[applied - 1])


def redo(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Apply again the edit that was undone last."""
    with _locked(arguments.session):
        saved = _Saved(arguments.session)
        applied = saved.edits.applied
        if applied == len(saved.edits):
            raise SessionError(f"session {saved.folder}: there is no undone edit to redo")
        saved.go_to(applied + 1)
    _show(arguments, saved, "applied again", saved.edits[applied])


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Keep other writers off a session while it is read and written."""
    from alphaedit_core.session import files as ledger

    place = Path(folder).expanduser()
    ledger.load_manifest(place)  # refuses a folder that holds none, before a lock is made in it
    with ledger.locked(place):
        yield


class _Saved:
    """A session as it lies on the disk.

    Raises:
        InputError: if the folder holds none.
        CorruptFileError: if a file of it is damaged.
    """

    def __init__(self, folder: str, tensors: bool = True) -> None:
        from alphaedit_core.session import files as ledger
        from alphaedit_core.session.history import History

        self.folder = Path(folder).expanduser()
        self.manifest, entries = ledger.load_session(self.folder, tensors=tensors)
        self.edits = History(entries, self.manifest["applied"])

    def go_to(self, number: int) -> None:
        """Have so many edits applied when the session is loaded next."""
        from alphaedit_core.session import files as ledger
        from alphaedit_core.session.history import History

        ledger.set_applied(self.folder, number)
        self.edits = History(self.edits.entries, number)

    def report(self) -> dict[str, Any]:
        """Everything about it but the numbers of the edits, ready for JSON."""
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


def _show(arguments: argparse.Namespace, saved: _Saved, done: str, entry: Edit) -> None:
    if arguments.json:
        output.show_json(saved.report())
        return
    first, more, edits = entry.facts[0], len(entry.facts) - 1, len(saved.edits)
    print(
        f"{done}: {first.text} → {first.target}{f' and {more} more' if more else ''}; "
        f"{saved.edits.applied} of {edits} edit{'' if edits == 1 else 's'} applied"
    )
