"""A button that makes the browser save a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as T

from .inputs import script


class Download(anywidget.AnyWidget):
    """A button that creates a file when pressed; the browser then saves the file.

    The file is not part of the widget's state: it goes to the browser in one message, and only when
    it was asked for, so neither a notebook nor a page that is loaded again carries it.

    Args:
        label: the words on the button.
        hook: the button gets the class ``ae-<hook>``.
        pressed: called when it is pressed; it, or what it starts, calls :meth:`deliver`.
    """

    _esm = script("download")
    label = T.Unicode("").tag(sync=True)
    hook = T.Unicode("").tag(sync=True)
    disabled = T.Bool(False).tag(sync=True)

    def __init__(self, label: str, hook: str, pressed: Callable[[], object]) -> None:
        super().__init__(label=label, hook=f"ae-{hook}")
        self._pressed = pressed
        self._token = ""
        self.on_msg(self._on_message)

    def click(self) -> None:
        """Run the button's action; without a browser request, no file is saved."""
        if not self.disabled:
            self._pressed()

    def deliver(self, name: str, content: str | bytes, kind: str) -> None:
        """Send the browser a file to save.

        Args:
            name: what to call it.
            content: what it holds; text is sent as UTF-8.
            kind: its media type.
        """
        data = content.encode("utf-8") if isinstance(content, str) else content
        # Each press has a number, so that only the pressed view of the button saves.
        message = {"kind": "file", "token": self._token, "name": name, "type": kind}
        self.send(message, [data])

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("kind") == "press":
            self._token = str(content.get("token", ""))
            self.click()

    def __repr__(self) -> str:
        return f"Download({self.label!r})"
