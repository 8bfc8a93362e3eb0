"""Missing true targets, taken from the unedited model's continuation of each prompt."""

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

#: Number of prompts between two checks for cancellation.
_AT_ONCE = 16
#: Maximum number of words in a name.
_WORDS = 4
#: Punctuation around a word that is not part of the word.
_MARKS = ".,;:!?…()[]{}<>\"“”„‘’'«»*_—–-。、，：；！？（）「」『』"
#: A word whose final period belongs to it: initials and titles before a name.
_SHORT = re.compile(
    r"(?:[^\W\d_]\.){2,}|[A-Z]\.|(?:St|Mt|Ft|Dr|Mr|Mrs|Ms|Jr|Sr|Prof|Gen|Col|Lt|Sgt)\."
)
#: Words that begin a sentence after such a word and are not part of a name.
_STARTS = ("A", "An", "And", "But", "He", "I", "In", "It", "Its", "She", "The", "They", "This")
#: A number with its prefix, or a name with its leading period: .NET.
_BEFORE_A_WORD = re.compile(r"[-−–+]?[$€£¥]?\d|(?<!\.)\.[A-Z]{2}")
#: Prefixes of Unicode names for scripts written without spaces between words.
_NO_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")


def true_targets(session: EditSession, prompts: Sequence[str], monitor: Monitor) -> list[str]:
    """Return the first word or name in the unedited model's greedy continuation of each prompt.

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
        for start in range(0, len(prompts), _AT_ONCE):
            part = prompts[start : start + _AT_ONCE]
            words += [
                first_words(text) for text in generate_greedy(session.model, part, monitor=monitor)
            ]
            monitor.advance(len(part))
    return words


def first_words(text: str) -> str:
    """Return the first word of a continuation, or its whole name: ``New York City``.

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
    name_words: list[str] = []
    for word in line.split()[:_WORDS]:
        # A single letter is an initial only before a name: "J. R. R. Tolkien", "Vitamin C."
        abbreviated = _SHORT.fullmatch(word) and (
            len(word) > 2 or all(len(previous) == 2 for previous in name_words)
        )
        core = word if abbreviated else word.rstrip(_MARKS)
        if not _BEFORE_A_WORD.match(core):
            core = core.lstrip(_MARKS)
        if name_words and name_words[-1].endswith(".") and core in _STARTS:
            break
        if not core or (name_words and not (core[0].isupper() and word[0] == core[0])):
            break
        name_words.append(core)
        if not core.lstrip(".")[:1].isupper() or not word.endswith(core):
            break
    return " ".join(name_words)


def open_prompt(draft: Draft) -> str | None:
    """Return the full prompt of a draft that lacks a true target, else None."""
    if draft.target_true.strip():
        return None
    complete = draft if draft.target.strip() else replace(draft, target="?")
    return None if complete.need else complete.fact().text


def _run(line: str, script: str) -> str:
    """Return a line's leading characters of one script."""
    return "".join(takewhile(lambda letter: unicodedata.name(letter, "").startswith(script), line))
