"""What the tables of panels show, as tests read it."""

from __future__ import annotations

from alphaedit_widgets.components.inputs import Table


def rows_of(table: Table) -> list[dict[str, str]]:
    """The rows in the order in which they are shown, each cell by the heading of its column."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]
