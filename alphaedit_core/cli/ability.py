"""``alphaedit ability``: how well a model, or a session's states, answer questions in general."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from . import options, output


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "ability",
        help="measure general ability: SST-2, MRPC, CoLA, RTE, NLI, MMLU",
        description="Ask a model, or the edited model of a session, questions that no edit is "
        "about, and count how often the right option is the likeliest.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="a folder with files named after their tasks, such as sst2.json and mmlu.json",
    )
    options.add_model(parser)
    parser.add_argument(
        "--session", metavar="DIR", help="the model of this session, unedited and as it stands"
    )
    parser.add_argument(
        "--states",
        metavar="LIST",
        type=options.numbers,
        help="with these numbers of edits instead, such as 0,10,20",
    )
    parser.add_argument("--tasks", metavar="LIST", help="separated by commas (all that are there)")
    parser.add_argument(
        "--limit", metavar="N", type=options.positive, default=30, help="items of each task (30)"
    )
    parser.add_argument(
        "--shots",
        metavar="N",
        type=options.whole,
        default=4,
        help="answered examples before a question (4)",
    )
    parser.add_argument(
        "--seed", metavar="S", type=options.whole, default=0, help="of the examples' choice (0)"
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Measure. Whatever can be refused without the model is refused before it is loaded."""
    from alphaedit_core.side_effects.ability_tasks import read_tasks

    if arguments.states is not None and arguments.session is None:
        raise InputError("--states names states of a session; give --session, too")
    names = None
    if arguments.tasks is not None:
        names = [name.strip() for name in arguments.tasks.split(",") if name.strip()]
        if not names:
            raise InputError(f'--tasks "{arguments.tasks}" names none; give for example sst2,mmlu')
    tasks = read_tasks(
        Path(arguments.folder), arguments.limit, arguments.shots, names, arguments.seed
    )
    from alphaedit_core.side_effects.ability import HEADINGS, ability_of_states, measure_ability

    if arguments.session is None:
        model = options.load(arguments, monitor)
        found = {0: measure_ability(model, tasks, monitor)}
    else:
        session = options.load_session(Path(arguments.session).expanduser(), arguments, monitor)
        model, applied = session.model, session.applied
        states = arguments.states or sorted({0, applied})
        found = ability_of_states(session, tasks, states, monitor)
    if arguments.json:
        output.show_json(
            {
                "model": model.name,
                "fingerprint": model.fingerprint,
                "session": arguments.session,
                "limit": arguments.limit,
                "shots": arguments.shots,
                "seed": arguments.seed,
                "states": [{"edits": n} | ability.to_dict() for n, ability in found.items()],
                "seconds": monitor.seconds,
            }
        )
        return
    rows = [(str(n), *row) for n, ability in found.items() for row in ability.rows()]
    output.print_table(("edits", *HEADINGS), rows)
    first = next(iter(found.values()))
    if first.note:
        print(f"\nnote: {first.note}")
