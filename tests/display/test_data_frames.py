"""Data frames: dtypes, missing values, and what happens without pandas."""

from __future__ import annotations

import subprocess
import sys

import pytest

from alphaedit_core.display.data_frames import as_utc, data_frame
from alphaedit_core.errors import InputError

COLUMNS = {"layer": int, "norm": float, "name": str, "written": bool}


def test_missing_values_keep_the_dtypes() -> None:
    pandas = pytest.importorskip("pandas")
    rows = [(3, None, "Rome", True), (4, 2, None, False)]
    frame = data_frame(COLUMNS, rows)
    assert [str(frame[name].dtype) for name in ("layer", "norm", "written")] == [
        "int64", "float64", "bool",
    ]  # fmt: skip
    assert frame["norm"].isna().tolist() == [True, False]
    assert frame["name"].isna().tolist() == [False, True]
    empty = data_frame(COLUMNS, [])
    assert len(empty) == 0
    assert list(empty.columns) == list(COLUMNS)
    assert empty["norm"].dtype == "float64" and empty["layer"].dtype == "int64"
    assert isinstance(frame, pandas.DataFrame)


def test_times_are_in_utc_and_what_is_no_time_is_missing() -> None:
    pandas = pytest.importorskip("pandas")
    times = as_utc(pandas.Series(["2026-03-01T12:00:00+00:00", "2026-03-01 12:00:00", "noon"]))
    assert times[0] == times[1] == pandas.Timestamp("2026-03-01T12:00:00Z")
    assert times.isna().tolist() == [False, False, True]


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError) as caught:
        data_frame(COLUMNS, [])
    assert str(caught.value) == (
        'to_pandas() needs pandas; install it: pip install "alphaedit-workbench[pandas]"'
    )


def test_pandas_is_not_imported_before_it_is_needed() -> None:
    code = (
        "import sys, alphaedit_core\n"
        "for name in alphaedit_core.__all__: getattr(alphaedit_core, name)\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
