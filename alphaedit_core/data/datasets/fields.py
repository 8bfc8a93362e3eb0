"""Fields of published records, validated on reading; errors name field and value."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from alphaedit_core.data.occurrences import occurrences
from alphaedit_core.data.records import Probe
from alphaedit_core.data.templates import SLOT, escaped
from alphaedit_core.data.text_fields import checked_text, checked_texts
from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown

Raw = Mapping[str, Any]
"""A record, or a part of one, as JSON data."""


@contextmanager
def within(place: object) -> Iterator[None]:
    """Prepend the name of a place to the errors raised inside.

    Raises:
        InputError: the error raised inside, with the name.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def given(raw: Raw, field: str) -> Any:
    """Return the value of a required field.

    Raises:
        InputError: if it is missing.
    """
    if field not in raw:
        raise InputError(f'field "{field}" is missing; add it')
    return raw[field]


def text(raw: Raw, field: str) -> str:
    """Return the text of a required field.

    Raises:
        InputError: if it is missing, blank, or not a text.
    """
    return checked_text(field, given(raw, field))


def texts(raw: Raw, field: str) -> tuple[str, ...]:
    """Return a list of texts; empty if the field is missing or null.

    Raises:
        InputError: if the field has another type.
    """
    value = raw.get(field)
    return () if value is None else checked_texts(field, value, field)


def objects(raw: Raw, field: str) -> list[Raw]:
    """Return a list of objects; empty if the field is missing or null.

    Raises:
        InputError: if the field has another type.
    """
    value = raw.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{field} {shown(value)} is {kind(value)}; give a list of objects")
    return [as_object(f"{field} {number}", one) for number, one in enumerate(value, 1)]


def as_object(field: str, value: object) -> Raw:
    """Return a value, which must be an object.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{field} {shown(value)} is {kind(value)}; give an object")
    return value


def answers(raw: Raw, field: str) -> tuple[str, ...]:
    """Return all right answers of a field, the published one first.

    The field is a text, a list of texts, or a list with the aliases of each answer in a list.
    Blanks and nulls are skipped.

    Raises:
        InputError: if the field has another type.
    """
    value = raw.get(field)
    found: list[object] = []
    for one in value if isinstance(value, list) else [value]:
        found += one if isinstance(one, list) else [one]
    blank = [one is None or (isinstance(one, str) and not one.strip()) for one in found]
    filled = [one for one, none in zip(found, blank, strict=True) if not none]
    return tuple(dict.fromkeys(checked_text(field, one) for one in filled))


def other_than(candidates: Iterable[str | None], right: Iterable[str]) -> tuple[str, ...]:
    """Return the answers that are not right, without duplicates, ignoring case and white space."""
    seen = {folded(one) for one in right}
    kept = []
    for one in candidates:
        if one is not None and folded(one) not in seen:
            seen.add(folded(one))
            kept.append(one)
    return tuple(kept)


def folded(text: str) -> str:
    """Fold case, composition and white space of an answer."""
    decomposed = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", decomposed).split())


def slotted(prompt: str, subject: str, field: str = "prompt") -> tuple[str, str]:
    """Return a complete prompt with ``{}`` for its subject, and the subject as written there.

    The first occurrence as a name of its own is replaced ("C" not in "C++"); otherwise the first
    one inside a longer name; otherwise the first one in another case, which the fact then takes.

    Raises:
        InputError: if the prompt does not contain the subject.
    """
    prompt, subject = (unicodedata.normalize("NFC", text) for text in (prompt, subject))
    span = next(occurrences(prompt, subject), None)
    if span is None:
        exact = re.escape(subject)
        whole = rf"(?<!\w){exact}(?!\w)"
        place = (
            re.search(whole, prompt)
            or re.search(exact, prompt)
            or re.search(whole, prompt, re.IGNORECASE)
        )
        if place is None:
            raise InputError(
                f"subject {shown(subject)} is not in {field} {shown(prompt)}; write it there"
            )
        span = place.span()
    start, end = span
    return SLOT.join((escaped(prompt[:start]), escaped(prompt[end:]))), prompt[start:end]


def questions(raw: Raw, part: str) -> tuple[list[Probe], list[str]]:
    """Return the questions of ``portability`` or ``locality``, which are grouped by name.

    Returns:
        A probe for each question, and a message for each question without an answer.

    Raises:
        InputError: if a question is not an object with ``prompt`` and ``ground_truth``.
    """
    groups = raw.get(part)
    probes: list[Probe] = []
    skipped: list[str] = []
    for name, group in as_object(part, {} if groups is None else groups).items():
        listed = {name: group if isinstance(group, list) or group is None else [group]}
        with within(part):
            found = objects(listed, name)
        for number, one in enumerate(found, 1):
            place = f"{part}/{name} {number}"
            with within(place):
                prompt = given(one, "prompt")
                # Of several wordings the first is used, as in EasyEdit.
                if isinstance(prompt, list) and prompt:
                    prompt = prompt[0]
                probe = Probe(
                    f"{part}/{name}", checked_text("prompt", prompt), answers(one, "ground_truth")
                )
            if probe.answers:
                probes.append(probe)
            else:
                skipped.append(f"{place}: has no ground_truth to compare with")
    return probes, skipped
