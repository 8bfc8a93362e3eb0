"""``alphaedit retention``: how much of each batch of a session remains after later edits."""

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
        help="measure all earlier facts again in each state of a session",
        description="Measure the facts of every batch of a session in every later state: efficacy, "
        "exact match, and the relative change of the weights.",
    )
    parser.add_argument("session", metavar="SESSION", help="the session's folder")
    parser.add_argument(
        "--states",
        metavar="LIST",
        type=options.state_numbers,
        help="numbers of applied edits to measure, such as 1,10,20 (all applied)",
    )
    options.add_model(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Measure retention; arguments are checked before the model is loaded."""
    from alphaedit_core.session import files as session_files

    folder = Path(arguments.session).expanduser()
    manifest = session_files.load_manifest(folder)
    last = max(arguments.states or [manifest["applied"]])
    if not 1 <= last <= len(manifest["entries"]):
        raise SessionError(
            f"session {folder}: there is no state {last} with facts; it has "
            f"{len(manifest['entries'])} edits, {manifest['applied']} applied"
        )
    from alphaedit_core.side_effects.batch_retention import retention

    session = options.load_session(folder, arguments, monitor)
    result = retention(session, arguments.states, monitor)
    if arguments.json:
        output.show_json(
            {
                "session": str(folder.resolve()),
                "model": session.model.name,
                "fingerprint": session.model.fingerprint,
                **result.to_dict(),
                "seconds": monitor.seconds,
            }
        )
        return
    print(output.clipped(repr(result)))
    print(
        "\neach cell: efficacy / exact match, % of the batch's facts that no later batch superseded"
    )
