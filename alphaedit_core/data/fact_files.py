"""Facts in files: JSON, JSONL and CSV, and the CounterFact form of a record.

======  ============================================================================================
format  layout
======  ============================================================================================
JSON    a list of objects, each with the fields of :class:`~alphaedit_core.data.facts.Fact`
JSONL   one such object on each line; blank lines are skipped
CSV     a header of field names, then a row for each fact; several paraphrases or neighbors stand
        in one cell with " | " between them; an empty cell is a field left out. Columns without a
        name, such as an index, are ignored with a warning
TSV     the same with tabs between cells and no quotes; without a header the columns are subject,
        prompt, target and target_true
======  ============================================================================================

``target_new`` is read as ``target``, and a target may be written ``{"str": "Rome"}``. An object
with ``requested_rewrite`` is a CounterFact record: its prompts become paraphrases and neighbors,
its relation id the relation, and what else it holds is ignored. Records of other data sets are read
by :func:`~.reading.read_records`.
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
"""What is told of something that is ignored, in one line."""

EXAMPLES = "examples"
"""The name under which :func:`read_facts` knows the packaged facts."""

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
    """The facts of a file that is not on this disk, such as an upload.

    Args:
        content: what the file holds.
        name: what it is called; its suffix tells the format, and messages begin with it.
        limit: as for :func:`read_facts`.
        warn: is told, in a line, what of the file is ignored.

    Returns:
        As :func:`read_facts`.

    Raises:
        InputError: as :func:`read_facts`.
    """
    check_limit(limit)
    path = Path(name)
    labels, facts = [], []

    def told(line: str) -> None:
        warn(f"{path}: {line}")

    try:
        text = decoded(content, "fact")
        for label, record in islice(_records_of(path, text, told), limit):
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
    """The packaged facts, all known to the packaged model; the first is the Eiffel Tower's."""
    source = resources.files(__package__) / "examples" / "facts.json"
    return [Fact.from_dict(record) for record in json.loads(source.read_text(encoding="utf-8"))]


def write_facts(path: str | Path, facts: Sequence[Fact]) -> None:
    """Write facts as a file, which :func:`read_facts` reads back as the same facts.

    A ``.csv`` or ``.jsonl`` file is of its format, any other is JSON. The file is written beside
    its place and moved into it.

    Raises:
        InputError: if the facts do not pass :func:`~alphaedit_core.data.facts.check_facts`, cannot
            be written in that format, or the file cannot be written. What stood at ``path`` is then
            as it was.
    """
    text = facts_text(facts, Path(path).suffix.lower().removeprefix("."))
    try:
        write_atomic(path, text)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another") from None


def facts_text(facts: Sequence[Fact], layout: str = "json") -> str:
    """What a file of these facts holds.

    Args:
        facts: the facts.
        layout: ``csv``, ``jsonl`` or, for any other text, JSON.

    Raises:
        InputError: if the facts do not pass :func:`~alphaedit_core.data.facts.check_facts`, or a
            paraphrase or neighbor holds the separator of CSV cells.
    """
    records = [fact.to_dict() for fact in check_facts(facts)]
    if layout == "csv":
        return _csv_text(records)
    if layout == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return json.dumps(records, ensure_ascii=False, indent=2) + "\n"


def _csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records as CSV, with the columns that any of them has."""
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
    """The records of a file, each with what messages call it: "fact 3" or "line 3"."""
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
    """Lines with tabs, which quotes do not hold together, as a spreadsheet copies them."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    place = next(place for place, line in enumerate(lines) if line.strip())
    names = [cell.strip().lower() for cell in lines[place].split("\t")]
    names = ["target_true" if name == "old target" else name for name in names]
    headed = "subject" in names and "prompt" in names
    if headed:
        lines[place] = "\t".join(names)
    reader = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    return _table(reader, warn, None if headed else [*REQUIRED, "target_true"])


def _table(
    reader: Any, warn: Warn, columns: list[str] | None = None
) -> Iterator[tuple[str, object]]:
    """The records of a table.

    Args:
        reader: of its rows, as the module ``csv`` makes it.
        warn: is told of columns that are ignored.
        columns: where no row names them; the last may be missing in a row.
    """
    header = columns
    remedy = "put quotes around a cell that holds a comma"
    if reader.dialect.delimiter == "\t":
        remedy = "put one tab between two cells"
    while True:
        # A row may span lines; it is named by its first.
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
    """The names in the first row, each of them known and given once."""
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
