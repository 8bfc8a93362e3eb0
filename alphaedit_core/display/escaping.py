"""Escape untrusted text for HTML, Markdown, figures and Python source.

Facts, names and settings come from other people's files and models, and a notebook or a page would
run any code that they contain. All code that produces one of these formats uses these functions.
"""

from __future__ import annotations

import html
import re

#: Control characters that HTML does not allow, and lone surrogates, which UTF-8 cannot encode
#: (names of folders may contain them).
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

#: Characters with a meaning in Markdown, its tables or mathematics anywhere in a line.
_MARKS = frozenset("\\`*_{}[]<>|#&~$")
#: Start of a line that begins a list item or underlines a heading.
_LINE_START = re.compile(r"^(\d*)([-+=.)])")


def escape(text: object) -> str:
    """Return text for HTML, between tags or in a quoted attribute."""
    return html.escape(writable(str(text)))


def markdown(text: object) -> str:
    """Return text for one line of Markdown or one table cell; newlines become spaces."""
    escaped = "".join(f"\\{c}" if c in _MARKS else c for c in _line(text))
    return _LINE_START.sub(r"\1\\\2", escaped)


def markdown_code(text: object) -> str:
    """Return text as inline code in Markdown; newlines become spaces."""
    line = _line(text)
    fence = "`"
    while fence in line:
        fence += "`"
    # Markdown strips one space from each end if both are present.
    pad = " " if line[:1] in ("", "`", " ") or line[-1:] in ("`", " ") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def in_figure(text: object) -> str:
    """Return text that plotly parses neither as tags nor as mathematics."""
    return html.escape(writable(str(text)), quote=False).replace("$", "&#36;")


def python_text(text: str) -> str:
    """Return text as a Python string literal, in double quotes if that needs no escapes.

    ``repr`` escapes all characters that are not printable, so that no text can hide in the source.
    """
    literal = repr(text)
    plain = literal.startswith("'") and '"' not in literal and "\\'" not in literal
    return f'"{literal[1:-1]}"' if plain else literal


def writable(text: str) -> str:
    """Return text with "�" in place of characters that no page or file can hold."""
    return _UNWRITABLE.sub("�", text)


def _line(text: object) -> str:
    return " ".join(writable(str(text)).split())
