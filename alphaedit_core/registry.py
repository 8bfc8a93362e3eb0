"""Kinds of things that are one class each, found by being a file in a folder.

Editors, metrics and data sets are all kept so: whoever adds one writes one file, and it appears
everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from pkgutil import iter_modules
from typing import Generic, TypeVar

from .errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one kind, by name.

    All files of the package are read when something is first asked for. Of each the classes are
    taken that are written there, are of the kind, have a ``name`` of their own and lack nothing.
    Then come those that other distributions name under an entry point.

    Args:
        kind: what each class is a subclass of.
        word: what people call one of them, in messages.
        package: name of the package whose files are read.
        entry_points: group of the entry points of other distributions, such as
            ``alphaedit.editors``.
        required_text: attributes that each must have, texts.
        order: names in the order in which they are listed; others follow by name.
        names: how many of the names a message asks for.
    """

    def __init__(
        self,
        kind: type,  # of T; type checkers take no abstract class for type[T]
        word: str,
        package: str,
        entry_points: str,
        required_text: Sequence[str],
        order: Sequence[str],
        names: str = "one",
    ) -> None:
        self._kind, self._word, self._package, self._names = kind, word, package, names
        self._entry_points, self._required_text = entry_points, required_text
        self._places = {name: place for place, name in enumerate(order)}
        self._known: dict[str, type[T]] = {}
        self._is_read = False

    def register(self, found: type[T]) -> type[T]:
        """Make a class known that lives elsewhere; returns it, so that this can decorate one.

        Raises:
            InputError: if another has the name, or a text that it must have is missing.
        """
        for attribute in self._required_text:
            if not isinstance(getattr(found, attribute, None), str):
                raise InputError(
                    f"{self._word} {found.__name__}: has no {attribute}; set it to a text"
                )
        self._read()
        name: str = found.name  # type: ignore[attr-defined]
        if self._known.setdefault(name, found) is not found:
            raise InputError(f'{self._word} "{name}" exists already; give the new one another name')
        return found

    def all(self) -> dict[str, type[T]]:
        """All of them by name, in their order."""
        self._read()
        last = len(self._places)
        listed = sorted(self._known, key=lambda name: (self._places.get(name, last), name))
        return {name: self._known[name] for name in listed}

    def named(self, name: str) -> type[T]:
        """The one of that name.

        Raises:
            InputError: if there is none.
        """
        self._read()
        if name not in self._known:
            known = ", ".join(self.all())
            raise InputError(f'{self._word} "{name}" does not exist; give {self._names} of {known}')
        return self._known[name]

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True  # already now: what is found is registered, which reads first
        try:
            for module in iter_modules(import_module(self._package).__path__):
                found = import_module(f"{self._package}.{module.name}")
                for value in vars(found).values():
                    if self._is_meant(value, found.__name__):
                        self.register(value)
            for point in entry_points(group=self._entry_points):
                self.register(self._loaded(point))
        except BaseException:
            self._is_read = False
            raise

    def _loaded(self, point: EntryPoint) -> type[T]:
        """The class that another distribution names.

        Raises:
            InputError: if it is none of the kind; an exception of its module is passed on.
        """
        found: type[T] = point.load()
        if not (isinstance(found, type) and issubclass(found, self._kind)):
            raise InputError(
                f'entry point "{point.name}" of {self._entry_points}: {point.value} is no '
                f"{self._kind.__name__}; correct it, or remove the distribution that has it"
            )
        return found

    def _is_meant(self, value: object, module: str) -> bool:
        return (
            isinstance(value, type)
            and value.__module__ == module
            and issubclass(value, self._kind)
            and "name" in vars(value)
            and not isabstract(value)
        )
