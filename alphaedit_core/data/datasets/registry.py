"""Registry of data sets, one class each in the modules of this package.

All modules are imported when a data set is first requested, so a new file registers itself;
:func:`register` adds a class from elsewhere.
"""

from __future__ import annotations

from alphaedit_core.registry import Registry

from .base import Dataset

_REGISTRY = Registry[Dataset](
    Dataset,
    "data set",
    __package__,
    "alphaedit.datasets",
    required_text=("name", "title", "about", "source", "license", "publisher", "layout"),
    order=(
        "counterfact", "zsre", "mquake-cf", "knowedit-wiki-counterfact", "knowedit-wiki-recent",
        "knowedit-zsre", "knowedit-wikibio", "longform",
    ),
)  # fmt: skip


def register(found: type[Dataset]) -> type[Dataset]:
    """Register a data set under its name.

    Raises:
        InputError: if the name is taken, or a required attribute is missing.
    """
    return _REGISTRY.register(found)


def datasets() -> dict[str, Dataset]:
    """Return all data sets by name, with default options."""
    return {name: found() for name, found in _REGISTRY.all().items()}


def dataset(name: str, /, **options: str) -> Dataset:
    """Return a data set by name.

    Args:
        name: its name.
        options: see :attr:`~.base.Dataset.options`, such as ``target="alt"``.

    Raises:
        InputError: if the name or an option is unknown.
    """
    return _REGISTRY.get(name)(**options)
