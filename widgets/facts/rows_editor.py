"""Rows of inputs in one widget, so that a hundred facts cost the page no more than one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as T

from alphaedit_widgets.components.inputs import script


class FactsEditor(anywidget.AnyWidget):
    """A row of native inputs per fact; the widget requests changes and its owner makes them.

    The browser sends a request when an input is left, at once and as a message of its own: what
    was typed is here before the click of the button that took the focus. Rows have keys, so that a
    request that was made before other rows moved still finds its row.

    Args:
        on_request: called with each request: ``do`` is ``type`` (with ``key``, ``field``,
            ``value``), ``paste`` (with ``text``), ``select``, ``duplicate`` or ``delete`` (with
            ``key``).
    """

    _esm = script("facts")
    #: ``key``, the fields' texts, ``status``, ``tokens``, ``extra``; the empty one is ``new``.
    rows = T.List(T.Dict()).tag(sync=True)
    #: Key of the selected row; -1 for none.
    selected = T.Int(-1).tag(sync=True)
    #: View and number of the last handled request; the rows show its result.
    heard = T.List(default_value=["", 0]).tag(sync=True)

    def __init__(self, on_request: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._on_request = on_request
        self.on_msg(self._on_message)

    def focus(self, key: int) -> None:
        """Put the cursor into the subject of a row."""
        self.send({"focus": key})

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if not isinstance(content, dict):
            return
        # One message for both traits, so that redrawn rows match the handled request.
        with self.hold_sync():
            self.heard = [str(content.get("view", "")), content.get("n", 0)]
            self._on_request(content)

    def __repr__(self) -> str:
        return f"FactsEditor({len(self.rows)} rows)"
