"""Records in JSON and JSONL files, each with its name in messages.

Errors do not name the file; callers prepend its name.
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
    """Refuse an invalid maximum number of records.

    Raises:
        InputError: if it is neither None nor a positive whole number.
    """
    if limit is not None and (as_integer(limit) or 0) < 1:
        raise InputError(f"limit {shown(limit)} is not a whole number above 0; give 1 or more")


def file_content(path: Path, remedy: str = "correct the path") -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        remedy: remedy in the error for a missing file.

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
    """Decode UTF-8, without a byte order mark.

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
    """Return the records of a JSON list, named "record 1", "record 2" and so on.

    Raises:
        InputError: if the text is not a JSON list, or the list is empty.
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
    """Yield the records of JSON lines, named by line number; blank lines are skipped.

    Raises:
        InputError: at the first line that is not JSON.
    """
    # Only "\n" ends a line: str.splitlines would also split at separators inside JSON texts.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _parsed(line, number)


def records_of(path: Path, text: str) -> Iterator[tuple[str, object]]:
    """Return the records of a JSON or JSONL file.

    The suffix names the format; for other suffixes the first character decides.

    Raises:
        InputError: as :func:`json_records` and :func:`jsonl_records`.
    """
    suffix = path.suffix.lower()
    as_lines = suffix in (".jsonl", ".ndjson") or (suffix != ".json" and text.lstrip()[0] == "{")
    return jsonl_records(text) if as_lines else json_records(text)


def _parsed(text: str, line: int | None = None) -> object:
    """Parse JSON; ``line`` is the line number of a text that is one line of a file."""
    try:
        return parse_json(text)
    except JSONDecodeError as error:
        raise InputError(
            f"not valid JSON at line {line or error.lineno}, column {error.colno} ({error.msg}); "
            "correct it there"
        ) from None
