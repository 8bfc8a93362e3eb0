"""Text of others in HTML, Markdown, figures and source: shown as it is, and never obeyed.

Everything that makes one of these takes the functions here. Facts, names and settings come out of
files and models of other people, and a notebook or a page runs what they could smuggle in.
"""

from __future__ import annotations

import html
import re

#: Control characters that HTML does not allow, and halves of surrogate pairs, which no file can
#: hold (the name of a folder can).
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

#: What Markdown, its tables and mathematics read as marks, wherever in a line it stands.
_MARKS = frozenset("\\`*_{}[]<>|#&~$")
#: What begins an item of a list, or underlines a heading, where it comes first.
_ITEM = re.compile(r"^(\d*)([-+=.)])")


def escape(text: object) -> str:
    """Text for HTML, between tags or in a quoted attribute."""
    return html.escape(writable(str(text)))


def markdown(text: object) -> str:
    """Text for one line of Markdown or one cell of its tables; line ends become spaces."""
    escaped = "".join(f"\\{c}" if c in _MARKS else c for c in _line(text))
    return _ITEM.sub(r"\1\\\2", escaped)


def markdown_code(text: object) -> str:
    """Text as code inside a line of Markdown; line ends become spaces."""
    line = _line(text)
    fence = "`"
    while fence in line:
        fence += "`"
    # One space at each end is taken off again where both are there.
    pad = " " if line[:1] in ("", "`", " ") or line[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def in_figure(text: object) -> str:
    """Text that plotly reads neither as its tags nor as mathematics."""
    return html.escape(writable(str(text)), quote=False).replace("$", "&#36;")


def python_text(text: str) -> str:
    """Text as a string literal of Python, in double quotes where that needs no escapes.

    ``repr`` escapes all that does not print, so that no text can hide in the source.
    """
    literal = repr(text)
    plain = literal.startswith("'") and '"' not in literal and "\\'" not in literal
    return f'"{literal[1:-1]}"' if plain else literal


def writable(text: str) -> str:
    """Text without what no page or file can hold; "�" stands in its place."""
    return _UNWRITABLE.sub("�", text)


def _line(text: object) -> str:
    return " ".join(writable(str(text)).split())
