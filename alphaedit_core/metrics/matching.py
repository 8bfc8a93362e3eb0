"""Whether a text says something, by its words: case, composition and punctuation do not count."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from alphaedit_core.prompts import spaceless


def mentions(text: str, answers: Iterable[str]) -> bool:
    """Whether one of the answers stands somewhere in the text, as whole words."""
    own = plain(text)
    return any(_at(own, plain(answer), anywhere=True) for answer in answers)


def begins(text: str, answers: Iterable[str]) -> bool:
    """Whether the text begins with one of the answers, as whole words."""
    own = plain(text)
    return any(_at(own, plain(answer), anywhere=False) for answer in answers)


def plain(text: str) -> str:
    """Compatible forms (NFKC), case folded, anything but letters, marks and digits a space."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (c if unicodedata.category(c)[0] in "LMN" else " " for c in folded)
    return " ".join("".join(kept).split())


def _at(text: str, answer: str, anywhere: bool) -> bool:
    if not answer:
        return False
    # Where words are written without spaces a word can begin and end anywhere.
    left = "" if spaceless(answer[0]) else " "
    right = "" if spaceless(answer[-1]) else " "
    wanted, given = f"{left}{answer}{right}", f" {text} "
    return wanted in given if anywhere else given.lstrip(" " if not left else "").startswith(wanted)
