"""Registry of the editors.

Every editor class in a file of this folder is registered. Use :func:`register` for a class defined
elsewhere.
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
    """Register an editor class with the API, the command and the workbench, and return it.

    Raises:
        InputError: if the name is taken, or ``name``, ``about`` or ``source`` is missing.
    """
    return _REGISTRY.register(editor)


def editors() -> dict[str, type[Editor[Any]]]:
    """Return all editor classes by name."""
    return _REGISTRY.all()


def editor_class(name: str) -> type[Editor[Any]]:
    """Return an editor class by name.

    Raises:
        InputError: if no editor has that name.
    """
    return _REGISTRY.get(name)
