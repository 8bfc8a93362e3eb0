"""A button that takes a file from the browser in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anywidget
import traitlets as T

from alphaedit_core.errors import InputError

from .inputs import script

#: Maximum file size in bytes; kernel and browser both hold the file in memory.
LIMIT = 100 * 2**20


class Upload(anywidget.AnyWidget):
    """A button that opens a file chooser and receives the chosen file's content.

    A file comes in messages of a megabyte: servers close the connection at a message over their
    limit, of 10 MiB as a rule. It is not part of the widget's state, so no notebook carries it.

    Args:
        label: the words on the button.
        hook: the button gets the class ``ae-<hook>``.
        received: called with the name and the content of each file.
        refused: given a sentence about a file that was not taken.
        accept: suffixes that the browser offers.
        help: what it is, for who hovers over it.
        too_large: what to do instead with a file over the limit.
    """

    _esm = script("upload")
    label = T.Unicode("").tag(sync=True)
    hook = T.Unicode("").tag(sync=True)
    accept = T.Unicode("").tag(sync=True)
    help = T.Unicode("").tag(sync=True)
    disabled = T.Bool(False).tag(sync=True)
    #: Maximum file size in bytes; the browser sends nothing of a larger file.
    limit = T.Int(LIMIT).tag(sync=True)

    def __init__(
        self,
        label: str,
        hook: str,
        received: Callable[[str, bytes], object],
        refused: Callable[[InputError], object],
        *,
        accept: str = "",
        help: str = "",
        too_large: str = "",
    ) -> None:
        super().__init__(label=label, hook=f"ae-{hook}", accept=accept, help=help)
        self._received, self._refused, self._too_large = received, refused, too_large
        self._token, self._content = "", bytearray()
        self.on_msg(self._on_message)

    def _on_message(self, _: Any, content: Any, buffers: Any) -> None:
        if not isinstance(content, dict) or content.get("kind") != "piece":
            return
        name, size = str(content.get("name", "")), int(content.get("size", 0))
        token, offset = str(content.get("token", "")), int(content.get("at", 0))
        if size > self.limit:
            self._refused(
                InputError(
                    f"{name}: {_size(size)}, and uploads are limited to {_size(self.limit)}; "
                    f"{self._too_large}"
                )
            )
            return
        if offset == 0:
            self._token, self._content = token, bytearray()
        elif token != self._token:
            return  # a late piece of an upload that a newer one replaced
        piece = bytes(buffers[0]) if buffers else b""
        if offset != len(self._content):
            self._token = ""
            self._refused(InputError(f"{name}: the upload is incomplete; upload it again"))
            return
        self._content += piece
        if len(self._content) >= size:
            complete, self._token, self._content = bytes(self._content), "", bytearray()
            self._received(name, complete)

    def __repr__(self) -> str:
        return f"Upload({self.label!r})"


def _size(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB".replace(".0 ", " ")
