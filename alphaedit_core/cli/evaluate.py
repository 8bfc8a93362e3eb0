"""``alphaedit evaluate`` and ``alphaedit metrics``: how well edits hold, and what that means."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.progress import Monitor

from . import options, output

if TYPE_CHECKING:
    from alphaedit_core.data.records import Record
    from alphaedit_core.data.reference_texts import References
    from alphaedit_core.evaluation.evaluate import Evaluation


def add(commands: options.Commands) -> None:
    """Declare the subcommands."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a model, edited or not, on a data set",
        description="Evaluate a model, or the edited model of a session, on the records of a data "
        "set. Metrics that compare with the unedited model evaluate it too.",
    )
    parser.add_argument("records", metavar="RECORDS", help="the data set's published file")
    parser.add_argument("--dataset", metavar="NAME", required=True, help="name of the data set")
    options.add_dataset_options(parser)
    parser.add_argument(
        "--limit", metavar="N", type=options.positive_int, help="use only the first N records"
    )
    options.add_metrics(parser)
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed for sampled texts (0)"
    )
    options.add_model(parser)
    parser.add_argument("--session", metavar="DIR", help="apply the edits of this session")
    options.add_json(parser)
    parser.set_defaults(run=run)
    parser = commands.add_parser(
        "metrics",
        help="list the metrics",
        description="List the metrics with their formulas and sources.",
    )
    options.add_json(parser)
    parser.set_defaults(run=listed)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Evaluate; arguments are checked before the model is loaded."""
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.data.datasets.registry import dataset
    from alphaedit_core.evaluation.evaluate import chosen

    names = options.metric_names(arguments)
    references = options.reference_texts(arguments)
    reader = dataset(arguments.dataset, **options.dataset_options(arguments.option))
    records = read_records(arguments.records, reader, arguments.limit, monitor=monitor)
    chosen(records.records, names, arguments.compat)
    if warning := reader.mismatch(arguments.compat):
        monitor.warn(warning)
    evaluation, about = _evaluated(arguments, records.records, names, references, monitor)
    left_out = len(records.left_out)
    if arguments.json:
        about |= {"file": arguments.records, "left_out": left_out, "options": dict(reader.chosen)}
        output.show_json(about | evaluation.to_dict())
    else:
        choices = [f"{name}={value}" for name, value in reader.chosen.items()]
        counts = [f"{len(records)} records", *([f"{left_out} left out"] if left_out else [])]
        print(", ".join([reader.name, *choices, *counts]))
        print(output.clipped(str(evaluation)))
        print("see alphaedit metrics for definitions")


def _evaluated(
    arguments: argparse.Namespace,
    records: list[Record],
    names: list[str] | None,
    references: References | None,
    monitor: Monitor,
) -> tuple[Evaluation, dict[str, Any]]:
    """Return the evaluation and a description of the model."""
    from alphaedit_core.evaluation.evaluate import chosen, compared_with, comparing, evaluate

    seed, compat = arguments.seed, arguments.compat
    if arguments.session is None:
        model = options.load(arguments, monitor)
        evaluation = evaluate(model, records, names, monitor, seed, compat, references)
        return evaluation, {"model": model.name, "session": None, "edits": 0}
    session = options.load_session(Path(arguments.session).expanduser(), arguments, monitor)
    before = None
    if comparing(
        chosen(records, names, compat)
    ):  # saves restoring the weights twice if no metric compares
        with session.at_state(0):
            before = compared_with(session.model, records, names, monitor, seed, compat)
    evaluation = evaluate(session.model, records, names, monitor, seed, compat, references, before)
    return evaluation, {
        "model": session.model.name,
        "session": arguments.session,
        "edits": session.history.applied,
    }


def listed(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List the metrics with formula, source, unit and note."""
    from alphaedit_core.evaluation.metrics.registry import metrics

    cards = [metric.card() for metric in metrics().values()]
    if arguments.json:
        output.show_json({"metrics": cards})
        return
    for card in cards:
        print(f"{card['name']}: {card['title']}")
        for field in ("formula", "source", "unit", "note"):
            if card[field]:
                print(f"    {field + ':':9}{card[field]}")
        print(f"    {'better:':9}{card['direction']}")
