"""Parse pasted or uploaded facts: tab-separated lines, as spreadsheets copy them, or JSON."""

from __future__ import annotations

import json

from alphaedit_core.data.fact_files import facts_from_bytes
from alphaedit_core.errors import InputError
from alphaedit_widgets.fact_drafts import Draft

_COLUMNS = ("subject", "prompt", "target", "true target")


def drafts_from_text(text: str) -> list[Draft]:
    """Parse the facts of a pasted text: all of them, or none.

    Args:
        text: lines ``subject<TAB>prompt<TAB>target[<TAB>true target]``, with or without a line of
            headings; or a JSON list, one JSON object or JSON lines, as
            :func:`~alphaedit_core.data.fact_files.read_facts` takes them.

    Raises:
        InputError: if a line cannot be used; names its number (blank lines count).
    """
    if not text.strip():
        raise InputError("nothing to add; enter lines or JSON first")
    if text.lstrip()[0] in "[{":
        return [Draft.of(fact) for fact in facts_from_bytes(_listed(text), "pasted text")]
    drafts: list[Draft] = []
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells) or (not drafts and _headings(cells)):
            continue
        drafts.append(_draft(number, cells))
    if not drafts:
        raise InputError("nothing to add; enter a fact below the headings")
    return drafts


def drafts_from_file(name: str, content: bytes) -> tuple[list[Draft], list[str]]:
    """Parse the facts of a file: JSON, JSON lines, CSV, or tab-separated lines.

    Args:
        name: what the file is called; its suffix tells the format.
        content: what it holds, in UTF-8.

    Returns:
        The facts, and what of the file was ignored, in words.

    Raises:
        InputError: if the file cannot be used; names it and the place.
    """
    if not name.lower().endswith((".tsv", ".txt")):
        ignored: list[str] = []
        facts = facts_from_bytes(content, name, warn=ignored.append)
        return [Draft.of(fact) for fact in facts], ignored
    try:
        return drafts_from_text(content.decode("utf-8-sig")), []
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 at byte {error.start}; save it in UTF-8") from None
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _listed(text: str) -> bytes:
    """Return JSON text as bytes; a single multi-line object becomes a list of one."""
    try:
        if isinstance(json.loads(text), dict):
            text = f"[{text}]"
    except (ValueError, RecursionError):
        pass  # JSON lines or invalid: the reader reports where
    return text.encode("utf-8", "replace")


def _headings(cells: list[str]) -> bool:
    return tuple(cell.casefold() for cell in cells[:3]) == _COLUMNS[:3]


def _draft(number: int, cells: list[str]) -> Draft:
    """Parse one line into a draft.

    Raises:
        InputError: if it is no fact.
    """
    while len(cells) > len(_COLUMNS) and not cells[-1]:
        cells = cells[:-1]
    if not 3 <= len(cells) <= len(_COLUMNS):
        columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        raise InputError(
            f"line {number}: has {columns}, not 3 or 4; separate by one tab {', '.join(_COLUMNS)}"
        )
    subject, prompt, target, target_true = [*cells, ""][: len(_COLUMNS)]
    draft = Draft(subject, prompt, target, target_true)
    if need := draft.need:
        raise InputError(f"line {number}: needs {need}")
    return draft
