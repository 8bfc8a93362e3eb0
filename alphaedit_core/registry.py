"""Registries of plug-in classes: editors, metrics and data sets.

A class in a file of the kind's folder is discovered automatically.
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
    """Classes of one kind, by name.

    The package is scanned at first use. Every concrete subclass of ``kind`` that is defined in one
    of its modules with a ``name`` of its own is registered, followed by the classes that other
    distributions provide through entry points.

    Args:
        kind: base class.
        word: the kind's name in messages, such as "editor".
        package: name of the package to scan.
        entry_points: entry-point group of other distributions, such as ``alphaedit.editors``.
        required_text: string attributes that each class must have.
        order: names in listing order; others follow alphabetically.
        names: "one" or the like in the message ``give one of ...``.
    """

    def __init__(
        self,
        kind: type,  # type[T]; type checkers reject an abstract class there
        word: str,
        package: str,
        entry_points: str,
        required_text: Sequence[str],
        order: Sequence[str],
        names: str = "one",
    ) -> None:
        self._kind, self._word, self._package, self._names = kind, word, package, names
        self._entry_points, self._required_text = entry_points, required_text
        self._order = {name: index for index, name in enumerate(order)}
        self._classes: dict[str, type[T]] = {}
        self._is_scanned = False

    def register(self, cls: type[T]) -> type[T]:
        """Register a class defined elsewhere and return it; usable as a decorator.

        Raises:
            InputError: if the name is taken or a required attribute is missing.
        """
        for attribute in self._required_text:
            if not isinstance(getattr(cls, attribute, None), str):
                raise InputError(
                    f"{self._word} {cls.__name__}: has no {attribute}; set it to a string"
                )
        self._scan()
        name: str = cls.name  # type: ignore[attr-defined]  # checked above
        if self._classes.setdefault(name, cls) is not cls:
            raise InputError(f'{self._word} "{name}" exists already; choose another name')
        return cls

    def all(self) -> dict[str, type[T]]:
        """Return all classes by name, in listing order."""
        self._scan()
        last = len(self._order)
        names = sorted(self._classes, key=lambda name: (self._order.get(name, last), name))
        return {name: self._classes[name] for name in names}

    def get(self, name: str) -> type[T]:
        """Return the class of a name.

        Raises:
            InputError: if there is none.
        """
        self._scan()
        if name not in self._classes:
            known = ", ".join(self.all())
            raise InputError(f'{self._word} "{name}" does not exist; give {self._names} of {known}')
        return self._classes[name]

    def _scan(self) -> None:
        if self._is_scanned:
            return
        self._is_scanned = True  # set first, as register() scans, too
        try:
            for info in iter_modules(import_module(self._package).__path__):
                module = import_module(f"{self._package}.{info.name}")
                for value in vars(module).values():
                    if self._is_registrable(value, module.__name__):
                        self.register(value)
            for point in entry_points(group=self._entry_points):
                self.register(self._load(point))
        except BaseException:
            self._is_scanned = False
            raise

    def _load(self, point: EntryPoint) -> type[T]:
        """Load the class of an entry point; exceptions of its module propagate.

        Raises:
            InputError: if it is no subclass of the kind.
        """
        cls: type[T] = point.load()
        if not (isinstance(cls, type) and issubclass(cls, self._kind)):
            raise InputError(
                f'entry point "{point.name}" of {self._entry_points}: {point.value} is not a '
                f"{self._kind.__name__}; correct it, or remove the distribution that provides it"
            )
        return cls

    def _is_registrable(self, value: object, module: str) -> bool:
        return (
            isinstance(value, type)
            and value.__module__ == module
            and issubclass(value, self._kind)
            and "name" in vars(value)
            and not isabstract(value)
        )
