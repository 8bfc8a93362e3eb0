"""Facts in JSON, JSONL, CSV and TSV files.

======  ============================================================================================
format  layout
======  ============================================================================================
JSON    a list of objects, each with the fields of :class:`~alphaedit_core.data.facts.Fact`
JSONL   one such object on each line; blank lines are skipped
CSV     a header of field names, then one row per fact; several paraphrases or neighbors share a
        cell, separated by " | "; an empty cell is a missing field. Columns without a name, such as
        an index, are ignored with a warning
TSV     the same with tabs between cells and no quotes; without a header the columns are subject,
        prompt, target and target_true
======  ============================================================================================

Released field names and CounterFact's records are accepted too, see
:func:`~.fact_records.fact_from_record`. :func:`~.reading.read_records` reads other data sets.
"""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from alphaedit_core.errors import InputError
from alphaedit_core.messages import shown
from alphaedit_core.storage.files import write_atomic

from .fact_inputs import FactsLike, as_facts
from .fact_records import CELL_SEPARATOR, UNNAMED, check_columns, fact_from_record
from .facts import FIELDS, FORMER, REQUIRED, Fact, check_facts
from .record_files import check_limit, decoded, file_content, json_records, jsonl_records

log = logging.getLogger(__name__)

Warn = Callable[[str], None]
"""Called with one line about ignored input."""

EXAMPLES = "examples"
"""The name of the packaged facts in :func:`read_facts`."""

_LINE_COLUMNS = ("subject", "prompt", "target", "target_true")

_REMEDY = f'correct the path, or give "{EXAMPLES}" for the packaged facts'


def read_facts(source: str | Path | FactsLike, limit: int | None = None) -> list[Fact]:
    """Read facts from a file or a table, checked one by one and against each other.

    Args:
        source: a JSON, JSONL, CSV or TSV file in UTF-8. The suffix names the format; for other
            suffixes the first character decides. ``"examples"`` stands for the packaged facts, and
            ``"./examples"`` for a file of that name. Or facts in memory, as
            :func:`~.fact_inputs.as_facts` takes them: dictionaries, a pandas data frame or a
            data set of the package ``datasets``.
        limit: maximum number of records; None for all.

    Returns:
        The facts in the order of the source. Of records that say the same the first is kept.

    Raises:
        InputError: one line with file, record, field, value and remedy, if the file cannot be read,
            is not of its format, holds no facts, or holds one that is not valid.
    """
    check_limit(limit)
    if not isinstance(source, str | Path):
        return as_facts(source, limit)
    if source == EXAMPLES:
        return example_facts()[:limit]
    try:
        content = file_content(Path(source), _REMEDY)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return facts_from_bytes(content, source, limit)


def facts_from_bytes(
    content: bytes, name: str | Path, limit: int | None = None, warn: Warn = log.warning
) -> list[Fact]:
    """Read facts from the content of a file, such as an upload.

    Args:
        content: content of the file.
        name: name of the file; its suffix names the format, and messages begin with it.
        limit: as for :func:`read_facts`.
        warn: called with one line about ignored columns.

    Returns:
        As :func:`read_facts`.

    Raises:
        InputError: as :func:`read_facts`.
    """
    check_limit(limit)
    path = Path(name)
    labels, facts = [], []

    def warn_with_path(line: str) -> None:
        warn(f"{path}: {line}")

    try:
        text = decoded(content, "fact")
        for label, record in islice(_records_of(path, text, warn_with_path), limit):
            labels.append(label)
            try:
                facts.append(fact_from_record(record))
            except InputError as error:
                raise InputError(f"{label}: {error}") from None
        if not facts:
            raise InputError("there is no fact in this file; put at least one into it")
        return check_facts(facts, labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def example_facts() -> list[Fact]:
    """Return the packaged facts, which the default model knows; the Eiffel Tower's comes first."""
    source = resources.files(__package__) / "examples" / "facts.json"
    return [Fact.from_dict(record) for record in json.loads(source.read_text(encoding="utf-8"))]


def write_facts(path: str | Path, facts: Sequence[Fact]) -> None:
    """Write facts to a file from which :func:`read_facts` reads the same facts.

    The suffixes ``.csv`` and ``.jsonl`` name their formats; all others mean JSON. The file is
    replaced atomically.

    Raises:
        InputError: if :func:`~alphaedit_core.data.facts.check_facts` refuses the facts, the format
            cannot hold them, or the file cannot be written. An existing file is then unchanged.
    """
    text = facts_text(facts, Path(path).suffix.lower().removeprefix("."))
    try:
        write_atomic(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another") from None


def facts_text(facts: Sequence[Fact], layout: str = "json") -> str:
    """Return the content of a file with these facts.

    Args:
        facts: the facts.
        layout: ``csv`` or ``jsonl``; any other text means JSON.

    Raises:
        InputError: if :func:`~alphaedit_core.data.facts.check_facts` refuses the facts, or a
            paraphrase or neighbor contains the separator of CSV cells.
    """
    records = [fact.to_dict() for fact in check_facts(facts)]
    if layout == "csv":
        return _csv_text(records)
    if layout == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return json.dumps(records, ensure_ascii=False, indent=2) + "\n"


def _csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV, with every column that some record has."""
    columns = [name for name in FIELDS if any(name in record for record in records)]
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(columns)
    for record in records:
        writer.writerow([_csv_cell(name, record.get(name, "")) for name in columns])
    return file.getvalue()


def _csv_cell(name: str, value: str | list[str]) -> str:
    if isinstance(value, str):
        return value
    cell = CELL_SEPARATOR.join(value)
    if value != (cell.split(CELL_SEPARATOR) if cell else []):
        raise InputError(
            f'{name} {shown(value)} hold "{CELL_SEPARATOR}", which separates them in CSV; write '
            "JSON instead"
        )
    return cell


def _records_of(path: Path, text: str, warn: Warn) -> Iterator[tuple[str, object]]:
    """Return the records of a file, each with its name in messages: "fact 3" or "line 3"."""
    readers: dict[str, Callable[[str, Warn], Iterator[tuple[str, object]]]] = {
        ".json": _json_facts,
        ".jsonl": _jsonl_facts,
        ".ndjson": _jsonl_facts,
        ".csv": _csv_records,
        ".tsv": _tsv_records,
    }
    by_content = {"[": _json_facts, "{": _jsonl_facts}.get(text.lstrip()[0], _csv_records)
    reader = readers.get(path.suffix.lower(), by_content)
    if reader is _tsv_records and by_content is not _csv_records:
        reader = by_content
    return reader(text, warn)


def _json_facts(text: str, warn: Warn) -> Iterator[tuple[str, object]]:
    return json_records(text, "fact")


def _jsonl_facts(text: str, warn: Warn) -> Iterator[tuple[str, object]]:
    return jsonl_records(text)


def _csv_records(text: str, warn: Warn) -> Iterator[tuple[str, object]]:
    return _table(csv.reader(io.StringIO(text, newline=""), strict=True), warn)


def _tsv_records(text: str, warn: Warn) -> Iterator[tuple[str, object]]:
    """Return the records of lines with tabs, as copied from a spreadsheet; quotes are text."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    place = next(place for place, line in enumerate(lines) if line.strip())
    names = [cell.strip().lower() for cell in lines[place].split("\t")]
    names = ["target_true" if name in ("true target", "old target") else name for name in names]
    headed = "subject" in names and "prompt" in names
    if headed:
        lines[place] = "\t".join(names)
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return _table(reader, warn, None if headed else [*REQUIRED, "target_true"])


def _table(
    reader: Any, warn: Warn, columns: list[str] | None = None
) -> Iterator[tuple[str, object]]:
    """Yield the records of a table.

    Args:
        reader: a reader of the module ``csv``.
        warn: called with one line about ignored columns.
        columns: names of the columns if there is no header; the last cell of a row may be missing.
    """
    header = columns
    remedy = "put quotes around a cell that holds a comma"
    if reader.dialect.delimiter == "\t":
        remedy = "put one tab between two cells"
    while True:
        # A row may span lines; messages name the first one.
        label = f"line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(f"{label}: not valid CSV ({error}); correct the row") from None
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = _csv_header(label, row, warn)
            continue
        while len(row) > len(header) and not row[-1].strip():
            row = row[:-1]
        if columns is not None and len(row) == len(columns) - 1:
            row = [*row, ""]
        if len(row) != len(header):
            raise InputError(
                f"{label}: the row has {len(row)} cells and the header {len(header)}; {remedy}"
            )
        yield label, _csv_fields(header, row)


def _csv_header(label: str, row: list[str], warn: Warn) -> list[str]:
    """Check the column names in the first row, and return them."""
    header = [FORMER.get(cell.strip(), cell.strip()) for cell in row]
    while header and not header[-1]:
        header.pop()
    if places := [str(n) for n, name in enumerate(header, 1) if UNNAMED.fullmatch(name)]:
        noun, verbs = (
            ("column", ("has", "is")) if len(places) == 1 else ("columns", ("have", "are"))
        )
        warn(f"{label}: {noun} {', '.join(places)} {verbs[0]} no name, and {verbs[1]} ignored")
    try:
        check_columns(header, "the first row names the columns, separated by commas, out of")
    except InputError as error:
        raise InputError(f"{label}: {error}") from None
    return header


def _csv_fields(header: list[str], row: list[str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, cell in zip(header, row, strict=True):
        if UNNAMED.fullmatch(name):
            continue
        if name in ("paraphrases", "neighbors"):
            fields[name] = cell.split(CELL_SEPARATOR) if cell.strip() else []
        elif cell.strip() or name in (*REQUIRED, "target_new"):
            fields[name] = cell
    return fields
