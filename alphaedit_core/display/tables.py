"""Tables of text: for a terminal, and as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.display.escaping import escape

#: Characters of a cell that is not broken into lines.
_SHORT = 20


def _one_line(text: str, width: int = 40) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, for a terminal; every row on one line."""
    table = [[" ".join(cell.split()) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(headings))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in table]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table, every text escaped; "0.1 → 0.9" and the like stay on one line."""
    left = 'style="text-align: left"'  # JupyterLab sets cells to the right, texts too
    head = "".join(f'<th scope="col" {left}>{escape(heading)}</th>' for heading in headings)
    body = "".join(
        "<tr>"
        + "".join(f'<td dir="auto" {left}>{_kept_together(escape(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _kept_together(cell: str) -> str:
    return cell.replace(" ", "\u00a0") if len(cell) < _SHORT and " → " in cell else cell
