"""Output of the command: results on standard output, messages on standard error."""

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

from alphaedit_core.display.tables import text_table
from alphaedit_core.progress import Monitor

_LOGGER = "alphaedit_core"
#: Columns are never truncated below this many terminal cells.
_MIN_WIDTH = 12


def make_monitor() -> Monitor:
    """Return a monitor with progress bars on a terminal and a silent one elsewhere."""
    return Monitor("tqdm" if sys.stderr.isatty() else None)


def print_error(message: object, code: int) -> int:
    """Print a message as one line on standard error and return the exit code."""
    _print_line(message)
    return code


@contextmanager
def quiet_but_warnings() -> Iterator[None]:
    """Print this library's warnings as one line each and silence those of other libraries."""
    handler, logger = _LineHandler(logging.WARNING), logging.getLogger(_LOGGER)
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeHandler(handler)


class _LineHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _print_line(f"{record.levelname.lower()}: {record.getMessage()}")


def _print_line(message: object) -> None:
    text = f"alphaedit: {' '.join(str(message).split())}"
    if "tqdm" in sys.modules:  # keeps a progress bar intact
        sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)


def show_json(content: dict[str, Any]) -> None:
    """Print one JSON object; numbers that are not finite become null."""
    print(json.dumps(_finite(content), ensure_ascii=False, indent=1))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: fitted to the terminal if there is one, plain and complete elsewhere.

    To fit, the widest columns are truncated first, none below 12 cells. Cells are never parsed as
    markup.
    """
    if not sys.stdout.isatty():
        print(text_table(headings, rows))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    lines = [
        [Text(" ".join(cell.split()), no_wrap=True, overflow="ellipsis") for cell in row]
        for row in (headings, *rows)
    ]
    for heading, *cells in zip(*lines, strict=True):
        widest = max(cell.cell_len for cell in (heading, *cells))
        table.add_column(heading, min_width=min(widest, max(heading.cell_len, _MIN_WIDTH)))
    for line in lines[1:]:
        table.add_row(*line)
    Console().print(table, crop=False)


def clipped(text: str) -> str:
    """Return a text with its lines truncated to the width of the terminal, if there is one."""
    if not sys.stdout.isatty():
        return text
    from rich.cells import cell_len, set_cell_size

    width = shutil.get_terminal_size().columns
    return "\n".join(
        line if cell_len(line) <= width else set_cell_size(line, width - 1) + "…"
        for line in text.split("\n")
    )
