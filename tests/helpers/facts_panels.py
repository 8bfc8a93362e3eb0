"""A table of facts, typed into as the script in the page does, and what it shows."""

from __future__ import annotations

import re
from typing import Any

from tiny import tiny_model

from alphaedit_core.session.session import EditSession
from alphaedit_widgets.facts.panel import FactsPanel

#: Subject, prompt and target of a fact.
TOWER = ("Eiffel Tower", "{} is in the city of", "Rome")


def unchanged_session() -> EditSession:
    """Of a model that no test here changes."""
    return EditSession(tiny_model("llama"))


def facts_panel(session: EditSession) -> FactsPanel:
    """A table of that session's facts."""
    return FactsPanel(session)


class Browser:
    """Asks what the script in the page asks, in the same messages."""

    def __init__(self, panel: FactsPanel) -> None:
        self.editor, self.sent = panel.editor, 0

    def ask(self, do: str, **more: Any) -> None:
        self.sent += 1
        request = {"do": do, **more, "view": "this page", "n": self.sent}
        self.editor._handle_custom_msg(request, [])

    def type(self, row: int, **fields: str) -> None:
        """Type into the row that is shown with this number."""
        for field, value in fields.items():
            self.ask("type", key=self.key(row), field=field, value=value)

    def key(self, row: int) -> int:
        return int(self.editor.rows[row - 1]["key"])


def page_of(panel: FactsPanel) -> Browser:
    """The page that shows the table."""
    return Browser(panel)


def words(html: str) -> str:
    """The text of a piece of HTML."""
    return re.sub(r"<[^>]+>", "", html)


def rows_shown(panel: FactsPanel) -> list[tuple[str, str, str, str, str]]:
    """The rows of the page without the empty one: texts of the inputs, and the status."""
    *rows, last = panel.editor.rows
    assert last["new"] and last["subject"] == last["prompt"] == last["target"] == ""
    names = ("subject", "prompt", "target", "target_true", "status")
    return [tuple(row[name] for name in names) for row in rows]  # type: ignore[misc]
