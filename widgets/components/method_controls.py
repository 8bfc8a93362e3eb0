"""The choice of editor and its two switches, each with a one-sentence description."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as W

from alphaedit_core.display.escaping import escape
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.editors.registry import editor_class, editors

from .panel import row

_PROJECTION = "Projection: keep the update in the null space"
_PREVIOUS = "Previous keys: protect facts written before"


class MethodControls(W.VBox):
    """A choice of editor and switches, without state: it reports input and shows what it is given.

    Args:
        label: name of the choice of the editor.
        chosen: given what was changed: ``editor``, ``projection`` or ``previous_keys``.
    """

    def __init__(self, label: str, chosen: Callable[[str, Any], object]) -> None:
        self._chosen = chosen
        self._filling = False
        full_label = {"style": {"description_width": "initial"}}
        self.editor = W.Dropdown(
            description=label, options=list(editors()), layout=W.Layout(width="230px"), **full_label
        )
        self.projection, self.previous_keys = (
            W.Checkbox(description=text, indent=False, layout=W.Layout(width="auto"), **full_label)
            for text in (_PROJECTION, _PREVIOUS)
        )
        self._about = W.HTML()
        super().__init__([row(self.editor, self.projection, self.previous_keys), self._about])
        self.add_class("ae-method")
        for name in ("editor", "projection", "previous_keys"):
            getattr(self, name).observe(
                lambda change, name=name: self._control_changed(name, change), "value"
            )

    def set(self, hp: EditConfig) -> None:
        """Show a method."""
        editor = editor_class(hp.editor)
        self._filling = True
        try:
            self.editor.value = hp.editor
            self.projection.value = hp.projection
            self.previous_keys.value = hp.previous_keys
        finally:
            self._filling = False
        self.previous_keys.layout.display = "none" if editor.previous_keys is None else ""
        published = hp.projection is editor.projection
        published = published and hp.previous_keys is bool(editor.previous_keys)
        as_published = "as published" if published else "not as published"
        self._about.value = (
            f'<p class="ae-quiet" data-testid="method">{escape(editor.about)} '
            f"({escape(editor.source)}; {as_published}: {escape(hp.method)})</p>"
            + "".join(f'<p class="ae-quiet">{escape(line)}</p>' for line in editor.departures)
        )

    def lock(self, locked: bool) -> None:
        """Disable the controls while the session is busy."""
        for widget in (self.editor, self.projection, self.previous_keys):
            widget.disabled = locked

    def _control_changed(self, name: str, change: Any) -> None:
        if not self._filling:
            self._chosen(name, change["new"])
