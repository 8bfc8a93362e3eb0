r"""Prompt templates: ``{}`` is the subject, ``{{}}`` a literal ``{}``.

All other braces are ordinary characters. A single ``{{}}`` in a prompt without another ``{}`` is
the subject between braces, as in ``\emph{{}} is``.
"""

from __future__ import annotations

import re

SLOT = "{}"
"""The place of the subject in a prompt."""

LITERAL = "{{}}"
"""A literal ``{}`` in a prompt."""

#: The last line of a chat template, which keeps its line break: ``<|im_start|>assistant``.
_CHAT_MARK = re.compile(r"(<[|｜][^<>\s]+[|｜]>|<start_of_turn>)[^<>\n]*$")

_SIGN = re.compile(r"\{\{\}\}|\{\}")


def pieces(template: str) -> list[str]:
    """Split a template at its subjects."""
    if template.count(SLOT) == 1:
        return template.split(SLOT)
    parts, done = [""], 0
    for sign in _SIGN.finditer(template):
        parts[-1] += template[done : sign.start()]
        if sign.group() == LITERAL:
            parts[-1] += SLOT
        else:
            parts.append("")
        done = sign.end()
    parts[-1] += template[done:]
    return parts


def filled(template: str, subject: str) -> str:
    """Fill the subject into a template."""
    return subject.join(pieces(template))


def completed(text: str, subject: str) -> str:
    """Fill the subject into a prompt that may have no ``{}``; every ``{{}}`` is literal."""
    return _SIGN.sub(lambda sign: SLOT if sign.group() == LITERAL else subject, text)


def escaped(text: str) -> str:
    """Return a template that gives ``text`` for any subject."""
    return text.replace(SLOT, LITERAL)


def stripped(prompt: str) -> str:
    """Strip white space, but keep line breaks that end a chat template."""
    bare = prompt.strip()
    tail = prompt[len(prompt.rstrip()) :]
    breaks = tail[: tail.rfind("\n") + 1]
    return bare + breaks if breaks and _CHAT_MARK.search(bare) else bare
