"""``alphaedit datasets``: which published data sets are read, getting one, and checking a file."""

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

_LISTED = 20


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "datasets",
        help="list the data sets, fetch one, check a file",
        description="List the published data sets that can be read, with license and address; or "
        "fetch the file of one; or check a file.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--fetch", metavar="NAME", help="fetch the published file into the cache")
    action.add_argument(
        "--check", metavar="FILE", help="read a file, and say what is in it and what is left out"
    )
    parser.add_argument("--dataset", metavar="NAME", help="with --check: the file's data set")
    options.add_choices(parser, "with --check: ")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --check: refuse the file if any record cannot be used",
    )
    options.add_json(parser)
    parser.set_defaults(run=datasets)


def datasets(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List, fetch or check."""
    if arguments.check is None:
        for given, value in (
            ("--dataset", arguments.dataset),
            ("--option", arguments.option),
            ("--strict", arguments.strict),
        ):
            if value:
                raise InputError(f"{given} says how a file is checked; give --check FILE, too")
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
    from alphaedit_core.data.datasets.registry import datasets as known

    if as_json:
        output.show_json({"datasets": [_said(one) for one in known().values()]})
        return
    headings = ("data set", "license", "what it asks", "address")
    rows = [
        (one.name, one.license, one.about, one.address or f"none; see {one.publisher}")
        for one in known().values()
    ]
    output.print_table(headings, rows)


def _said(one: Dataset) -> dict[str, Any]:
    fields = ("name", "title", "about", "source", "license", "address", "publisher", "layout")
    said = {name: getattr(one, name) for name in fields}
    return said | {"options": {name: list(values) for name, values in one.options.items()}}


def _check(arguments: argparse.Namespace, monitor: Monitor) -> None:
    from alphaedit_core.data.datasets.reading import read_records
    from alphaedit_core.data.datasets.registry import dataset
    from alphaedit_core.data.datasets.registry import datasets as known

    if arguments.dataset is None:
        raise InputError(f"--check needs --dataset; give one of {', '.join(known())}")
    reader = dataset(arguments.dataset, **options.choices(arguments.option))
    found = read_records(arguments.check, reader, strict=arguments.strict, monitor=monitor)
    if arguments.json:
        output.show_json(found.to_dict())
    else:
        print(_report(found))


def _report(found: Records) -> str:
    chosen = "".join(f", {name}={value}" for name, value in found.dataset.chosen.items())
    lines = [
        f"{found.source.file}: {found.dataset.title}{chosen}",
        f"SHA-256 {found.source.sha256}",
        "",
        text_table(("what", "how many"), [(k, f"{n:,}") for k, n in found.counts.items()]),
    ]
    lines += _listed("records left out", found.left_out)
    lines += _listed("questions not asked", found.skipped_questions)
    return "\n".join(lines)


def _listed(what: str, left_out: list[SkippedRecord]) -> list[str]:
    lines = ["", f"{what}: {len(left_out):,}"]
    lines += [f"  {one.name}: {one.reason}" for one in left_out[:_LISTED]]
    if len(left_out) > _LISTED:
        lines.append(f"  … and {len(left_out) - _LISTED:,} more (--json lists all)")
    return lines
