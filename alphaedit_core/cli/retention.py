"""``alphaedit retention``: what is left of every batch of a session after each later edit."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaedit_core.errors import SessionError
from alphaedit_core.progress import Monitor

from . import options, output


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "retention",
        help="ask all earlier facts of a session again after each edit",
        description="Ask the facts of every batch of a session again in every later state: how "
        "many are still held, by efficacy and exactly, and how far the weights have moved.",
    )
    parser.add_argument("session", metavar="SESSION", help="the session's folder")
    parser.add_argument(
        "--states",
        metavar="LIST",
        type=options.numbers,
        help="after these numbers of edits only, such as 1,10,20 (all that are applied)",
    )
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Measure. What can be refused without the model is refused before it is loaded."""
    from alphaedit_core.session import files as ledger

    folder = Path(arguments.session).expanduser()
    manifest = ledger.load_manifest(folder)
    last = max(arguments.states or [manifest["applied"]])
    if not 1 <= last <= len(manifest["entries"]):
        raise SessionError(
            f"session {folder}: there is no state {last} with facts; it has "
            f"{len(manifest['entries'])} edits, {manifest['applied']} applied"
        )
    from alphaedit_core.side_effects.retention import retention

    session = options.load_session(folder, arguments, monitor)
    found = retention(session, arguments.states, monitor)
    if arguments.json:
        output.show_json(
            {
                "session": str(folder.resolve()),
                "model": session.model.name,
                "fingerprint": session.model.fingerprint,
                **found.to_dict(),
                "seconds": monitor.seconds,
            }
        )
        return
    print(output.clipped(repr(found)))
    print("\neach cell: efficacy / exact, % of the batch's facts that no later batch corrected")
