"""``alphaedit ability``: general ability of a model or of the states of a session."""

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
        description="Measure a model, or the edited model of a session, on general tasks: how "
        "often the correct option is the most likely one.",
    )
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="folder of task files, such as sst2.json and mmlu.json",
    )
    options.add_model(parser)
    parser.add_argument(
        "--session", metavar="DIR", help="measure this session's model, unedited and edited"
    )
    parser.add_argument(
        "--states",
        metavar="LIST",
        type=options.state_numbers,
        help="numbers of applied edits to measure, such as 0,10,20",
    )
    parser.add_argument("--tasks", metavar="LIST", help="comma-separated tasks (all in the folder)")
    parser.add_argument(
        "--limit", metavar="N", type=options.positive_int, default=30, help="items per task (30)"
    )
    parser.add_argument(
        "--shots",
        metavar="N",
        type=options.non_negative_int,
        default=4,
        help="examples in each prompt (4)",
    )
    parser.add_argument(
        "--seed",
        metavar="S",
        type=options.non_negative_int,
        default=0,
        help="seed for choosing the examples (0)",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Measure; arguments are checked before the model is loaded."""
    from alphaedit_core.side_effects.ability_tasks import read_tasks

    if arguments.states is not None and arguments.session is None:
        raise InputError("--states needs a session; add --session")
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
        by_state = {0: measure_ability(model, tasks, monitor)}
    else:
        session = options.load_session(Path(arguments.session).expanduser(), arguments, monitor)
        model, applied = session.model, session.applied
        states = arguments.states or sorted({0, applied})
        by_state = ability_of_states(session, tasks, states, monitor)
    if arguments.json:
        output.show_json(
            {
                "model": model.name,
                "fingerprint": model.fingerprint,
                "session": arguments.session,
                "limit": arguments.limit,
                "shots": arguments.shots,
                "seed": arguments.seed,
                "states": [{"edits": n} | ability.to_dict() for n, ability in by_state.items()],
                "seconds": monitor.seconds,
            }
        )
        return
    rows = [(str(n), *row) for n, ability in by_state.items() for row in ability.rows()]
    output.print_table(("edits", *HEADINGS), rows)
    first = next(iter(by_state.values()))
    if first.note:
        print(f"\nnote: {first.note}")
