"""``alphaedit datasets``: list the supported data sets, download one, check a file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from alphaedit_core.display.tables import text_table
from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor

from . import options, output

if TYPE_CHECKING:
    from alphaedit_core.data.datasets.base import Dataset
    from alphaedit_core.data.datasets.reading import Records, SkippedRecord

_MAX_LISTED = 20


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "datasets",
        help="list data sets, download one, or check a file",
        description="List the supported data sets with license and address, download one, or check "
        "a file.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--fetch", metavar="NAME", help="download the published file into the cache"
    )
    action.add_argument(
        "--check", metavar="FILE", help="read a file and report its records and the skipped ones"
    )
    parser.add_argument("--dataset", metavar="NAME", help="with --check: the data set of the file")
    options.add_dataset_options(parser, "with --check: ")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --check: fail if any record cannot be used",
    )
    options.add_json(parser)
    parser.set_defaults(run=datasets)


def datasets(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List, fetch or check."""
    if arguments.check is None:
        for option, value in (
            ("--dataset", arguments.dataset),
            ("--option", arguments.option),
            ("--strict", arguments.strict),
        ):
            if value:
                raise InputError(f"{option} needs a file to check; add --check FILE")
    if arguments.check is not None:
        _check(arguments, monitor)
    elif arguments.fetch is not None:
        from alphaedit_core.data.datasets.fetching import fetch_dataset

        path = fetch_dataset(arguments.fetch, monitor)
        if arguments.json:
            output.show_json({"dataset": arguments.fetch, "file": str(path)})
        else:
            print(f"{arguments.fetch}: {path}")
    else:
        _list(arguments.json)


def _list(as_json: bool) -> None:
    from alphaedit_core.data.datasets.registry import datasets as datasets_by_name

    if as_json:
        output.show_json(
            {"datasets": [_to_dict(dataset) for dataset in datasets_by_name().values()]}
        )
        return
    headings = ("data set", "license", "questions", "address")
    rows = [
        (
            dataset.name,
            dataset.license,
            dataset.about,
            dataset.address or f"none; see {dataset.publisher}",
        )
        for dataset in datasets_by_name().values()
    ]
    output.print_table(headings, rows)


def _to_dict(dataset: Dataset) -> dict[str, Any]:
    fields = ("name", "title", "about", "source", "license", "address", "publisher", "layout")
    content = {name: getattr(dataset, name) for name in fields}
    return content | {"options": {name: list(values) for name, values in dataset.options.items()}}


def _check(arguments: argparse.Namespace, monitor: Monitor) -> None:
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.data.datasets.registry import dataset
    from alphaedit_core.data.datasets.registry import datasets as datasets_by_name

    if arguments.dataset is None:
        raise InputError(f"--check needs --dataset; give one of {', '.join(datasets_by_name())}")
    reader = dataset(arguments.dataset, **options.dataset_options(arguments.option))
    records = read_records(arguments.check, reader, strict=arguments.strict, monitor=monitor)
    if arguments.json:
        output.show_json(records.to_dict())
    else:
        print(_report(records))


def _report(records: Records) -> str:
    options = "".join(f", {name}={value}" for name, value in records.dataset.chosen.items())
    lines = [
        f"{records.source.file}: {records.dataset.title}{options}",
        f"SHA-256 {records.source.sha256}",
        "",
        text_table(("what", "how many"), [(k, f"{n:,}") for k, n in records.counts.items()]),
    ]
    lines += _listed("records left out", records.left_out)
    lines += _listed("questions not asked", records.skipped_questions)
    return "\n".join(lines)


def _listed(what: str, left_out: list[SkippedRecord]) -> list[str]:
    lines = ["", f"{what}: {len(left_out):,}"]
    lines += [f"  {record.name}: {record.reason}" for record in left_out[:_MAX_LISTED]]
    if len(left_out) > _MAX_LISTED:
        lines.append(f"  … and {len(left_out) - _MAX_LISTED:,} more (--json lists all)")
    return lines
