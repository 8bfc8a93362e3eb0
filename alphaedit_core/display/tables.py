"""Tables as plain text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.display.escaping import escape

#: Cells with an arrow that are shorter than this many characters never wrap.
_NO_WRAP = 20


def _one_line(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as plain text: columns aligned with spaces, one line per row, nothing cut.

    Columns are measured in terminal cells: two for a wide character (Chinese, Japanese, Korean,
    emoji), none for a combining mark.
    """
    from rich.cells import cell_len, set_cell_size  # here, so that HTML tables don't load rich

    table = [[" ".join(cell.split()) for cell in row] for row in (headings, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(set_cell_size, row, widths)) for row in table]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a plain HTML table with every text escaped; "0.1 → 0.9" stays on one line."""
    left = 'style="text-align: left"'  # JupyterLab aligns cells right, even those with text
    head = "".join(f'<th scope="col" {left}>{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>"
        + "".join(f'<td dir="auto" {left}>{_unbroken(escape(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _unbroken(cell: str) -> str:
    return cell.replace(" ", "\u00a0") if len(cell) < _NO_WRAP and " → " in cell else cell
