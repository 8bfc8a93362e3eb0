"""JSON and files from anywhere: whatever they hold, they are read within bounds or refused.

Python's reader gives up with a ``RecursionError`` where a text is nested deeply and with a plain
``ValueError`` where a number has thousands of digits, and a device or a pipe in the place of a file
never ends. Here each of these is one of the errors that every caller already turns into one line:
a ``JSONDecodeError`` that knows the place, or an ``OSError`` that says why.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from typing import Any

MOST_NESTED = 100
"""Levels of lists and objects inside each other that are read."""

MOST_BYTES = 4 << 30
"""Bytes of a file that are read at most: published data sets have some hundred MB."""

#: Python turns no longer number into an integer, as that takes quadratic time.
_MOST_DIGITS = 4300
_LONG_NUMBER = re.compile(rf"\d{{{_MOST_DIGITS + 1},}}")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
#: What stands for the numbers that JSON has no word for, by Python's words for them.
_NUMBERS = {"Infinity": "1e999", "NaN": "null"}
#: These words, and texts, which may hold them too.
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|Infinity|NaN', re.DOTALL)


def parse_json(text: str) -> Any:
    """What a JSON text says.

    Raises:
        json.JSONDecodeError: if it is not JSON, is nested deeper than ``MOST_NESTED``, or holds a
            whole number of more digits than Python reads.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(text) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        found = _LONG_NUMBER.search(text)
        place = found.start() if found else 0
        raise json.JSONDecodeError(
            f"a number of more than {_MOST_DIGITS} digits", text, place
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
    """``content`` as JSON that any reader takes.

    Python's own writer has words for numbers that JSON knows none for. Here infinity, such as the
    perplexity of a model that broke, is ``1e999``, which every reader takes for infinity or for its
    largest number, and what is no number is ``null``.

    Raises:
        TypeError: if ``content`` holds something that JSON has no form for.
    """
    text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=sort_keys)
    if "Infinity" not in text and "NaN" not in text:
        return text
    return _WORD.sub(lambda word: _NUMBERS.get(word[0], word[0]), text)


def _too_deep(text: str) -> json.JSONDecodeError:
    """The error of a text that is nested too deeply, at the first bracket too many."""
    depth = place = 0
    for token in _BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > MOST_NESTED:
            place = token.start()
            break
    return json.JSONDecodeError(f"nested more than {MOST_NESTED} levels deep", text, place)


def check_regular(path: str | os.PathLike[str], most: int = MOST_BYTES) -> None:
    """Refuse what is no file with an end, and a file too large to be read at once.

    Raises:
        OSError: if it is a device, a pipe or a socket, is larger than ``most`` bytes, or cannot be
            looked at; ``strerror`` says which.
    """
    found = os.stat(path)
    kinds = (
        (stat.S_ISFIFO, "it is a pipe, not a file"),
        (stat.S_ISCHR, "it is a device, not a file"),
        (stat.S_ISBLK, "it is a device, not a file"),
        (stat.S_ISSOCK, "it is a socket, not a file"),
    )
    for is_kind, words in kinds:
        if is_kind(found.st_mode):
            raise OSError(errno.EINVAL, words, os.fspath(path))
    if stat.S_ISREG(found.st_mode) and found.st_size > most:
        raise OSError(
            errno.EFBIG,
            f"it has {found.st_size:,} bytes, of which at most {most:,} are read",
            os.fspath(path),
        )


def read_bytes(path: str | os.PathLike[str], most: int = MOST_BYTES) -> bytes:
    """What a file holds; neither waits for a pipe nor fills the memory from a device.

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
        UnicodeDecodeError: if it is not of that encoding.
    """
    text = read_bytes(path, most).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n")
