"""What differs between two texts, word by word or token by token."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

#: Names of scripts, as Unicode names begin, whose words no space parts: each character for itself.
_SINGLE = ("CJK", "HIRAGANA", "KATAKANA")


@dataclass(frozen=True)
class Difference:
    """Which parts of two sequences are not in the other one, in order.

    Attributes:
        before: for every part of the first sequence, whether the second lacks it there.
        after: for every part of the second sequence, whether the first lacks it there.
    """

    before: tuple[bool, ...]
    after: tuple[bool, ...]

    @property
    def none(self) -> bool:
        """Whether the two are the same."""
        return not any(self.before) and not any(self.after)

    def __str__(self) -> str:
        if self.none:
            return "no difference"
        return f"{sum(self.before)} removed, {sum(self.after)} added"


def difference(before: Sequence[Hashable], after: Sequence[Hashable]) -> Difference:
    """Compare two sequences by their longest common pieces (Ratcliff and Obershelp 1988)."""
    gone, new = [True] * len(before), [True] * len(after)
    # Without "autojunk": it would drop what occurs often in long texts.
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    for block in matcher.get_matching_blocks():
        gone[block.a : block.a + block.size] = [False] * block.size
        new[block.b : block.b + block.size] = [False] * block.size
    return Difference(tuple(gone), tuple(new))


def words(text: str) -> list[str]:
    """A text in words, stretches of white space and single signs; together they are the text.

    Characters of scripts that write no spaces stand alone.
    """
    found: list[str] = []
    for kind, group in groupby(text, _kind):
        stretch = "".join(group)
        found += list(stretch) if kind == "single" else [stretch]
    return found


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    sign = unicodedata.category(character)[0] in "PS"
    alone = unicodedata.name(character, "").startswith(_SINGLE)
    return "single" if sign or alone else "word"
