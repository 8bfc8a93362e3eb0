"""Values as messages show them: short, on one line, and in the words of people who write JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

_SHOWN = 60
"""Characters of a value that a message or a repr shows before it is cut."""


def shorten(text: str) -> str:
    """``text`` on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def shown(value: object) -> str:
    """``value`` as JSON writes it, on one line, cut where it is long, and safe to print."""
    if isinstance(value, str):
        text = json.dumps(shorten(value), ensure_ascii=False)
    else:
        text = shorten(json.dumps(value, ensure_ascii=False, default=repr))
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def not_installed(what: str, package: str, extra: str) -> str:
    """That ``what`` lacks a package which comes with an extra, and the command that brings it."""
    return f'{what} needs {package}; install it: pip install "alphaedit-workbench[{extra}]"'


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Return ``'did you mean "target"? '`` for a name that resembles a known one, or ""."""
    near = get_close_matches(str(name), list(known), n=1, cutoff=0.7)
    return f'did you mean "{near[0]}"? ' if near else ""


def kind(value: object) -> str:
    """What sort of thing ``value`` is, in the words of someone who writes JSON."""
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
