"""Which data sets there are. Each is a class in a file of this folder.

All files are read when a data set is first asked for, so that a new one is found by being there;
:func:`register` takes one that lives elsewhere.
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
    """Make a data set known by its name.

    Raises:
        InputError: if another has the name, or a part of what it must say is missing.
    """
    return _REGISTRY.register(found)


def datasets() -> dict[str, Dataset]:
    """All data sets by name, with their options at the default."""
    return {name: found() for name, found in _REGISTRY.all().items()}


def dataset(name: str, /, **options: str) -> Dataset:
    """A data set by its name.

    Args:
        name: its name.
        options: of :attr:`~.base.Dataset.options`, such as ``target="alt"``.

    Raises:
        InputError: if there is none of that name, or it has no such option.
    """
    return _REGISTRY.named(name)(**options)
