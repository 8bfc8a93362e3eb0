"""``alphaedit experiment``: a data set written batch after batch by several editors."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from . import hyperparameter_options, options, output

if TYPE_CHECKING:
    from alphaedit_core.experiments.plan import ExtraMeasurements


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "experiment",
        help="edit with a whole data set, batch after batch, and measure along the way",
        description="Write the records of a data set into the unedited model, batch after batch, "
        "with one editor after another, and measure what that did. A run that was stopped goes on "
        "where it was when the same command is given again.",
    )
    parser.add_argument("--dataset", metavar="NAME", required=True, help="see alphaedit datasets")
    parser.add_argument(
        "--path", metavar="FILE", help="the data set's file (fetched from its publisher)"
    )
    options.add_choices(parser)
    parser.add_argument(
        "--edits", metavar="N", type=options.positive, default=2000, help="records in all (2000)"
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=options.positive,
        default=100,
        help="records that are written together (100)",
    )
    parser.add_argument(
        "--editor",
        dest="methods",
        metavar="LIST",
        default="alphaedit",
        help="separated by commas, each with its switches where they are not as published: "
        "alphaedit,memit+previous-keys (alphaedit)",
    )
    parser.add_argument(
        "--evaluate-every",
        metavar="N",
        type=options.positive,
        help="measure after so many records, too (at the end alone)",
    )
    options.add_metrics(parser)
    parser.add_argument(
        "--at-end",
        metavar="LIST",
        help="metrics to measure after all records alone: fluency,consistency",
    )
    parser.add_argument("--perplexity", metavar="FILE", help="measure perplexity on this text, too")
    parser.add_argument(
        "--ability", metavar="FOLDER", help="measure general ability on these tasks, too"
    )
    parser.add_argument(
        "--items", metavar="N", type=options.positive, default=30, help="items of each task (30)"
    )
    parser.add_argument(
        "--shots", metavar="N", type=int, default=4, help="answered examples before each item (4)"
    )
    parser.add_argument(
        "--drift",
        metavar="TEXT",
        help="measure drift on this text, or on none (text set aside from the statistics)",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="experiment", help="kept here (experiment)"
    )
    options.add_model(parser)
    hyperparameter_options.add_changes(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Run. Whatever can be refused without the model is refused before it is loaded."""
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.data.datasets.registry import dataset
    from alphaedit_core.evaluation.metrics.registry import metrics_for
    from alphaedit_core.experiments.editor_comparison import check_method, parse_method
    from alphaedit_core.experiments.plan import check_at_end

    names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    if not names:
        raise InputError(f'--editor "{arguments.methods}" names none; give alphaedit,memit')
    for name in names:
        check_method(name)
    given = hyperparameter_options.check_no_conflict(
        arguments, hyperparameter_options.changes(arguments), "--editor"
    )
    reader = dataset(arguments.dataset, **options.choices(arguments.option))
    records = read_records(arguments.path, reader, arguments.edits, fetch=True, monitor=monitor)
    metrics = options.metric_names(arguments)
    at_end = options.metrics_in("--at-end", arguments.at_end) or ()
    check_at_end(at_end, metrics or metrics_for(reader.name, arguments.compat))
    probes = _probes(arguments)
    folder = Path(arguments.output).expanduser()
    options.check_writable("--output", folder)

    from alphaedit_core.experiments.plan import ExperimentPlan
    from alphaedit_core.experiments.report import save_report
    from alphaedit_core.experiments.runner import run_experiment
    from alphaedit_core.side_effects.drift import default_probe

    model = options.load(arguments, monitor)
    methods = tuple(
        hyperparameter_options.applied_to(parse_method(name, model), given) for name in names
    )
    hyperparameter_options.check_used(arguments, methods)
    plan = ExperimentPlan(
        methods,
        arguments.edits,
        arguments.batch_size,
        arguments.evaluate_every,
        tuple(metrics or ()),
        tuple(at_end),
        arguments.compat,
        seed=methods[0].seed,
    )
    options.text_ready(methods[0].text, model, monitor)
    if arguments.drift is None:
        probes = replace(probes, drift=default_probe(methods[0].text))
    findings = run_experiment(model, records, plan, folder, probes, monitor)
    report = save_report(findings)
    if arguments.json:
        output.show_json(findings.to_dict())
    else:
        print(findings)
        print(f"report: {report}")


def _probes(arguments: argparse.Namespace) -> ExtraMeasurements:
    """What is to be measured beside the metrics, read and checked."""
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.experiments.plan import ExtraMeasurements
    from alphaedit_core.side_effects.ability_tasks import read_tasks

    text = None
    if arguments.perplexity is not None:
        text = options.text_file("--perplexity", Path(arguments.perplexity))
    tasks = (
        ()
        if arguments.ability is None
        else read_tasks(arguments.ability, arguments.items, arguments.shots)
    )
    drift = None if arguments.drift in (None, "none") else arguments.drift
    if drift not in (None, "self"):
        open_text(drift)
    return ExtraMeasurements(text, tasks, options.reference_texts(arguments), drift)
