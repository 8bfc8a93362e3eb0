"""Editors: what to solve for, given keys, residuals and statistics; nothing else.

Each editor is a class in a file of this folder. All files are read, so that a new one is found by
being there; :func:`register` takes one that lives elsewhere.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from alphaedit_core.errors import InputError

from .base import Editor, Tuner, Work

_EDITORS: dict[str, type[Editor]] = {}

#: In the order in which they are listed; others follow by name.
_ORDER = (
    "alphaedit", "memit", "pmet", "emmet", "rome", "r-rome", "rect", "rect-rome", "prune", "ft",
    "ft-l",
)  # fmt: skip


def register(editor: type[Editor]) -> type[Editor]:
    """Make an editor known by its name, to the API, the command and the workbench.

    Raises:
        InputError: if another editor has the name, or a part of what it must say is missing.
    """
    for field in ("name", "about", "source"):
        if not isinstance(getattr(editor, field, None), str):
            raise InputError(f"editor {editor.__name__}: has no {field}; set it to a text")
    known = _EDITORS.get(editor.name)
    if known is not None and known is not editor:
        raise InputError(f'editor "{editor.name}" exists already; give the new one another name')
    _EDITORS[editor.name] = editor
    return editor


def editors() -> dict[str, type[Editor]]:
    """All editors by name."""
    places = {name: place for place, name in enumerate(_ORDER)}
    return dict(sorted(_EDITORS.items(), key=lambda item: (places.get(item[0], 99), item[0])))


def editor_class(name: str) -> type[Editor]:
    """An editor by its name.

    Raises:
        InputError: if there is none of that name.
    """
    if name not in _EDITORS:
        raise InputError(f'editor "{name}" does not exist; give one of {", ".join(editors())}')
    return _EDITORS[name]


def _find() -> None:
    for module in iter_modules(__path__):
        found = import_module(f"{__name__}.{module.name}")
        for value in vars(found).values():
            own = isinstance(value, type) and value.__module__ == found.__name__
            if own and issubclass(value, Editor) and "name" in vars(value):
                register(value)


_find()

__all__ = ["Editor", "Tuner", "Work", "editor_class", "editors", "register"]
