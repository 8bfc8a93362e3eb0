"""Parse the fields of the experiment panel; errors name the field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphaedit_core.corpora.sources import open_text
from alphaedit_core.data.reference_texts import References, read_references
from alphaedit_core.errors import InputError
from alphaedit_core.side_effects.ability_tasks import Task, read_tasks
from alphaedit_core.side_effects.drift import default_probe
from alphaedit_core.storage.json_text import read_text

_ITEMS = 30


def choices(text: str) -> dict[str, str]:
    """Parse data set options separated by commas or spaces."""
    options = {}
    for item in text.replace(",", " ").split():
        name, equals, value = item.partition("=")
        if not (name and equals and value):
            raise InputError(f'field "Options": "{item}" is not NAME=VALUE; give target=alt')
        options[name] = value
    return options


def drift_text(name: str, statistics: str) -> str | None:
    """Return the text for measuring drift; None to skip drift."""
    name = name.strip()
    if name == "none":
        return None
    if name and name != "self":
        open_text(name)
    return name or default_probe(statistics)


def listed(names: str) -> tuple[str, ...]:
    """Split names at commas."""
    return tuple(filter(None, (name.strip() for name in names.split(","))))


def references(name: str) -> References | None:
    """Load the reference texts of a file; None if the field is empty."""
    return read_references(Path(name.strip()).expanduser()) if name.strip() else None


def running_text(name: str) -> str | None:
    """Load the text of a file; None if the field is empty."""
    if not name.strip():
        return None
    try:
        return read_text(Path(name.strip()).expanduser())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f'field "Text for perplexity": {name.strip()} cannot be read ({error}); give a text '
            "file in UTF-8"
        ) from None


def tasks(name: str) -> Sequence[Task]:
    """Load the tasks of a folder; none if the field is empty."""
    return read_tasks(Path(name.strip()).expanduser(), _ITEMS) if name.strip() else ()
