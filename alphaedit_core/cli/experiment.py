"""``alphaedit experiment``: edit a data set in batches with several editors."""

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
        help="edit a whole data set in batches and evaluate along the way",
        description="Edit the records of a data set into the unedited model in batches, with each "
        "editor in turn, and evaluate the result. Repeat the same command to resume an interrupted "
        "run.",
    )
    parser.add_argument("--dataset", metavar="NAME", required=True, help="see alphaedit datasets")
    parser.add_argument(
        "--path", metavar="FILE", help="the data set's file (downloaded from its publisher)"
    )
    options.add_dataset_options(parser)
    parser.add_argument(
        "--edits",
        metavar="N",
        type=options.positive_int,
        default=2000,
        help="number of records (2000)",
    )
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=options.positive_int,
        default=100,
        help="records per batch (100)",
    )
    parser.add_argument(
        "--editor",
        dest="methods",
        metavar="LIST",
        default="alphaedit",
        help="comma-separated editors, each with switches that differ from the published method: "
        "alphaedit,memit+previous-keys (alphaedit)",
    )
    parser.add_argument(
        "--evaluate-every",
        metavar="N",
        type=options.positive_int,
        help="evaluate every N records, and at the end (only at the end)",
    )
    options.add_metrics(parser)
    parser.add_argument(
        "--final-only",
        metavar="LIST",
        help="metrics to evaluate only after all records: fluency,consistency",
    )
    parser.add_argument("--perplexity", metavar="FILE", help="also measure perplexity on this text")
    parser.add_argument(
        "--ability",
        metavar="FOLDER",
        help="also measure general ability on the tasks in this folder",
    )
    parser.add_argument(
        "--items", metavar="N", type=options.positive_int, default=30, help="items per task (30)"
    )
    parser.add_argument(
        "--shots", metavar="N", type=int, default=4, help="examples in each prompt (4)"
    )
    parser.add_argument(
        "--drift",
        metavar="TEXT",
        help="measure drift on this text, or none (text held out from the statistics)",
    )
    parser.add_argument(
        "--output", metavar="DIR", default="experiment", help="folder for results (experiment)"
    )
    options.add_model(parser)
    hyperparameter_options.add_changes(parser)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Run the experiment; arguments are checked before the model is loaded."""
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.data.datasets.registry import dataset
    from alphaedit_core.evaluation.metrics.registry import metrics_for
    from alphaedit_core.experiments.editor_comparison import check_method, parse_method
    from alphaedit_core.experiments.plan import check_final_only

    names = [name.strip() for name in arguments.methods.split(",") if name.strip()]
    if not names:
        raise InputError(f'--editor "{arguments.methods}" names none; give alphaedit,memit')
    for name in names:
        check_method(name)
    shared = hyperparameter_options.check_no_conflict(
        arguments, hyperparameter_options.changes(arguments), "--editor"
    )
    reader = dataset(arguments.dataset, **options.dataset_options(arguments.option))
    records = read_records(arguments.path, reader, arguments.edits, fetch=True, monitor=monitor)
    metrics = options.metric_names(arguments)
    final_only = options.parse_metrics("--final-only", arguments.final_only) or ()
    check_final_only(final_only, metrics or metrics_for(reader.name, arguments.compat))
    extra = _extra_measurements(arguments)
    folder = Path(arguments.output).expanduser()
    options.check_writable("--output", folder)

    from alphaedit_core.experiments.plan import ExperimentPlan
    from alphaedit_core.experiments.report import save_report
    from alphaedit_core.experiments.runner import run_experiment
    from alphaedit_core.side_effects.drift import default_probe

    model = options.load(arguments, monitor)
    methods = tuple(
        hyperparameter_options.applied_to(parse_method(name, model), shared) for name in names
    )
    hyperparameter_options.check_used(arguments, methods)
    plan = ExperimentPlan(
        methods,
        edits=arguments.edits,
        batch_size=arguments.batch_size,
        evaluate_every=arguments.evaluate_every,
        metrics=tuple(metrics or ()),
        final_only=tuple(final_only),
        compat=arguments.compat,
        seed=methods[0].seed,
    )
    options.ensure_text(methods[0].text, model, monitor)
    if arguments.drift is None:
        extra = replace(extra, drift=default_probe(methods[0].text))
    result = run_experiment(model, records, plan, folder, extra, monitor)
    report = save_report(result)
    if arguments.json:
        output.show_json(result.to_dict())
    else:
        print(result)
        print(f"report: {report}")


def _extra_measurements(arguments: argparse.Namespace) -> ExtraMeasurements:
    """Read and check the inputs of measurements other than metrics."""
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.experiments.plan import ExtraMeasurements
    from alphaedit_core.side_effects.ability_tasks import read_tasks

    text = None
    if arguments.perplexity is not None:
        text = options.read_text_option("--perplexity", Path(arguments.perplexity))
    tasks = (
        ()
        if arguments.ability is None
        else read_tasks(arguments.ability, arguments.items, arguments.shots)
    )
    drift = None if arguments.drift in (None, "none") else arguments.drift
    if drift not in (None, "self"):
        open_text(drift)
    return ExtraMeasurements(
        text=text, tasks=tasks, references=options.reference_texts(arguments), drift=drift
    )
