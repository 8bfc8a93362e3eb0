r"""What stands between a prompt and its target: a space, or nothing.

In running text a space stands before a word, and none behind an opening quotation mark, before a
full stop, or in a script that is written without spaces. Whoever wants it otherwise says so in the
target: ``\&`` before it for nothing, a backslash and a space for a space.
"""

from __future__ import annotations

import re
import unicodedata

#: Names of scripts, as Unicode names begin, that are written without spaces between words.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
#: What a target may begin with to say how it is joined.
_SIGNS = {"\\ ": " ", "\\&": ""}
#: Behind these no space is written, but where they close what another one opened: „Rom“, »Rom«.
_OPENING = "([{«‹“‘„‚¿¡_"
_OPENED_BY = {"“": "„", "‘": "‚", "«": "»", "‹": "›"}
#: Quotation marks that close in most languages, and open in some: »Rom« and ”Rom”.
_EITHER = {"»": "«", "›": "‹", "”": "“„"}
#: Marks of Markdown and of code, which open where they are there an odd number of times.
_PAIRED = ("**", "__", "`")
#: Quotation marks and apostrophes that open where nothing or a space stands before them.
_STRAIGHT = "\"'’"
#: Words that lose their last letter before a vowel: l'Italie, dell'arte, O'Brien.
_ELIDED = re.compile(
    r"(?i)(?<![\w'’])(?:[cdjlmnsto]|qu|lorsqu|puisqu|jusqu|(?:d|n|s)?[aeu]ll|un)['’]$"
)
#: A sign of money with nothing before it but letters of a country: US$.
_MONEY = re.compile(r"(?<!\w)[A-Z]{0,3}\W$")
#: What belongs to the word before it: punctuation that ends, 's, n't, -based.
_JOINED = re.compile(
    r"(?:[!?]+|[.,])(?=$|[\s\"”’')\]}»])|[;:](?=$|\s)|[،؛؟।]|[)\]}»›”]"
    r"|['’](?:(?:s|d|m|re|ve|ll)(?![\w-])|$)|[-\u2010\u2011](?!inf(?:inity)?\b)(?=[^\W\d_])"
)
#: Verbs that n't is written to, and the t of them: does n't, doesn 't.
_NEGATED = re.compile(
    r"(?i)\b(?:do|does|did|is|are|was|were|has|have|had|ca|wo|would|could|should|must|need)(n?)$"
)
#: What is written to the verb: n't whole, or 't where the n is there.
_NOT = {"": re.compile(r"n['’]t\b"), "n": re.compile(r"['’]t\b")}
#: An address or a path that goes on: https://, user@, C:\, and an assignment: x=.
_GOES_ON = re.compile(r"(?:\w://|\w@|(?<!\w)[A-Za-z]:\\|\w\\|\w=)$")
#: What a sign of money stands before, besides numbers: the name of a share.
_SHARE = re.compile(r"[A-Z]{2,5}\b")


def spaceless(character: str) -> bool:
    """Whether a character belongs to a script that is written without spaces between words."""
    return unicodedata.name(character, "").startswith(_NO_SPACES)


def joint(prompt: str, target: str) -> str:
    """What stands between a prompt and a target, both not empty: ``" "`` or ``""``."""
    if said := _SIGNS.get(target[:2]) if len(target) > 2 else None:
        return said
    if said is not None or prompt[-1].isspace() or _unspaced(prompt[-1]) or _unspaced(target[0]):
        return ""
    return "" if _opens(prompt, target) or _closes(prompt, target) else " "


def bare(target: str) -> str:
    """A target without what says how it is joined."""
    return target[2:].lstrip(" ") or target if target[:2] in _SIGNS else target


def statement(prompt: str, target: str) -> str:
    """Prompt and target as one text."""
    return f"{prompt}{joint(prompt, target)}{bare(target)}"


def _unspaced(character: str) -> bool:
    """Whether no space is written beside a character: such a script, or its punctuation."""
    wide = "\u3000" <= character <= "\u303f" or "\uff00" <= character <= "\uffef"
    return wide or spaceless(character)


def _opens(prompt: str, target: str) -> bool:
    """Whether the prompt ends with a sign that belongs to the word behind it."""
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
    """Whether the target begins with a sign that belongs to the word before it."""
    if target[0] == '"':  # it closes where one is open
        return prompt.count('"') % 2 == 1 and not target[1:2].isalnum()
    if target[0] == "%":
        return prompt[-1].isdigit()
    if target[0] in "«‹":  # it closes where the other one opened
        return prompt.count(_OPENED_BY[target[0]]) > prompt.count(target[0])
    if (verb := _NEGATED.search(prompt)) and _NOT[verb[1].lower()].match(target):
        return True
    return bool(_JOINED.match(target))
