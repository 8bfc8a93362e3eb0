"""Reading the records of a published data set, with reasons for skipped ones."""

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
        name: name of the record.
        reason: field, value and remedy.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Source:
    """The file of some records.

    Attributes:
        file: its path.
        sha256: checksum of its content.
    """

    file: Path
    sha256: str


@dataclass(frozen=True)
class Records:
    """The records of a file.

    Attributes:
        dataset: the data set, with its options.
        source: the file.
        records: the usable records, in order.
        left_out: the other records, with reasons.
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
        """Questions of usable records that cannot be used themselves."""
        return [
            SkippedRecord(one.name, reason)
            for one in self.records
            for reason in one.skipped_questions
        ]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of records, facts, paraphrases, neighbors, and probes by kind."""
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
        """Return source, counts and reasons, without the records, as JSON data."""
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
        counts = f"Records: {len(self.records)} of {self.dataset.title}, {len(self.facts)} facts"
        left = f", {len(self.left_out)} left out" if self.left_out else ""
        return f"{counts}{left}, from {self.source.file}"


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

    Published files contain a few records with a wrong layout, or with a fact that cannot be edited
    because its subject is not in its prompt. These are skipped with a warning. A file without any
    usable record is refused.

    Args:
        path: a JSON list or JSONL file in UTF-8; None for the published file, from the cache.
        name: name of the data set, see :func:`~.registry.datasets`; or the data set itself.
        limit: maximum number of usable records; None for all.
        strict: raise an error at the first unusable record.
        fetch: without a path, download the published file if it is not in the cache.
        monitor: receives progress.
        options: options of the data set, such as ``target="alt"``.

    Raises:
        InputError: one line with file, record, field, value and remedy, if the data set or an
            option is unknown, or the file cannot be used. Without a path: if the published file is
            not in the cache and ``fetch`` is False, or its address is unknown.
        FetchError: if the download fails.
        CorruptFileError: if the cached file has changed since its first use.
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
    """Return a record's name in messages: its number in the data set, or its place in the file."""
    case = raw.get("case_id") if isinstance(raw, Mapping) else None
    return f"case {case}" if isinstance(case, int) and not isinstance(case, bool) else label
