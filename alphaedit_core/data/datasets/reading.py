"""The records of a file: read, checked one by one, and those left out told with their reasons."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.record_files import check_limit, decoded, file_content, records_of
from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown
from alphaedit_core.progress import Monitor

from .base import Dataset
from .fetching import cached_dataset, fetch_dataset
from .fields import within
from .registry import dataset, datasets


@dataclass(frozen=True, slots=True)
class SkippedRecord:
    """A record, or a question of one, that is not used.

    Attributes:
        name: the record's.
        reason: field, value and what would help.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """The file that records come from.

    Attributes:
        file: its path.
        sha256: of its content.
    """

    file: Path
    sha256: str


@dataclass(frozen=True)
class Records:
    """What a file holds.

    Attributes:
        dataset: how it was read.
        source: the file.
        records: those that can be used, in order.
        left_out: those that cannot.
    """

    dataset: Dataset
    source: Source
    records: list[Record]
    left_out: list[SkippedRecord]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def facts(self) -> list[Fact]:
        """The facts of all records, in order."""
        return [fact for record in self.records for fact in record.facts]

    @property
    def skipped_questions(self) -> list[SkippedRecord]:
        """Questions of records that are used, which are themselves not asked."""
        return [
            SkippedRecord(one.name, reason)
            for one in self.records
            for reason in one.skipped_questions
        ]

    @property
    def counts(self) -> dict[str, int]:
        """How many there are: records, facts, their paraphrases and neighbors, probes by kind."""
        facts = self.facts
        kinds = Counter(probe.kind for record in self.records for probe in record.probes)
        return {
            "records": len(self.records),
            "facts": len(facts),
            "paraphrases": sum(len(fact.paraphrases) for fact in facts),
            "neighbors": sum(len(fact.neighbors) for fact in facts),
            **dict(sorted(kinds.items())),
        }

    def to_dict(self) -> dict[str, Any]:
        """Where the records come from and what there is, without the records; ready for JSON."""
        return {
            "dataset": self.dataset.name,
            "options": dict(self.dataset.chosen),
            "file": str(self.source.file),
            "sha256": self.source.sha256,
            "counts": self.counts,
            "left_out": [{"name": one.name, "reason": one.reason} for one in self.left_out],
            "unasked": [{"name": one.name, "reason": one.reason} for one in self.skipped_questions],
        }

    def __repr__(self) -> str:
        said = f"Records: {len(self.records)} of {self.dataset.title}, {len(self.facts)} facts"
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"{said}{left}, from {self.source.file}"


def read_records(
    path: str | Path | None,
    name: str | Dataset,
    limit: int | None = None,
    strict: bool = False,
    *,
    fetch: bool = False,
    monitor: Monitor | None = None,
    **options: str,
) -> Records:
    """Read a published data set.

    A record that is not laid out as it should be, or whose fact cannot be edited (its subject is
    not in its prompt), is left out, and a warning says how many were: published files hold a few.
    The file as a whole is refused if it holds no record that can be used.

    Args:
        path: a JSON list or JSONL file in UTF-8; None for the published file, from the cache.
        name: of the data set, see :func:`~.registry.datasets`; or the data set itself.
        limit: stop after so many records that can be used; None for all.
        strict: refuse the file at the first record that cannot be used.
        fetch: with no path, fetch the published file if it is not in the cache yet.
        monitor: what to report to.
        options: of the data set, such as ``target="alt"``.

    Raises:
        InputError: one line with file, record, field, value and remedy, if the data set or an
            option is not known, or the file cannot be used. With no path: if the published file is
            not in the cache and is not to be fetched, or its address is not known.
        FetchError: if it cannot be fetched.
        CorruptFileError: if it is not as it was when it was first used.
        Canceled: if canceled.
    """
    check_limit(limit)
    monitor = monitor or Monitor()
    if isinstance(name, Dataset):
        reader = type(name)(**{**name.chosen, **options})
    else:
        reader = dataset(name, **options)
    if path is None:
        path = fetch_dataset(reader.name, monitor) if fetch else cached_dataset(reader.name)
    file = Path(path)
    with within(file):
        content = file_content(file)
        source = Source(file, hashlib.sha256(content).hexdigest())
        labeled = records_of(file, decoded(content))
        with monitor.stage(f"reading {reader.title}", total=limit, unit="record"):
            records, left_out = _read(reader, labeled, limit, strict, monitor)
    if left_out:
        first = left_out[0]
        monitor.warn(
            f"{file}: {len(left_out)} of {len(left_out) + len(records)} records left out; the "
            f"first, {first.name}: {first.reason}"
        )
    return Records(reader, source, records, left_out)


def _read(
    reader: Dataset,
    labeled: Iterator[tuple[str, object]],
    limit: int | None,
    strict: bool,
    monitor: Monitor,
) -> tuple[list[Record], list[SkippedRecord]]:
    records: list[Record] = []
    left_out: list[SkippedRecord] = []
    for label, raw in labeled:
        name = _name(label, raw)
        try:
            if not isinstance(raw, Mapping):
                raise InputError(f"{shown(raw)} is {kind(raw)}; give an object")
            records.append(reader.record(raw, name))
        except InputError as error:
            if strict:
                raise InputError(f"{name}: {error}") from None
            left_out.append(SkippedRecord(name, str(error)))
            monitor.check()
        else:
            monitor.advance()
        if len(records) == limit:
            break
    if not records:
        first = left_out[0]
        raise InputError(
            f"none of {len(left_out)} records can be used as {reader.name}; {first.name}: "
            f"{first.reason}; or name another data set ({', '.join(datasets())})"
        )
    return records, left_out


def _name(label: str, raw: object) -> str:
    """What messages call a record: its own number in the data set, or its place in the file."""
    case = raw.get("case_id") if isinstance(raw, Mapping) else None
    return f"case {case}" if isinstance(case, int) and not isinstance(case, bool) else label
