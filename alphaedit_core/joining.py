"""What stands between a prompt and its target: a space, or nothing.

In running text a space stands before a word, and none behind an opening quotation mark, before a
full stop, or in a script that is written without spaces. Whoever wants it otherwise says so in the
target: a backslash before it for no space, a backslash and a space for one.
"""

from __future__ import annotations

import unicodedata

#: Names of scripts, as Unicode names begin, that are written without spaces between words.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
#: Behind these no space is written, wherever they stand.
_OPENING = "([{«“‘„‚¿¡"
#: Before these no space is written.
_CLOSING = ")]}»”%…"
#: These end a clause, and belong to what is before them unless a word goes on with them: .NET
_ENDING = ".,;:!?"
#: Straight quotation marks and apostrophes, which open or close by what is beside them.
_QUOTES, _APOSTROPHES = '"', "'’"
#: Behind these nothing is written where a space, or nothing, stands before them: #1, @home, -5.
_BEFORE_A_WORD, _BEFORE_A_NUMBER = "#@", "+-−"
#: Behind these nothing is written where a word stands before them: and/or, Jean-Luc.
_INSIDE_A_WORD = "-/\u2010\u2011"


def spaceless(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces between words."""
    return unicodedata.name(character, "").startswith(_NO_SPACES)


def joint(prompt: str, target: str) -> str:
    """What stands between a prompt and a target, both not empty: ``" "`` or ``""``."""
    if target[0] == "\\":
        return " " if target[1:2] == " " else ""
    if prompt[-1].isspace() or spaceless(prompt[-1]) or spaceless(target[0]):
        return ""
    return "" if _opens(prompt, target[0]) or _closes(target) else " "


def bare(target: str) -> str:
    """A target without what says how it is joined."""
    return target[1:].lstrip(" ") or target if target.startswith("\\") else target


def statement(prompt: str, target: str) -> str:
    """Prompt and target as one text."""
    return f"{prompt}{joint(prompt, target)}{bare(target)}"


def _opens(prompt: str, first: str) -> bool:
    """Whether the prompt ends with a sign that belongs to the word behind it."""
    last, before = prompt[-1], prompt[-2:-1]
    apart = not before or before.isspace() or before in _OPENING
    if last in _OPENING or last == "_":
        return True
    if last in _QUOTES:
        return prompt.count(last) % 2 == 1
    if last in _APOSTROPHES:
        return apart
    if unicodedata.category(last) == "Sc":
        return apart and first.isdigit()
    if last in _BEFORE_A_WORD:
        return apart
    if last in _BEFORE_A_NUMBER and apart:
        return first.isdigit()
    return last in _INSIDE_A_WORD and before.isalnum()


def _closes(target: str) -> bool:
    """Whether the target begins with a sign that belongs to the word before it."""
    first, after = target[0], target[1:2]
    if first in _APOSTROPHES:  # 's idea, but not '90s
        return after.isalpha() or not after
    if first in _ENDING:
        return not after.isalnum()
    return first in _CLOSING
