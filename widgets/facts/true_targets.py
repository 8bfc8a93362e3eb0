"""What the unedited model says after a prompt: the true target, where the user has named none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.fact_drafts import Draft

#: Prompts between two looks at the cancel button.
_AT_ONCE = 16
#: Words of a name at most.
_WORDS = 4
#: What may stand around a word and does not belong to it.
_MARKS = ".,;:!?…()[]{}<>\"“”„‘’'«»*_—–-。、，：；！？（）「」『』"
#: A word that ends with a period of its own: initials and titles before a name.
_SHORT = re.compile(
    r"(?:[^\W\d_]\.){2,}|[A-Z]\.|(?:St|Mt|Ft|Dr|Mr|Mrs|Ms|Jr|Sr|Prof|Gen|Col|Lt|Sgt)\."
)
#: What begins a sentence behind such a word and is no part of a name.
_STARTS = ("A", "An", "And", "But", "He", "I", "In", "It", "Its", "She", "The", "They", "This")
#: A number with what it begins with, or a name with its period: .NET.
_BEFORE_A_WORD = re.compile(r"[-−–+]?[$€£¥]?\d|(?<!\.)\.[A-Z]{2}")
#: Names of scripts, as Unicode names begin, that are written without spaces between words.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


def true_targets(session: EditSession, prompts: Sequence[str], monitor: Monitor) -> list[str]:
    """The first word or name that the unedited model says after each prompt, greedily.

    Args:
        session: the session; its model has its present weights again afterwards.
        prompts: complete prompts.
        monitor: what to report to.

    Returns:
        One text for each prompt; "" where the model says no word.

    Raises:
        SessionError: if another thread uses the model.
        Canceled: if canceled.
    """
    words: list[str] = []
    with monitor.stage("true targets", len(prompts), "prompt"), session.at_state(0):
        for first in range(0, len(prompts), _AT_ONCE):
            part = prompts[first : first + _AT_ONCE]
            words += [
                first_words(text) for text in generate_greedy(session.model, part, monitor=monitor)
            ]
            monitor.advance(len(part))
    return words


def first_words(text: str) -> str:
    """The word a continuation begins with, or the whole name where it is one: ``New York City``.

    A name is up to four words that all begin with a capital and have no punctuation between them,
    but for the periods of initials and titles: ``U.S. Army``. A number keeps its sign.
    Of a script without spaces it is what comes before the script changes, as from kanji to kana.
    """
    line = text.strip().partition("\n")[0]
    start = 0
    while line[start : start + 1] in {*_MARKS, " "} and not _BEFORE_A_WORD.match(line, start):
        start += 1
    if not (line := line[start:]):
        return ""
    for script in _NO_SPACES:
        if run := _run(line, script):
            return run
    taken: list[str] = []
    for word in line.split()[:_WORDS]:
        # A single letter is an initial in front of a name only: "J. R. R. Tolkien", "Vitamin C."
        short = _SHORT.fullmatch(word) and (len(word) > 2 or all(len(one) == 2 for one in taken))
        bare = word if short else word.rstrip(_MARKS)
        if not _BEFORE_A_WORD.match(bare):
            bare = bare.lstrip(_MARKS)
        if taken and taken[-1].endswith(".") and bare in _STARTS:
            break
        if not bare or (taken and not (bare[0].isupper() and word[0] == bare[0])):
            break
        taken.append(bare)
        if not bare.lstrip(".")[:1].isupper() or not word.endswith(bare):
            break
    return " ".join(taken)


def open_prompt(draft: Draft) -> str | None:
    """The complete prompt of a draft without a true target; None if it has one, or no prompt."""
    if draft.target_true.strip():
        return None
    whole = draft if draft.target.strip() else replace(draft, target="?")
    return None if whole.need else whole.fact().text


def _run(line: str, script: str) -> str:
    """The characters of one script that a line begins with."""
    return "".join(takewhile(lambda letter: unicodedata.name(letter, "").startswith(script), line))
