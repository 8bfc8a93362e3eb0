"""``alphaedit editors`` and ``alphaedit compare``: list the editors, and compare several."""

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
        "editors", help="list the editors", description="List the editors and what each one does."
    )
    options.add_json(parser)
    parser.set_defaults(run=editors)
    parser = commands.add_parser(
        "compare",
        help="compare editors on the same facts",
        description="Edit the same facts into the unedited model with several editors and measure "
        "each. No edit is kept.",
    )
    options.add_facts(parser)
    parser.add_argument(
        "--editors",
        metavar="LIST",
        default="alphaedit,memit",
        help="comma-separated editors, each with switches that differ from the published method: "
        "memit+projection,alphaedit-previous-keys (alphaedit,memit)",
    )
    options.add_model(parser)
    parser.add_argument("--perplexity", metavar="FILE", help="also measure perplexity on this text")
    hyperparameter_options.add_changes(parser)
    options.add_json(parser)
    parser.set_defaults(run=compare)


def editors(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List the editors."""
    from alphaedit_core.editing.editors.registry import editors as editors_by_name

    if arguments.json:
        fields = ("name", "about", "source", "departures", "projection", "previous_keys")
        entries = [
            {name: getattr(editor, name) for name in fields}
            for editor in editors_by_name().values()
        ]
        output.show_json({"editors": entries})
        return
    switch = {True: "on", False: "off", None: "n/a"}
    headings = ("editor", "projection", "previous keys", "what it does")
    rows = [
        (editor.name, switch[editor.projection], switch[editor.previous_keys], editor.about)
        for editor in editors_by_name().values()
    ]
    output.print_table(headings, rows)
    print("\ndifferences from the method's released code:")
    for editor in editors_by_name().values():
        for line in editor.departures:
            print(f"  {editor.name}: {line}")


def compare(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Compare editors; arguments are checked before the model is loaded."""
    facts = read_facts(arguments.facts, arguments.limit)
    requested = hyperparameter_options.changes(arguments)
    text = (
        None
        if arguments.perplexity is None
        else options.read_text_option("--perplexity", Path(arguments.perplexity))
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
    shared = hyperparameter_options.check_no_conflict(arguments, requested, "--editors")
    model = options.load(arguments, monitor)
    methods = [
        hyperparameter_options.applied_to(parse_method(name, model), shared) for name in names
    ]
    hyperparameter_options.check_used(arguments, methods)
    session = EditSession(model, hyperparameters=methods[0])
    options.ensure_text(session.hyperparameters.text, model, monitor)
    comparison = compare_editors(session, facts, methods, arguments.batch_size, text, monitor)
    if arguments.json:
        output.show_json(comparison.to_dict())
    else:
        print(comparison)
