"""A confirmation before data is discarded; Escape gives the safe answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as T

from .inputs import script


class Confirm(anywidget.AnyWidget):
    """A confirmation, visible while open; the answer comes from a button, a key, or from Python.

    Args:
        yes: words of the button that goes on.
        no: words of the button that leaves everything as it is.
        confirmed: called when the answer is yes.
    """

    _esm = script("confirm")
    #: Text of the question.
    text = T.Unicode("").tag(sync=True)
    yes = T.Unicode("").tag(sync=True)
    no = T.Unicode("").tag(sync=True)
    #: Whether the question is open.
    asking = T.Bool(False).tag(sync=True)
    #: The last answer: "yes", "no", or "" if none was given yet.
    answer = T.Unicode("").tag(sync=True)

    def __init__(self, yes: str, no: str, confirmed: Callable[[], object]) -> None:
        super().__init__(yes=yes, no=no)
        self._confirmed = confirmed

    def ask(self, text: str) -> None:
        """Open the question."""
        with self.hold_sync():
            self.text, self.answer, self.asking = text, "", True

    @T.observe("answer")
    def _answered(self, change: Any) -> None:
        if not change["new"] or not self.asking:
            return
        self.asking = False
        if change["new"] == "yes":
            self._confirmed()

    def __repr__(self) -> str:
        return f"Confirm({self.text!r}, asking: {self.asking})"
