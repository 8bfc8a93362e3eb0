"""Whether a text says something, by its words: case, composition and punctuation do not count.

Signs that make another thing of a word do: C++ is not C#, -5 not 5, 20 % not 20, .NET not net,
and Jean not Jean-Luc. A number is one word with its decimals, and 1,000 is 1000. What has no word
in it, such as "€" or an emoji, is looked for as it is written.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alphaedit_core.data.joining import bare, spaceless

#: Dashes and minus signs, which make a number negative where nothing stands before them.
_MINUS = "-\u2010\u2011\u2012\u2013\u2212"
_HYPHENS = "-\u2010\u2011"
#: Signs that stand in texts as separators, whatever class Unicode gives them.
_SEPARATORS = "|~^`=<>©®°"
#: Signs that count as words, though Unicode has them as punctuation.
_SHARES = "%‰"
#: What follows a letter and belongs to its word: C++, C#. One that joins two words does not.
_BEHIND = re.compile(r"[+#♯♭]+(?!\w)|[+#♯♭]{2,}")
#: A number with its thousands, decimals, exponent or divisor. A list, a version or a date has more
#: of these signs, and its parts are words of their own.
_NUMBER = re.compile(
    r"(?<!\d[.,/])\d+(?:,\d{3})*(?:[.,]\d+)?(?:[eE][-+\u2212]?\d+|/\d+(?![\d/]))?(?![.,]?\d)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])")


#: What Korean writes to a word's end: particles, and the verb "to be".
_PARTICLES = (
    "(?:은|는|이|가|을|를|의|에|에서|에게|로|으로|와|과|도|만|까지|부터|보다|처럼|이며|이고|이다|입니다|"
    "이었다|였다|이었습니다|였습니다|인)*"
)


@dataclass(frozen=True)
class _Word:
    """One word of a text.

    Attributes:
        text: folded: NFKC, without case.
        joined: whether a hyphen and a capital go on with it, as in Jean-Luc.
    """

    text: str
    joined: bool


def mentions(text: str, answers: Iterable[str]) -> bool:
    """Whether one of the answers stands somewhere in the text, as whole words."""
    return _says(text, answers, anywhere=True)


def begins(text: str, answers: Iterable[str]) -> bool:
    """Whether the text begins with one of the answers, as whole words."""
    return _says(text, answers, anywhere=False)


def _says(text: str, answers: Iterable[str], anywhere: bool) -> bool:
    words, literal = list(_words(text)), _folded(text)
    for answer in map(bare, answers):
        wanted = _texts(answer)
        if wanted:
            if any(_stands(words, wanted, at) for at in range(len(words) if anywhere else 1)):
                return True
            if _stands_between_letters(words, wanted, anywhere):
                return True
            continue
        sign = _folded(answer)
        if sign and (sign in literal if anywhere else literal.startswith(sign)):
            return True
    return False


def _stands(words: list[_Word], wanted: list[str], at: int) -> bool:
    end = at + len(wanted)
    if [word.text for word in words[at:end]] != wanted:
        return False
    return not (at and words[at - 1].joined) and not words[end - 1].joined


def _stands_between_letters(words: list[_Word], wanted: list[str], anywhere: bool) -> bool:
    """Where words are written without spaces one can begin and end anywhere."""
    left = "" if spaceless(wanted[0][0]) else " "
    right = "" if spaceless(wanted[-1][-1]) else f"{_PARTICLES} " if _hangul(wanted[-1]) else " "
    if left and right == " ":
        return False
    sought = re.compile(f"{left}{re.escape(' '.join(wanted))}{right}")
    given = f" {' '.join(word.text for word in words)} "
    if anywhere:
        return bool(sought.search(given))
    return bool(sought.match(given.lstrip(" ") if not left else given))


def _hangul(word: str) -> bool:
    return unicodedata.name(word[-1], "").startswith("HANGUL")


def _folded(text: str) -> str:
    """NFKC without case, white space as single spaces."""
    return " ".join(_composed(text).casefold().split())


def _composed(text: str) -> str:
    """NFKC, without the signs that choose between a character's text and picture form."""
    return re.sub("[\ufe0e\ufe0f]", "", unicodedata.normalize("NFKC", text))


def _texts(text: str) -> list[str]:
    """The words of an answer; none if there is no letter and no digit in it."""
    words = [word.text for word in _words(text)]
    return words if any(_in_a_word(letter) for word in words for letter in word) else []


def _words(text: str) -> Iterator[_Word]:
    """The words of a text, and the signs in it that are words of their own."""
    text = _composed(text)
    at = 0
    while at < len(text):
        start = at
        front = _front(text, at)
        at += len(front)
        if front or _in_a_word(text[at]):
            number = _NUMBER.match(text, at)
            at = number.end() if number else at + 1
            while at < len(text) and _in_a_word(text[at]):
                at += 1
            if text[at - 1].isalpha() and (behind := _BEHIND.match(text, at)):
                at = behind.end()
            word = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text[start:at])
            sign = "-" if word[0] in _MINUS else ""
            yield _Word(sign + word[len(sign) :].casefold(), _goes_on(text, start, at))
        else:
            at += 1
            if _is_a_sign(text[start]):
                yield _Word(text[start], False)


def _in_a_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _front(text: str, at: int) -> str:
    """The signs that a word begins with here: the minus of a number, the period of .5 or .NET."""
    before, end = text[at - 1] if at else " ", at
    if _in_a_word(before) or before in ")]}.":
        return ""
    if text[end] in _MINUS:
        end += 1
        if unicodedata.category(text[end : end + 1] or " ") == "Sc":
            end += 1
    if text[end : end + 1] == ".":
        end += 1
    after = text[end : end + 1]
    named = text[at:end] == "." and after.isalpha()
    return text[at:end] if end > at and (after.isdigit() or named) else ""


def _is_a_sign(character: str) -> bool:
    """Whether a character counts as a word: money, shares, arithmetic, arrows, emoji."""
    if character in _SEPARATORS:
        return False
    return character in _SHARES or unicodedata.category(character) in ("Sc", "Sm", "So")


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether a hyphen and a capital go on with a name that begins with a capital."""
    after = text[end : end + 2]
    return len(after) == 2 and after[0] in _HYPHENS and text[start].isupper() and after[1].isupper()
