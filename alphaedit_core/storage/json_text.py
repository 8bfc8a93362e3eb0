"""Reading of JSON and files from untrusted sources, within limits.

Python's parser raises ``RecursionError`` for deeply nested text and ``ValueError`` for numbers with
thousands of digits, and a device or pipe never ends. Here these cases raise a ``JSONDecodeError``
with the position, or an ``OSError`` with the reason, which all callers handle.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from typing import Any

MOST_NESTED = 100
"""Maximum nesting depth of lists and objects."""

MOST_BYTES = 4 << 30
"""Maximum size of a file in bytes; published data sets have some hundred MB."""

#: Python's limit for the conversion to int, which takes quadratic time.
_MOST_DIGITS = 4300
_LONG_NUMBER = re.compile(rf"\d{{{_MOST_DIGITS + 1},}}")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
#: JSON replacements of the numbers that JSON lacks, by Python's names.
_NUMBERS = {"Infinity": "1e999", "NaN": "null"}
#: Matches these names, and strings, which can contain them.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|Infinity|NaN', re.DOTALL)


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        json.JSONDecodeError: if it is not JSON, is nested deeper than ``MOST_NESTED``, or has an
            integer with more digits than Python parses.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(text) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        match = _LONG_NUMBER.search(text)
        position = match.start() if match else 0
        raise json.JSONDecodeError(
            f"a number of more than {_MOST_DIGITS} digits", text, position
        ) from None
    level = [value]
    for _ in range(MOST_NESTED + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return value
    raise _too_deep(text)


def to_json(content: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Return ``content`` as standard JSON.

    Python writes non-standard names for numbers that JSON lacks. Here infinity, such as the
    perplexity of a broken model, is ``1e999``, which parsers read as infinity or their largest
    number. NaN is ``null``.

    Raises:
        TypeError: if ``content`` is not JSON-serializable.
    """
    text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=sort_keys)
    if "Infinity" not in text and "NaN" not in text:
        return text
    return _WORD.sub(lambda word: _NUMBERS.get(word[0], word[0]), text)


def _too_deep(text: str) -> json.JSONDecodeError:
    """Return the error of a text that is nested too deeply, at the first excess bracket."""
    depth = position = 0
    for token in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > MOST_NESTED:
            position = token.start()
            break
    return json.JSONDecodeError(f"nested more than {MOST_NESTED} levels deep", text, position)


def check_regular(path: str | os.PathLike[str], most: int = MOST_BYTES) -> None:
    """Check that a path is not a device, pipe or socket, and not too large.

    Args:
        path: the path; a folder passes.
        most: maximum size in bytes.

    Raises:
        OSError: if the check fails or the path cannot be accessed; ``strerror`` has the reason.
    """
    status = os.stat(path)
    kinds = (
        (stat.S_ISFIFO, "it is a pipe, not a file"),
        (stat.S_ISCHR, "it is a device, not a file"),
        (stat.S_ISBLK, "it is a device, not a file"),
        (stat.S_ISSOCK, "it is a socket, not a file"),
    )
    for is_kind, message in kinds:
        if is_kind(status.st_mode):
            raise OSError(errno.EINVAL, message, os.fspath(path))
    if stat.S_ISREG(status.st_mode) and status.st_size > most:
        raise OSError(
            errno.EFBIG,
            f"it has {status.st_size:,} bytes, of which at most {most:,} are read",
            os.fspath(path),
        )


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """Return the content of a file, without blocking on pipes or devices.

    Raises:
        OSError: as :func:`check_regular`, and if the file cannot be read.
    """
    check_regular(path, most)
    with open(path, "rb") as file:
        return file.read(most + 1)


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", most: int = MOST_BYTES) -> str:
    """Return the contents of a text file, with every line end as a line feed.

    Raises:
        OSError: as :func:`read_bytes`.
        UnicodeDecodeError: if it has another encoding.
    """
    text = read_bytes(path, most).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
