"""Occurrences of a name in a text, except inside longer names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from .joining import spaceless

#: Unicode categories of characters inside a word: letters, marks, digits, "_" and joiners.
_IN_A_WORD = ("L", "M", "N", "Pc", "Cf")
#: Signs that make another name: C++ and C# are not C.
_AFTER_A_NAME = "+#"
_HYPHENS = "-\u2010\u2011"
_MINUS = "-\u2212"


def occurrences(text: str, name: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each occurrence of ``name`` as a name of its own, case-sensitively.

    "US" occurs in "US's" and "US-made", but not in "USSR"; "Jean" not in "Jean-Luc", because a
    hyphen and a capital continue a name; "5" not in "-5". In scripts without spaces between words
    every match counts. Occurrences do not overlap.

    Args:
        text: the text, in NFC.
        name: the name, in NFC; "" never occurs.
    """
    place = text.find(name) if name else -1
    while place >= 0:
        end = place + len(name)
        alone = _begins(text[:place], name[0]) and _ends(text[end:], name[-1])
        if alone:
            yield place, end
        place = text.find(name, end if alone else place + 1)


def renamed(text: str, old: str, new: str) -> str:
    """Replace every occurrence of the name ``old``."""
    text, old = (unicodedata.normalize("NFC", one) for one in (text, old))
    parts: list[str] = []
    done = 0
    for start, end in occurrences(text, old):
        parts += [text[done:start], new]
        done = end
    return "".join([*parts, text[done:]])


def _begins(before: str, first: str) -> bool:
    """Return true if a name can begin after a text."""
    if not before:
        return True
    front = before[-2:-1]
    if before[-1] in _MINUS and first.isdigit() and (not front or front.isspace() or front in "(["):
        return False  # 5 is not -5
    if before[-1] in _HYPHENS:
        word = before[:-1]
        start = next((n for n in range(len(word), 0, -1) if not _in_a_word(word[n - 1])), 0)
        return not word[start:] or not _names(word[start])
    return not _in_a_word(before[-1]) or _open(before[-1], first)


def _ends(after: str, last: str) -> bool:
    """Return true if a name can end before a text."""
    if not after:
        return True
    if after[0] in _HYPHENS:
        return len(after) == 1 or not _names(after[1])
    if after[0] in _AFTER_A_NAME:
        return False
    return not _in_a_word(after[0]) or _open(last, after[0])


def _open(left: str, right: str) -> bool:
    """Return true if a word may end between two letters because a script has no spaces.

    In every script a mark belongs to the letter before it.
    """
    return not unicodedata.category(right).startswith("M") and (spaceless(left) or spaceless(right))


def _in_a_word(character: str) -> bool:
    return unicodedata.category(character).startswith(_IN_A_WORD)


def _names(character: str) -> bool:
    """Return True if a name can continue with this character after a hyphen."""
    return character.isupper() or character.istitle() or character.isdigit()
