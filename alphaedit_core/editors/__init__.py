"""Editors: what to solve for, given keys, residuals and statistics; nothing else.

Each editor is one file with one class. The registry finds them by name.
"""

from __future__ import annotations

from alphaedit_core.errors import InputError

from .alphaedit import AlphaEdit
from .base import Editor

EDITORS: dict[str, type[Editor]] = {AlphaEdit.name: AlphaEdit}


def editor_named(name: str) -> Editor:
    """An editor by its name.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in EDITORS:
        raise InputError(f'editor "{name}" does not exist; give one of {", ".join(EDITORS)}')
    return EDITORS[name]()


__all__ = ["EDITORS", "AlphaEdit", "Editor", "editor_named"]
