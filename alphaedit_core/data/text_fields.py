"""Validation and normalization of the text fields of facts."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown


def checked_text(field: str, value: object, strip: Callable[[str], str] = str.strip) -> str:
    """Return ``value`` as the text of ``field``, stripped and in NFC.

    Raises:
        InputError: if it is not a string, or blank; the message begins with ``field``.
    """
    if not isinstance(value, str):
        plain = isinstance(value, (bool, int, float))
        remedy = f'write "{json.dumps(value)}"' if plain else "give a text"
        if isinstance(value, float) and value != value:  # NaN: an empty cell of a table
            remedy = "it is an empty cell: write a text there, or null if there is none"
        raise InputError(f"{field} {shown(value)} is not a text; {remedy}")
    text = unicodedata.normalize("NFC", strip(value))
    if text and text.isascii() and text.isprintable():  # fast path for nearly all texts
        return text
    # A zero-width space or a lone direction mark shows nothing: such a text is blank.
    categories = {unicodedata.category(character) for character in text}
    if categories <= {"Zs", "Zl", "Zp", "Cc", "Cf"}:
        raise InputError(f"{field} {shown(value)} is blank; give a text")
    if "Cs" in categories:
        raise InputError(f"{field} {shown(value)} holds half a surrogate pair; write the character")
    return text


def checked_texts(
    field: str, value: object, one: str = "", strip: Callable[[str], str] = str.strip
) -> tuple[str, ...]:
    """Return ``value`` as the texts of ``field``; none for None.

    Args:
        field: name of the field.
        value: a list of texts, or None.
        one: name of a single text in messages; by default ``field`` in the singular.
        strip: how white space is stripped.

    Raises:
        InputError: if it is not a list of texts that :func:`checked_text` accepts.
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
