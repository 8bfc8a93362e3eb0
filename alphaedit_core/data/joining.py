r"""Whether a space separates a prompt from its target.

As in running text, a space precedes a word, but not after an opening quotation mark, before a full
stop, or in a script without spaces. A target that begins with ``\&`` is joined without a space, and
one that begins with a backslash and a space is joined with a space.
"""

from __future__ import annotations

import re
import unicodedata

#: Prefixes of the Unicode names of scripts without spaces between words.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
#: Prefixes of a target that choose how it is joined.
_SIGNS = {"\\ ": " ", "\\&": ""}
#: No space follows these, unless they close a quotation that another one opened: „Rom“, »Rom«.
_OPENING = "([{«‹“‘„‚¿¡_"
_OPENED_BY = {"“": "„", "‘": "‚", "«": "»", "‹": "›"}
#: Quotation marks that close in most languages, and open in some: »Rom« and ”Rom”.
_EITHER = {"»": "«", "›": "‹", "”": "“„"}
#: Marks of Markdown and code; an odd number of them means that the last one opens.
_PAIRED = ("**", "__", "`")
#: Quotation marks and apostrophes that open at the start or after a space.
_STRAIGHT = "\"'’"
#: Words elided before a vowel: l'Italie, dell'arte, O'Brien.
_ELIDED = re.compile(
    r"(?i)(?<![\w'’])(?:[cdjlmnsto]|qu|lorsqu|puisqu|jusqu|(?:d|n|s)?[aeu]ll|un)['’]$"
)
#: A currency sign, with at most the letters of a country before it: US$.
_MONEY = re.compile(r"(?<!\w)[A-Z]{0,3}\W$")
#: Suffixes that belong to the word before: closing punctuation, 's, n't, -based.
_JOINED = re.compile(
    r"(?:[!?]+|[.,])(?=$|[\s\"”’')\]}»])|[;:](?=$|\s)|[،؛؟।]|[)\]}»›”]"
    r"|['’](?:(?:s|d|m|re|ve|ll)(?![\w-])|$)|[-\u2010\u2011](?!inf(?:inity)?\b)(?=[^\W\d_])"
)
#: Verbs that take n't, split as "does n't" or "doesn 't".
_NEGATED = re.compile(
    r"(?i)\b(?:do|does|did|is|are|was|were|has|have|had|ca|wo|would|could|should|must|need)(n?)$"
)
#: The rest of the negation: n't, or 't if the prompt has the n.
_NOT = {"": re.compile(r"n['’]t\b"), "n": re.compile(r"['’]t\b")}
#: An unfinished address or path, https://, user@, C:\, or assignment, x=.
_GOES_ON = re.compile(r"(?:\w://|\w@|(?<!\w)[A-Za-z]:\\|\w\\|\w=)$")
#: A ticker symbol, which may follow a currency sign as a number does.
_SHARE = re.compile(r"[A-Z]{2,5}\b")


def spaceless(character: str) -> bool:
    """Return true if a character belongs to a script without spaces between words."""
    return unicodedata.name(character, "").startswith(_NO_SPACES)


def joint(prompt: str, target: str) -> str:
    """Return the separator of a prompt and a target, both not empty: ``" "`` or ``""``."""
    if chosen := _SIGNS.get(target[:2]) if len(target) > 2 else None:
        return chosen
    if chosen is not None or prompt[-1].isspace() or _unspaced(prompt[-1]) or _unspaced(target[0]):
        return ""
    return "" if _opens(prompt, target) or _closes(prompt, target) else " "


def bare(target: str) -> str:
    """Return a target without the prefix that chooses how it is joined."""
    return target[2:].lstrip(" ") or target if target[:2] in _SIGNS else target


def statement(prompt: str, target: str) -> str:
    """Return prompt and target as one text."""
    return f"{prompt}{joint(prompt, target)}{bare(target)}"


def _unspaced(character: str) -> bool:
    """Return True if no space adjoins a character: scripts without spaces, their punctuation."""
    wide = "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef"
    return wide or spaceless(character)


def _opens(prompt: str, target: str) -> bool:
    """Return true if the prompt ends with a sign that belongs to the next word."""
    last, before, number = prompt[-1], prompt[-2:-1], target.lstrip(".,")[:1].isdigit()
    apart = not before or before.isspace() or before in _OPENING
    if last in _OPENING:
        opened = _OPENED_BY.get(last, "")
        return not opened or prompt.count(opened) < prompt.count(last)
    if last in _EITHER and apart:
        return not any(sign in prompt for sign in _EITHER[last]) and prompt.count(last) % 2 == 1
    if any(prompt.endswith(mark) and prompt.count(mark) % 2 for mark in _PAIRED):
        return True
    if _GOES_ON.search(prompt):
        return True
    if last in _STRAIGHT:
        return apart or bool(_ELIDED.search(prompt))
    if unicodedata.category(last) == "Sc":
        share = apart and bool(_SHARE.match(target))
        return share or (number and bool(_MONEY.search(prompt)))
    if last in "#@":
        return apart
    if last in "+-−" and apart:
        return number
    if last == "–" and before.isdigit():
        return number
    return last in "-/\u2010\u2011" and before.isalnum()


def _closes(prompt: str, target: str) -> bool:
    """Return true if the target begins with a sign that belongs to the word before."""
    if target[0] == '"':  # closes if one is open
        return prompt.count('"') % 2 == 1 and not target[1:2].isalnum()
    if target[0] == "%":
        return prompt[-1].isdigit()
    if target[0] in "«‹":  # closes if its counterpart opened
        return prompt.count(_OPENED_BY[target[0]]) > prompt.count(target[0])
    if (verb := _NEGATED.search(prompt)) and _NOT[verb[1].lower()].match(target):
        return True
    return bool(_JOINED.match(target))
