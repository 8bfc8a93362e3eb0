"""Differences between two texts, word by word or token by token."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

#: Prefixes of Unicode names in scripts without spaces, where each character counts as a word.
_SINGLE_SCRIPTS = ("CJK", "HIRAGANA", "KATAKANA")


@dataclass(frozen=True)
class Difference:
    """The items in which two sequences differ.

    Attributes:
        before: for each item of the first sequence, whether it was removed.
        after: for each item of the second sequence, whether it was added.
    """

    before: tuple[bool, ...]
    after: tuple[bool, ...]

    @property
    def none(self) -> bool:
        """True if the sequences are equal."""
        return not any(self.before) and not any(self.after)

    def __str__(self) -> str:
        if self.none:
            return "no difference"
        return f"{sum(self.before)} removed, {sum(self.after)} added"


def difference(before: Sequence[Hashable], after: Sequence[Hashable]) -> Difference:
    """Compare two sequences by their longest matching blocks (Ratcliff and Obershelp 1988)."""
    removed, added = [True] * len(before), [True] * len(after)
    # "autojunk" would ignore frequent items of long texts.
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for block in matcher.get_matching_blocks():
        removed[block.a : block.a + block.size] = [False] * block.size
        added[block.b : block.b + block.size] = [False] * block.size
    return Difference(tuple(removed), tuple(added))


def words(text: str) -> list[str]:
    """Split a text into words, runs of white space and single signs, which join to the text.

    Characters of scripts without spaces are items of their own.
    """
    items: list[str] = []
    for kind, group in groupby(text, _kind):
        run = "".join(group)
        items += list(run) if kind == "single" else [run]
    return items


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    is_sign = unicodedata.category(character)[0] in "PS"
    is_single = unicodedata.name(character, "").startswith(_SINGLE_SCRIPTS)
    return "single" if is_sign or is_single else "word"
