"""Tokens as chips: each with its probability and, on request, its alternatives."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets as T

from alphaedit_core.inference.token_by_token import Choice, TokenStep

from .inputs import script

#: Visible substitutes for whitespace.
_MARKS = {" ": "·", "\n": "↵", "\t": "⇥", "\r": "␍"}


class Chips(anywidget.AnyWidget):
    """A row of tokens; hover or focus shows a token's alternatives, click or Enter pins them.

    Example:
        >>> chips = Chips("After: 1", "after")
        >>> chips.fill(steps, ["added", "", ""])  # doctest: +SKIP

    Attributes:
        pinned: the token whose list stays shown, from 0; -1 for none.
    """

    _esm = script("chips")
    #: Description of the tokens, for a screen reader.
    label = T.Unicode("").tag(sync=True)
    #: ``before`` or ``after``: the color.
    side = T.Unicode("").tag(sync=True)
    #: Data drawn by the script, made by :meth:`fill`.
    chips = T.List(T.Dict()).tag(sync=True)
    pinned = T.Int(-1).tag(sync=True)
    #: Text shown after the tokens, or instead of them.
    note = T.Unicode("").tag(sync=True)

    def __init__(self, label: str = "", side: str = "") -> None:
        super().__init__(label=label, side=side)

    def fill(self, steps: Sequence[TokenStep], marks: Sequence[str] = (), note: str = "") -> None:
        """Show tokens.

        Args:
            steps: the tokens.
            marks: for each ``added``, ``removed``, ``same`` (a match), or "" for no mark.
            note: what to say behind them.
        """
        marks = list(marks) or [""] * len(steps)
        with self.hold_sync():
            self.pinned = -1
            self.chips = [_chip(step, mark) for step, mark in zip(steps, marks, strict=True)]
            self.note = note

    def mark(self, marks: Sequence[str]) -> None:
        """Change only the marks; a pinned token stays pinned."""
        self.chips = [chip | {"mark": mark} for chip, mark in zip(self.chips, marks, strict=True)]

    def __repr__(self) -> str:
        return f"Chips({self.label!r}, {' '.join(chip['text'] for chip in self.chips)})"


def visible(text: str) -> str:
    """Return a token's text with spaces, line ends and lone accents made visible."""
    marked = "".join(_MARKS.get(c, _escaped(c)) for c in text)
    if marked and all(unicodedata.category(c) == "Cf" for c in marked):
        return "".join(_code(c) for c in marked)
    # A lone accent would combine with the preceding character on the screen.
    return "◌" + marked if unicodedata.category(marked[:1] or " ")[0] == "M" else marked


def chance(probability: float, digits: int = 2) -> str:
    """Format a probability to this many decimals; values that round to 0 read ``<0.01``."""
    least = 10.0**-digits
    return f"{probability:.{digits}f}" if probability >= least / 2 else f"<{least:.{digits}f}"


def _chip(step: TokenStep, mark: str) -> dict[str, Any]:
    return {
        "text": visible(step.label),
        "chance": chance(step.probability),
        "level": round(step.probability, 3),
        "rank": step.rank,
        "mark": mark,
        "top": [_row(choice) for choice in step.top],
        "own": _row(step),
    }


def _row(choice: Choice) -> list[str]:
    return [visible(choice.label), chance(choice.probability, 4), str(choice.rank)]


def _escaped(character: str) -> str:
    kind = unicodedata.category(character)
    # Direction marks would reverse the text after them.
    reverses = character in "\u200e\u200f\u061c" or "\u202a" <= character <= "\u202e"
    reverses = reverses or "\u2066" <= character <= "\u2069"
    invisible = kind in {"Cc", "Zl", "Zp"} or (kind == "Zs" and character != " ")
    return _code(character) if invisible or reverses else character


def _code(character: str) -> str:
    return f"<U+{ord(character):04X}>"
