"""``alphaedit editors`` and ``alphaedit compare``: which editors there are, and several at once."""

from __future__ import annotations

import argparse
from pathlib import Path

from alphaedit_core.data.fact_files import read_facts
from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from . import hyperparameter_options, options, output


def add(commands: options.Commands) -> None:
    """Declare the subcommands."""
    parser = commands.add_parser(
        "editors", help="list the editors", description="List the editors and what each does."
    )
    options.add_json(parser)
    parser.set_defaults(run=editors)
    parser = commands.add_parser(
        "compare",
        help="write the same facts with several editors",
        description="Write the same facts into the unedited model with several editors and measure "
        "each. Nothing is kept.",
    )
    options.add_facts(parser)
    parser.add_argument(
        "--editors",
        metavar="LIST",
        default="alphaedit,memit",
        help="separated by commas, each with its switches where they are not as published: "
        "memit+projection,alphaedit-previous-keys (alphaedit,memit)",
    )
    options.add_model(parser)
    parser.add_argument("--perplexity", metavar="FILE", help="measure perplexity on this text, too")
    hyperparameter_options.add_changes(parser)
    options.add_json(parser)
    parser.set_defaults(run=compare)


def editors(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List them in their order."""
    from alphaedit_core.editing.editors.registry import editors as known

    if arguments.json:
        fields = ("name", "about", "source", "departures", "projection", "previous_keys")
        listed = [{name: getattr(editor, name) for name in fields} for editor in known().values()]
        output.show_json({"editors": listed})
        return
    said = {True: "on", False: "off", None: "n/a"}
    headings = ("editor", "projection", "previous keys", "what it does")
    rows = [
        (editor.name, said[editor.projection], said[editor.previous_keys], editor.about)
        for editor in known().values()
    ]
    output.print_table(headings, rows)
    print("\nwhere they differ from the code released for the method:")
    for editor in known().values():
        for line in editor.departures:
            print(f"  {editor.name}: {line}")


def compare(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Compare. Whatever can be refused without the model is refused before it is loaded."""
    facts = read_facts(arguments.facts, arguments.limit)
    asked = hyperparameter_options.changes(arguments)
    text = (
        None
        if arguments.perplexity is None
        else options.text_file("--perplexity", Path(arguments.perplexity))
    )
    names = [name.strip() for name in arguments.editors.split(",") if name.strip()]
    if not names:
        raise InputError(f'--editors "{arguments.editors}" names none; give alphaedit,memit')
    from alphaedit_core.experiments.editor_comparison import (
        check_method,
        compare_editors,
        parse_method,
    )
    from alphaedit_core.session.session import EditSession

    for name in names:
        check_method(name)
    given = hyperparameter_options.check_no_conflict(arguments, asked, "--editors")
    model = options.load(arguments, monitor)
    methods = [
        hyperparameter_options.applied_to(parse_method(name, model), given) for name in names
    ]
    hyperparameter_options.check_used(arguments, methods)
    session = EditSession(model, hyperparameters=methods[0])
    options.text_ready(session.hyperparameters.text, model, monitor)
    contest = compare_editors(session, facts, methods, arguments.batch_size, text, monitor)
    if arguments.json:
        output.show_json(contest.to_dict())
    else:
        print(contest)
