"""Run the benchmarks, and print or store their results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from alphaedit_core.data.fact_files import example_facts, read_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.model.packaged import DEFAULT_MODEL

from . import command, evaluation, statistics, targets, update
from .machine import Machine, this_machine
from .report import Report, keep
from .timing import say


def main(argv: Sequence[str] | None = None) -> int:
    """Run what was asked for; returns the exit code: 0 done, 2 refused or both sides differ."""
    arguments = _parser().parse_args(argv)
    names = list(BENCHMARKS) if arguments.what == "all" else [arguments.what]
    machine = this_machine()
    failed = False
    for name in names:
        try:
            report = BENCHMARKS[name](arguments, machine)
        except AlphaEditError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
            continue
        print(report.markdown(machine), flush=True)
        if arguments.output is not None:
            keep(report, machine, arguments.output)
            say(f"kept in {arguments.output}")
    return 2 if failed else 0


def _statistics(arguments: argparse.Namespace, machine: Machine) -> Report:
    return statistics.benchmark(_model(arguments), machine, arguments.tokens)


def _targets(arguments: argparse.Namespace, machine: Machine) -> Report:
    return targets.benchmark(_model(arguments), _facts(arguments), machine, arguments.slow)


def _command(arguments: argparse.Namespace, machine: Machine) -> Report:
    return command.benchmark(_model(arguments), _facts(arguments), machine, arguments.slow)


def _evaluation(arguments: argparse.Namespace, machine: Machine) -> Report:
    if arguments.records is None:
        records = evaluation.records_of(_facts(arguments))
    else:
        from alphaedit_core.data.datasets.reading import read_records

        records = read_records(arguments.records, "counterfact", arguments.facts).records
    return evaluation.benchmark(_model(arguments), records, machine, arguments.slow)


def _update(arguments: argparse.Namespace, machine: Machine) -> Report:
    case = update.Case(d_in=arguments.d_in, earlier=arguments.earlier)
    return update.benchmark(machine, case)


#: The shortest first.
BENCHMARKS: dict[str, Callable[[argparse.Namespace, Machine], Report]] = {
    "statistics": _statistics,
    "update": _update,
    "targets": _targets,
    "evaluation": _evaluation,
    "command": _command,
}


def _model(arguments: argparse.Namespace) -> EditableModel:
    return load_model(arguments.model)


def _facts(arguments: argparse.Namespace) -> list[Fact]:
    if arguments.facts_file is None:
        return example_facts()[: arguments.facts]
    return read_facts(arguments.facts_file, limit=arguments.facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="model to measure")
    parser.add_argument(
        "--facts", type=int, default=16, help="facts for the library (%(default)s; full: 40)"
    )
    parser.add_argument("--facts-file", help="file of the facts (the packaged examples)")
    parser.add_argument(
        "--records", help="CounterFact's file, for evaluation (records made from the examples)"
    )
    parser.add_argument(
        "--slow",
        type=int,
        default=2,
        help="facts for the plain implementation (%(default)s; full: 6)",
    )
    parser.add_argument(
        "--tokens", type=int, default=16_384, help="tokens for the statistics (%(default)s)"
    )
    parser.add_argument(
        "--d-in", type=int, default=14_336, help="width of the keys in the update (%(default)s)"
    )
    parser.add_argument(
        "--earlier", type=int, default=2_000, help="previous facts in the update (%(default)s)"
    )
    parser.add_argument("--output", type=Path, help="Markdown file for the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
