"""How the command talks: results on the standard output, everything else on the standard error."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alphaedit_core.progress import Monitor

_LOGGER = "alphaedit_core"
#: No column is cut to less than this.
_LEAST_WIDTH = 12
_GAP = 2


def make_monitor() -> Monitor:
    """A monitor with bars where a person is watching, and a silent one elsewhere."""
    return Monitor("tqdm" if sys.stderr.isatty() else None)


def print_error(message: object, code: int) -> int:
    """One line on the standard error; gives the exit code back."""
    _line(message)
    return code


@contextmanager
def quiet_but_warnings() -> Iterator[None]:
    """Show this library's warnings as one line each, and nobody else's."""
    handler, logger = _Lines(logging.WARNING), logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _line(f"{record.levelname.lower()}: {record.getMessage()}")


def _line(message: object) -> None:
    text = f"alphaedit: {' '.join(str(message).split())}"
    if "tqdm" in sys.modules:  # a bar may stand where the line is to go
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)


def show_json(content: dict[str, Any]) -> None:
    """One JSON object; a number that JSON has no form for becomes null."""
    print(json.dumps(_plain(content), ensure_ascii=False, indent=1))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fit_to_terminal(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None
) -> list[list[str]]:
    """The cells of a table, on one line each, the texts cut until the lines fit.

    Args:
        headings: of the columns.
        rows: the cells; the widest column is cut first, none to under 12 characters.
        width: columns of the terminal; None to ask it. Nothing is cut where there is none.
    """
    table = [[" ".join(cell.split()) for cell in row] for row in rows]
    if width is None and not sys.stdout.isatty():
        return table
    width = width or shutil.get_terminal_size().columns
    widths = [max(map(len, column)) for column in zip(headings, *table, strict=True)]
    floors = [max(len(heading), _LEAST_WIDTH) for heading in headings]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        room = [have - least for have, least in zip(widths, floors, strict=True)]
        widest = max(range(len(widths)), key=lambda i: (room[i] > 0, widths[i]))
        if room[widest] <= 0:
            break
        widths[widest] -= 1
    return [
        [
            cell if len(cell) <= w else cell[: w - 1] + "…"
            for cell, w in zip(row, widths, strict=True)
        ]
        for row in table
    ]


def clipped(text: str) -> str:
    """A text whose lines are cut at the edge of the terminal, if there is one."""
    if not sys.stdout.isatty():
        return text
    width = shutil.get_terminal_size().columns
    lines = text.split("\n")
    return "\n".join(line if len(line) <= width else line[: width - 1] + "…" for line in lines)
