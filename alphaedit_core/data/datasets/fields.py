"""Fields of published records, checked as they are read: each refusal names field and value."""

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
"""A record, or a part of one, as JSON gives it."""


@contextmanager
def within(place: object) -> Iterator[None]:
    """Put the name of a place before the refusals of what is read there.

    Raises:
        InputError: what is raised inside, with the name.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def given(raw: Raw, field: str) -> Any:
    """The value of a field that every record has.

    Raises:
        InputError: if it is missing.
    """
    if field not in raw:
        raise InputError(f'field "{field}" is missing; add it')
    return raw[field]


def text(raw: Raw, field: str) -> str:
    """A text that every record has.

    Raises:
        InputError: if it is missing, blank, or no text.
    """
    return checked_text(field, given(raw, field))


def texts(raw: Raw, field: str) -> tuple[str, ...]:
    """A list of texts; none where the field is missing or null.

    Raises:
        InputError: if it holds anything else.
    """
    value = raw.get(field)
    return () if value is None else checked_texts(field, value, field)


def objects(raw: Raw, field: str) -> list[Raw]:
    """A list of objects; none where the field is missing or null.

    Raises:
        InputError: if it holds anything else.
    """
    value = raw.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError(f"{field} {shown(value)} is {kind(value)}; give a list of objects")
    return [as_object(f"{field} {number}", one) for number, one in enumerate(value, 1)]


def as_object(field: str, value: object) -> Raw:
    """A value that is an object.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{field} {shown(value)} is {kind(value)}; give an object")
    return value


def answers(raw: Raw, field: str) -> tuple[str, ...]:
    """All right answers of a field, the published one first.

    Published are a text, a list of texts, and a list with a list for each answer, which holds its
    other names; whatever stands there is right. Blanks and nulls are no answers.

    Raises:
        InputError: if it holds anything else.
    """
    value = raw.get(field)
    found: list[object] = []
    for one in value if isinstance(value, list) else [value]:
        found += one if isinstance(one, list) else [one]
    blank = [one is None or (isinstance(one, str) and not one.strip()) for one in found]
    filled = [one for one, none in zip(found, blank, strict=True) if not none]
    return tuple(dict.fromkeys(checked_text(field, one) for one in filled))


def other_than(said: Iterable[str | None], right: Iterable[str]) -> tuple[str, ...]:
    """Of what is said that which is not right, each once; case and white space are folded."""
    seen = {folded(one) for one in right}
    kept = []
    for one in said:
        if one is not None and folded(one) not in seen:
            seen.add(folded(one))
            kept.append(one)
    return tuple(kept)


def folded(text: str) -> str:
    """An answer without differences of case, of composition and of white space."""
    decomposed = unicodedata.normalize("NFD", text).casefold()
    return " ".join(unicodedata.normalize("NFC", decomposed).split())


def slotted(prompt: str, subject: str, field: str = "prompt") -> tuple[str, str]:
    """A complete prompt with ``{}`` for its subject, and the subject as the prompt writes it.

    The first place counts where the subject stands as a name of its own ("C" not in "C++"); else
    the first where it stands inside a longer one; else the first where it stands with other
    capitals, which then are the fact's.

    Raises:
        InputError: if it stands nowhere: there would be nothing to edit.
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
    """The questions of ``portability`` or ``locality``, grouped under names of their own.

    Returns:
        A probe for each, and what is said of those that have no answer and so cannot be asked.

    Raises:
        InputError: if they are not laid out as objects with ``prompt`` and ``ground_truth``.
    """
    groups = raw.get(part)
    asked: list[Probe] = []
    unasked: list[str] = []
    for name, group in as_object(part, {} if groups is None else groups).items():
        listed = {name: group if isinstance(group, list) or group is None else [group]}
        with within(part):
            found = objects(listed, name)
        for number, one in enumerate(found, 1):
            place = f"{part}/{name} {number}"
            with within(place):
                prompt = given(one, "prompt")
                # Where several wordings are given the first is asked, as EasyEdit does.
                if isinstance(prompt, list) and prompt:
                    prompt = prompt[0]
                probe = Probe(
                    f"{part}/{name}", checked_text("prompt", prompt), answers(one, "ground_truth")
                )
            if probe.answers:
                asked.append(probe)
            else:
                unasked.append(f"{place}: has no ground_truth to compare with")
    return asked, unasked
