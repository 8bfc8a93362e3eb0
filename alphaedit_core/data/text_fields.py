"""Fields of facts that are texts, checked and put into their one form."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown


def checked_text(field: str, value: object, strip: Callable[[str], str] = str.strip) -> str:
    """``value`` as the text of ``field``: a string, stripped, composed, and not blank.

    Raises:
        InputError: if it is none; the message begins with ``field``.
    """
    if not isinstance(value, str):
        plain = isinstance(value, (bool, int, float))
        remedy = f'write "{json.dumps(value)}"' if plain else "give a text"
        if isinstance(value, float) and value != value:  # NaN stands for an empty cell of a table
            remedy = "it is an empty cell: write a text there, or null if there is none"
        raise InputError(f"{field} {shown(value)} is not a text; {remedy}")
    text = unicodedata.normalize("NFC", strip(value))
    if text and text.isascii() and text.isprintable():  # nearly every text of a large file
        return text
    # A zero-width space or a lone direction mark is a text with nothing to see in it.
    categories = {unicodedata.category(character) for character in text}
    if categories <= {"Zs", "Zl", "Zp", "Cc", "Cf"}:
        raise InputError(f"{field} {shown(value)} is blank; give a text")
    if "Cs" in categories:
        raise InputError(f"{field} {shown(value)} holds half a surrogate pair; write the character")
    return text


def checked_texts(
    field: str, value: object, one: str = "", strip: Callable[[str], str] = str.strip
) -> tuple[str, ...]:
    """``value`` as the texts of ``field``, of which messages call each ``one``; none for None.

    Raises:
        InputError: if it is no list of texts as :func:`checked_text` takes them.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        raise InputError(f"{field} {shown(value)} is one text; give a list: [{shown(value)}]")
    if not isinstance(value, Sequence):
        raise InputError(
            f"{field} {shown(value)} is {kind(value)}; give a list of texts, or null for none"
        )
    one = one or field.removesuffix("s")
    return tuple(checked_text(f"{one} {n}:", text, strip) for n, text in enumerate(value, 1))
