"""``alphaedit complete``: complete a prompt with a model or an edited one."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaedit_core.data.templates import stripped
from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from . import options, output


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "complete",
        help="complete a prompt",
        description="Complete a prompt greedily with a model or the edited model of a session.",
    )
    parser.add_argument("prompt", metavar="PROMPT", help="text to complete")
    options.add_model(parser)
    parser.add_argument("--session", metavar="DIR", help="apply the edits of this session")
    parser.add_argument(
        "--tokens",
        metavar="N",
        type=options.positive_int,
        default=12,
        help="maximum number of new tokens (12)",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Complete one prompt."""
    prompt = stripped(arguments.prompt)
    if not prompt:
        raise InputError(f'prompt "{arguments.prompt}" is blank; give some text')
    from alphaedit_core.inference.completions import generate_greedy

    edits = 0
    if arguments.session is None:
        model = options.load(arguments, monitor)
    else:
        session = options.load_session(Path(arguments.session).expanduser(), arguments, monitor)
        model, edits = session.model, session.history.applied
    [text] = generate_greedy(model, [prompt], arguments.tokens, monitor)
    if arguments.json:
        output.show_json(
            {
                "model": model.name,
                "fingerprint": model.fingerprint,
                "session": arguments.session,
                "edits": edits,
                "prompt": prompt,
                "completion": text,
            }
        )
    else:
        print(prompt + text)
