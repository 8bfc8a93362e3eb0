r"""Prompts with a place for the subject: ``{}`` is the subject, ``{{}}`` a literal ``{}``.

All other braces are ordinary characters. A single ``{{}}`` in a prompt that names the place of its
subject nowhere else is the subject between braces, as in ``\emph{{}} is``.
"""

from __future__ import annotations

import re

SLOT = "{}"
"""The place of the subject in a prompt."""

LITERAL = "{{}}"
"""How a prompt writes ``{}`` as text."""

#: The last line of a chat template, whose line break belongs to it: ``<|im_start|>assistant``.
_CHAT_MARK = re.compile(r"(<[|｜][^<>\s]+[|｜]>|<start_of_turn>)[^<>\n]*$")

_SIGN = re.compile(r"\{\{\}\}|\{\}")


def pieces(template: str) -> list[str]:
    """The texts between the places of the subject, one more than there are places."""
    if template.count(SLOT) == 1:
        return template.split(SLOT)
    found, done = [""], 0
    for sign in _SIGN.finditer(template):
        found[-1] += template[done : sign.start()]
        if sign.group() == LITERAL:
            found[-1] += SLOT
        else:
            found.append("")
        done = sign.end()
    found[-1] += template[done:]
    return found


def filled(template: str, subject: str) -> str:
    """A template with its subject in every place."""
    return subject.join(pieces(template))


def completed(text: str, subject: str) -> str:
    """A prompt that may have places for the subject, or none: every ``{{}}`` is literal."""
    return _SIGN.sub(lambda sign: SLOT if sign.group() == LITERAL else subject, text)


def escaped(text: str) -> str:
    """A complete text as a template that says it, whatever the subject is."""
    return text.replace(SLOT, LITERAL)


def stripped(prompt: str) -> str:
    """A prompt without white space around it, but for line breaks that end a chat template."""
    bare = prompt.strip()
    tail = prompt[len(prompt.rstrip()) :]
    breaks = tail[: tail.rfind("\n") + 1]
    return bare + breaks if breaks and _CHAT_MARK.search(bare) else bare
