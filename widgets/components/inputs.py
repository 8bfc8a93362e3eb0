"""Inputs missing from ipywidgets: styles, a selectable table, an accessible slider."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

import anywidget
import traitlets as T

_STATIC = files("alphaedit_widgets") / "static"


def script(name: str) -> str:
    """Return the source of one of the package's browser scripts."""
    return _STATIC.joinpath(f"{name}.js").read_text("utf-8")


def style() -> str:
    """Return the style sheets of all panels, for both themes."""
    sheets = [file for file in _STATIC.iterdir() if file.name.endswith(".css")]
    return "\n".join(sheet.read_text("utf-8") for sheet in sorted(sheets, key=lambda f: f.name))


class PanelStyle(anywidget.AnyWidget):
    """Invisible widget: styles a panel and keeps JupyterLab's shortcuts out of it."""

    _esm = script("look")
    _css = style()


class Slider(anywidget.AnyWidget):
    """A slider with keyboard control and a label for screen readers."""

    _esm = script("slider")
    value = T.Float(0.0).tag(sync=True)
    min = T.Float(0.0).tag(sync=True)
    max = T.Float(1.0).tag(sync=True)
    step = T.Float(0.01).tag(sync=True)
    #: Accessible name.
    label = T.Unicode("").tag(sync=True)
    #: Value as text, for a screen reader.
    words = T.Unicode("").tag(sync=True)


class Table(anywidget.AnyWidget):
    """A sortable table of text; one row can be selected by click or arrow keys.

    Rows have keys, which stay theirs however the rows are sorted; set both with :meth:`fill`.
    """

    _esm = script("table")
    columns = T.List(T.Unicode()).tag(sync=True)
    rows = T.List(T.List(T.Unicode())).tag(sync=True)
    #: One number for each row; a widget's own ``keys`` are the names of what it sends.
    row_keys = T.List(T.Int()).tag(sync=True)
    #: Key of the selected row; -1 for none.
    selected = T.Int(-1).tag(sync=True)
    #: Description of the table, for a screen reader.
    label = T.Unicode("").tag(sync=True)
    testid = T.Unicode("").tag(sync=True)
    #: Whether a click on a heading requests sorting; the owner sorts.
    sortable = T.Bool(False).tag(sync=True)
    sorted_by = T.Unicode("").tag(sync=True)
    descending = T.Bool(True).tag(sync=True)

    def fill(self, rows: Sequence[Sequence[str]], keys: Sequence[int] | None = None) -> None:
        """Set all rows; without keys they are numbered from 0."""
        with self.hold_sync():
            self.row_keys = list(range(len(rows)) if keys is None else keys)
            self.rows = [list(row) for row in rows]

    def __repr__(self) -> str:
        return f"Table({self.label!r}, {len(self.rows)} rows)"
