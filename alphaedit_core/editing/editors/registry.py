"""Editors: what to solve for, given keys, residuals and statistics; nothing else.

Each editor is a class in a file of this folder. All files are read, so that a new one is found by
being there; :func:`register` takes one that lives elsewhere.
"""

from __future__ import annotations

from typing import Any

from alphaedit_core.registry import Registry

from .base import Editor

_REGISTRY = Registry[Editor[Any]](
    Editor,
    "editor",
    __package__,
    "alphaedit.editors",
    required_text=("name", "about", "source"),
    order=(
        "alphaedit", "memit", "pmet", "emmet", "rome", "r-rome", "rect", "rect-by-layer",
        "rect-rome", "prune", "ft", "ft-l",
    ),
)  # fmt: skip


def register(editor: type[Editor[Any]]) -> type[Editor[Any]]:
    """Make an editor known by its name, to the API, the command and the workbench.

    Raises:
        InputError: if another editor has the name, or a part of what it must say is missing.
    """
    return _REGISTRY.register(editor)


def editors() -> dict[str, type[Editor[Any]]]:
    """All editors by name."""
    return _REGISTRY.all()


def editor_class(name: str) -> type[Editor[Any]]:
    """An editor by its name.

    Raises:
        InputError: if there is none of that name.
    """
    return _REGISTRY.named(name)
