"""Results as pandas data frames; pandas is imported only when one is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from alphaedit_core.errors import InputError
from alphaedit_core.messages import not_installed

if TYPE_CHECKING:
    import pandas

_DTYPES: Mapping[type, str | None] = {
    bool: "bool",
    float: "float64",
    int: "int64",
    str: None,  # pandas' own type of texts, which differs between its versions
}


def data_frame(columns: Mapping[str, type], rows: Iterable[Sequence[object]]) -> pandas.DataFrame:
    """Return rows as a data frame with a fixed dtype for each column.

    Args:
        columns: type of each column by name: ``bool``, ``float``, ``int`` or ``str``.
        rows: a cell for each column; None is a missing value, in columns of ``float`` and ``str``.

    Raises:
        InputError: if pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise InputError(not_installed("to_pandas()", "pandas", "pandas")) from None

    cells = list(zip(*rows, strict=True)) or [()] * len(columns)
    return pandas.DataFrame(
        {
            name: pandas.Series(list(values), dtype=_DTYPES[kind] if values else kind)
            for (name, kind), values in zip(columns.items(), cells, strict=True)
        }
    )


def as_utc(times: pandas.Series) -> pandas.Series:
    """Return ISO 8601 texts as times in UTC; a text that is no time becomes NaT."""
    import pandas

    return pandas.to_datetime(times, utc=True, format="ISO8601", errors="coerce")
