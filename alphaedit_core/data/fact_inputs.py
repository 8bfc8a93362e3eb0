"""Facts from what a caller has at hand: facts, dictionaries, data frames and data sets.

pandas and datasets are never imported here: an object of theirs proves that they are loaded.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown

from .fact_records import CELL_SEPARATOR, UNNAMED, check_columns, fact_from_record
from .facts import Fact, check_facts

if TYPE_CHECKING:
    import datasets
    import pandas

log = logging.getLogger(__name__)

FactsLike: TypeAlias = (
    "Fact | Mapping[str, Any] | Iterable[Fact | Mapping[str, Any]] | pandas.DataFrame | "
    "datasets.Dataset"
)
"""What :func:`as_facts` takes."""

_LISTS = ("paraphrases", "neighbors")


def as_facts(facts: FactsLike, limit: int | None = None) -> list[Fact]:
    """Return the facts that a caller gave, checked one by one and against each other.

    Example:
        >>> as_facts({"subject": "Rome", "prompt": "{} is in", "target_new": "France"})
        [Fact('Rome', '{} is in', 'France')]

    Args:
        facts: a fact; a dictionary with the fields of one, or with released names as
            :func:`~.fact_records.fact_from_record` reads them; several of these; a
            ``pandas.DataFrame``; or a ``datasets.Dataset``. In a table every column is such a
            field. Missing cells (None, NaN) are fields left out, and a text of several paraphrases
            or neighbors is split at " | ", as in CSV.
        limit: maximum number of facts that are read; None for all.

    Returns:
        The facts in their order. Of facts that say the same the first is kept.

    Raises:
        InputError: one line with fact, field, value and remedy. Rows of a table are named by their
            index.
    """
    labels: list[str] = []
    converted: list[Fact] = []
    for label, record in islice(_labeled(facts), limit):
        labels.append(label)
        try:
            converted.append(record if isinstance(record, Fact) else _from_mapping(record))
        except InputError as error:
            raise InputError(f"{label}: {error}") from None
    return check_facts(converted, labels)


def _labeled(facts: object) -> Iterator[tuple[str, object]]:
    """Return the records in ``facts``, with the name of each in messages."""
    if _is_a(facts, "datasets", "DatasetDict", "IterableDatasetDict"):
        splits = list(facts)  # type: ignore[call-overload]  # a dictionary
        raise InputError(
            f"the facts are a data set with the splits {', '.join(splits)}; give one split, such "
            f'as dataset["{splits[0] if splits else "train"}"]'
        )
    if _is_a(facts, "pandas", "DataFrame"):
        return _frame_rows(facts)
    if _is_a(facts, "datasets", "Dataset", "IterableDataset"):
        return _data_set_rows(facts)
    if isinstance(facts, Fact | Mapping):
        return iter([("fact 1", facts)])
    if isinstance(facts, str | bytes) or not isinstance(facts, Iterable):
        remedy = "read a file with read_facts(path), or " if isinstance(facts, str) else ""
        raise InputError(
            f"the facts {shown(facts)} are {kind(facts)}; {remedy}give facts, dictionaries, a "
            "DataFrame or a Dataset"
        )
    return ((f"fact {number}", one) for number, one in enumerate(facts, 1))


def _is_a(value: object, package: str, *classes: str) -> bool:
    """Return True for an object of these classes of a package, without importing it."""
    module = sys.modules.get(package)
    types = tuple(t for name in classes if isinstance(t := getattr(module, name, None), type))
    return isinstance(value, types)


def _frame_rows(frame: Any) -> Iterator[tuple[str, object]]:
    _check_table(list(frame.columns))
    records = frame.to_dict("records")
    return (
        (f"row {label}", _row(record)) for label, record in zip(frame.index, records, strict=True)
    )


def _data_set_rows(data_set: Any) -> Iterator[tuple[str, object]]:
    if data_set.column_names is not None:  # an iterable one may not know them
        _check_table(list(data_set.column_names))
    return ((f"row {number}", _row(record)) for number, record in enumerate(data_set))


def _check_table(columns: Sequence[object]) -> None:
    """Check the columns; CounterFact's may be any, for they are ignored."""
    if "requested_rewrite" in columns:
        return
    check_columns(columns)
    unnamed = [shown(c) for c in columns if isinstance(c, str) and UNNAMED.fullmatch(c)]
    if unnamed:
        log.warning("columns without a name are ignored: %s", ", ".join(unnamed))


def _row(record: Mapping[object, object]) -> dict[object, object]:
    """Return a row's fields, without an index; texts of several are split."""
    fields = {
        name: value
        for name, value in record.items()
        if not (isinstance(name, str) and UNNAMED.fullmatch(name))
    }
    for name in _LISTS:
        value = fields.get(name)
        if isinstance(value, str):
            fields[name] = value.split(CELL_SEPARATOR) if value.strip() else []
    return fields


def _from_mapping(record: object) -> Fact:
    if not isinstance(record, Mapping):
        raise InputError(f"{shown(record)} is {kind(record)}; make it a Fact(...) or a dictionary")
    return fact_from_record(
        {name: _plain(value) for name, value in record.items() if not _is_missing(value)}
    )


def _plain(value: object) -> object:
    """``value`` with a NumPy array, which a column of lists may hold, as a list."""
    return value.tolist() if hasattr(value, "tolist") else value


def _is_missing(value: object) -> bool:
    """Return true for None, NaN, and the missing values of pandas."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in {"NAType", "NaTType"}
