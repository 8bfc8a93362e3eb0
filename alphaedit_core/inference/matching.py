"""Matching of answers in a text by words, ignoring case, composition and punctuation.

Signs that change the meaning of a word count: C++ is not C#, -5 not 5, 20 % not 20, .NET not net,
and Jean not Jean-Luc. A number with its decimals is one word, and 1,000 equals 1000. An answer
without a word, such as "€" or an emoji, is matched literally.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from alphaedit_core.data.joining import bare, spaceless

#: Dashes and minus signs; with nothing before them they make a number negative.
_MINUS = "-\u2010\u2011\u2012\u2013\u2212"
_HYPHENS = "-\u2010\u2011"
#: Signs used as separators, whatever their Unicode category.
_SEPARATORS = "|~^`=<>©®°"
#: Signs that count as words, although Unicode classifies them as punctuation.
_SHARES = "%‰"
#: Signs that belong to the word before: C++, C#. A single sign between two words does not.
_BEHIND = re.compile(r"[+#♯♭]+(?!\w)|[+#♯♭]{2,}")
#: A number with thousands separators, decimals, exponent or divisor. The parts of lists, versions
#: and dates, which have more of these signs, are separate words.
_NUMBER = re.compile(
    r"(?<!\d[.,/])\d+(?:,\d{3})*(?:[.,]\d+)?(?:[eE][-+\u2212]?\d+|/\d+(?![\d/]))?(?![.,]?\d)"
)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])")


#: Korean suffixes of a word: particles, and the verb "to be".
_PARTICLES = (
    "(?:은|는|이|가|을|를|의|에|에서|에게|로|으로|와|과|도|만|까지|부터|보다|처럼|이며|이고|이다|입니다|"
    "이었다|였다|이었습니다|였습니다|인)*"
)


@dataclass(frozen=True)
class _Word:
    """One word of a text.

    Attributes:
        text: the word in NFKC, casefolded.
        joined: True if a hyphen and a capital continue it, as in Jean-Luc.
    """

    text: str
    joined: bool


def mentions(text: str, answers: Iterable[str]) -> bool:
    """Return true if the text contains one of the answers as whole words."""
    return _matches(text, answers, anywhere=True)


def begins(text: str, answers: Iterable[str]) -> bool:
    """Return true if the text begins with one of the answers as whole words."""
    return _matches(text, answers, anywhere=False)


def _matches(text: str, answers: Iterable[str], anywhere: bool) -> bool:
    words, literal = list(_words(text)), _folded(text)
    for answer in map(bare, answers):
        answer_words = _texts(answer)
        if answer_words:
            if any(
                _matches_at(words, answer_words, at) for at in range(len(words) if anywhere else 1)
            ):
                return True
            if _matches_between_letters(words, answer_words, anywhere):
                return True
            continue
        sign = _folded(answer)
        if sign and (sign in literal if anywhere else literal.startswith(sign)):
            return True
    return False


def _matches_at(words: list[_Word], answer_words: list[str], at: int) -> bool:
    end = at + len(answer_words)
    if [word.text for word in words[at:end]] != answer_words:
        return False
    return not (at and words[at - 1].joined) and not words[end - 1].joined


def _matches_between_letters(words: list[_Word], answer_words: list[str], anywhere: bool) -> bool:
    """In scripts without spaces between words, an answer can begin and end anywhere."""
    left = "" if spaceless(answer_words[0][0]) else " "
    end = f"{_PARTICLES} " if _hangul(answer_words[-1]) else " "
    right = "" if spaceless(answer_words[-1][-1]) else end
    if left and right == " ":
        return False
    pattern = re.compile(f"{left}{re.escape(' '.join(answer_words))}{right}")
    line = f" {' '.join(word.text for word in words)} "
    if anywhere:
        return bool(pattern.search(line))
    return bool(pattern.match(line.lstrip(" ") if not left else line))


def _hangul(word: str) -> bool:
    return unicodedata.name(word[-1], "").startswith("HANGUL")


def _folded(text: str) -> str:
    """Return a text in NFKC, casefolded, with single spaces for white space."""
    return " ".join(_composed(text).casefold().split())


def _composed(text: str) -> str:
    """Return a text in NFKC, without variation selectors."""
    return re.sub("[\ufe0e\ufe0f]", "", unicodedata.normalize("NFKC", text))


def _texts(text: str) -> list[str]:
    """Return the words of an answer; none if it has no letter and no digit."""
    words = [word.text for word in _words(text)]
    return words if any(_in_a_word(letter) for word in words for letter in word) else []


def _words(text: str) -> Iterator[_Word]:
    """Yield the words of a text, and the signs that count as words."""
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
            word = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text[start:at])
            sign = "-" if word[0] in _MINUS else ""
            yield _Word(sign + word[len(sign) :].casefold(), _goes_on(text, start, at))
        else:
            at += 1
            if _is_a_sign(text[start]):
                yield _Word(text[start], False)


def _in_a_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _front(text: str, at: int) -> str:
    """Return the signs that begin a word: the minus of a number, the period of .5 or .NET."""
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
    """Return True if a character counts as a word: currency, percent, arithmetic, emoji."""
    if character in _SEPARATORS:
        return False
    return character in _SHARES or unicodedata.category(character) in ("Sc", "Sm", "So")


def _goes_on(text: str, start: int, end: int) -> bool:
    """Return true if a hyphen and a capital continue a name that begins with a capital."""
    after = text[end : end + 2]
    return len(after) == 2 and after[0] in _HYPHENS and text[start].isupper() and after[1].isupper()
