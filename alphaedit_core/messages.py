"""Formatting of values in messages: short, on one line, in JSON terms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

_SHOWN = 60
"""Maximum number of characters of a value in a message or repr."""


def shorten(text: str) -> str:
    """Return ``text`` on one line, truncated to 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def shown(value: object) -> str:
    """Return ``value`` as JSON on one line, truncated and safe to print."""
    if isinstance(value, str):
        text = json.dumps(shorten(value), ensure_ascii=False)
    else:
        text = shorten(json.dumps(value, ensure_ascii=False, default=repr))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def not_installed(what: str, package: str, extra: str) -> str:
    """Return the message that ``what`` needs a package, with the command to install it."""
    return f'{what} needs {package}; install it: pip install "alphaedit-workbench[{extra}]"'


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``'did you mean "target"? '`` for a name that resembles a known one, or ""."""
    near = get_close_matches(str(name), list(known), n=1, cutoff=0.7)
    return f'did you mean "{near[0]}"? ' if near else ""


def kind(value: object) -> str:
    """Return the type of ``value`` in JSON terms, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Sequence):
        return "a list"
    return f"of the type {type(value).__name__}"
