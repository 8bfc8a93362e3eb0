"""Which data sets there are. Each is a class in a file of this folder.

All files are read when a data set is first asked for, so that a new one is found by being there;
:func:`register` takes one that lives elsewhere.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from alphaedit_core.errors import InputError

from .base import Dataset

_DATASETS: dict[str, type[Dataset]] = {}

#: In the order in which they are listed; others follow by name.
_ORDER = (
    "counterfact", "zsre", "mquake-cf", "knowedit-wiki-counterfact", "knowedit-wiki-recent",
    "knowedit-zsre", "knowedit-wikibio", "longform",
)  # fmt: skip

_SAID = ("name", "title", "about", "source", "licence", "publisher", "layout")


def register(found: type[Dataset]) -> type[Dataset]:
    """Make a data set known by its name.

    Raises:
        InputError: if another has the name, or a part of what it must say is missing.
    """
    for field in _SAID:
        if not isinstance(getattr(found, field, None), str):
            raise InputError(f"data set {found.__name__}: has no {field}; set it to a text")
    known = _DATASETS.get(found.name)
    if known is not None and known is not found:
        raise InputError(f'data set "{found.name}" exists already; give the new one another name')
    _DATASETS[found.name] = found
    return found


def datasets() -> dict[str, Dataset]:
    """All data sets by name, with their options at the default."""
    _find()
    places = {name: place for place, name in enumerate(_ORDER)}
    listed = sorted(_DATASETS, key=lambda name: (places.get(name, len(places)), name))
    return {name: _DATASETS[name]() for name in listed}


def dataset(name: str, /, **options: str) -> Dataset:
    """A data set by its name.

    Args:
        name: its name.
        options: of :attr:`~.base.Dataset.options`, such as ``target="alt"``.

    Raises:
        InputError: if there is none of that name, or it has no such option.
    """
    _find()
    if name not in _DATASETS:
        raise InputError(f'data set "{name}" does not exist; give one of {", ".join(datasets())}')
    return _DATASETS[name](**options)


@cache
def _find() -> None:
    folder = import_module(__package__).__path__
    for module in iter_modules(folder):
        found = import_module(f"{__package__}.{module.name}")
        for value in vars(found).values():
            own = isinstance(value, type) and value.__module__ == found.__name__
            if own and issubclass(value, Dataset) and "name" in vars(value):
                register(value)
