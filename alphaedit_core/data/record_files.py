"""Files of records: what is in them, as JSON or as JSONL, each record with its name in messages.

Every function refuses in one line that does not name the file; whoever knows its name puts it
before the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecodeError
from pathlib import Path

from alphaedit_core.errors import InputError
from alphaedit_core.integers import as_integer
from alphaedit_core.messages import kind, shown
from alphaedit_core.storage.json_text import parse_json, read_bytes


def check_limit(limit: object) -> None:
    """Refuse a number of records that is none.

    Raises:
        InputError: if it is neither None nor a whole number above 0.
    """
    if limit is not None and (as_integer(limit) or 0) < 1:
        raise InputError(f"limit {shown(limit)} is not a whole number above 0; give 1 or more")


def file_content(path: Path, remedy: str = "correct the path") -> bytes:
    """What a file holds.

    Args:
        path: the file.
        remedy: what to do where there is none.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise InputError(f"there is no such file; {remedy}") from None
    except IsADirectoryError:
        raise InputError("this is a folder; name a file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"the file cannot be read ({reason}); name another") from None


def decoded(content: bytes, noun: str = "record") -> str:
    """A text in UTF-8, without its byte order mark.

    Raises:
        InputError: if it is not UTF-8, or blank.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8 at byte {error.start} (line {line}); save the file in UTF-8"
        ) from None
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InputError(f"the file is empty; put at least one {noun} into it")
    return text


def json_records(text: str, noun: str = "record") -> Iterator[tuple[str, object]]:
    """The records of a JSON list, named "record 1", "record 2" and so on.

    Raises:
        InputError: if the text is not a JSON list with something in it.
    """
    records = _parsed(text)
    if isinstance(records, dict):
        lists = [name for name, value in records.items() if isinstance(value, list)]
        if len(records) == len(lists) == 1 or lists == ["data"]:
            raise InputError(
                f"the file holds one object; keep only the list that is its {shown(lists[0])}: "
                "[{...}]"
            )
        raise InputError("the file holds one object; put it into a list: [{...}]")
    if not isinstance(records, list):
        raise InputError(f"the file holds {kind(records)}; write a list: [{{...}}]")
    if not records:
        raise InputError(f"the list of {noun}s is empty; put at least one into it")
    return ((f"{noun} {number}", record) for number, record in enumerate(records, 1))


def jsonl_records(text: str) -> Iterator[tuple[str, object]]:
    """The records of JSON lines, named by their lines; blank lines are skipped.

    Raises:
        InputError: when a line is reached that is not JSON.
    """
    # Only "\n" ends a line: str.splitlines would cut at separators that JSON allows inside a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _parsed(line, number)


def records_of(path: Path, text: str) -> Iterator[tuple[str, object]]:
    """The records of a JSON or JSONL file, told apart by suffix or else by the first character.

    Raises:
        InputError: as :func:`json_records` and :func:`jsonl_records`.
    """
    suffix = path.suffix.lower()
    as_lines = suffix in (".jsonl", ".ndjson") or (suffix != ".json" and text.lstrip()[0] == "{")
    return jsonl_records(text) if as_lines else json_records(text)


def _parsed(text: str, line: int | None = None) -> object:
    """What JSON ``text`` says; ``line`` is its number where it is one line of a file."""
    try:
        return parse_json(text)
    except JSONDecodeError as error:
        raise InputError(
            f"not valid JSON at line {line or error.lineno}, column {error.colno} ({error.msg}); "
            "correct it there"
        ) from None
