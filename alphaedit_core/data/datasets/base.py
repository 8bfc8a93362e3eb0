"""Base class of data sets: source, layout of the file, and how to read one record.

Data sets never open files; :func:`~.reading.read_records` does. So a new data set is one short
file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError


class Dataset(ABC):
    """A published data set, which reads its records. One class in one file registers it.

    Attributes:
        name: its name in the API and on the command line.
        title: its name for display.
        about: one sentence about its content.
        source: the paper.
        license: SPDX identifier, or a description.
        address: URL of the published file; None if no permanent one is known.
        publisher: where to find the file by hand.
        layout: fields of a record, and how each is used.
        options: allowed values of each option, the default first.
        easyedit: options of EasyEdit's numbers that differ from the default.
        chosen: the options of this instance.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    license: ClassVar[str]
    address: ClassVar[str | None] = None
    publisher: ClassVar[str]
    layout: ClassVar[str]
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    easyedit: ClassVar[Mapping[str, str]] = {}

    chosen: Mapping[str, str]

    def __init__(self, /, **options: str) -> None:
        """Choose how the data set is read; an option not given keeps its default.

        Raises:
            InputError: if an option is not one of this data set's, or has no such value.
        """
        for name, value in options.items():
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise InputError(f'{self.name} has no option "{name}"; its options: {known}')
            if value not in self.options[name]:
                raise InputError(
                    f'{self.name}: {name} "{value}" is not known; give one of '
                    f"{', '.join(self.options[name])}"
                )
        self.chosen = {name: values[0] for name, values in self.options.items()} | options

    def mismatch(self, compat: str) -> str:
        """Return why EasyEdit's metrics would differ from EasyEdit's numbers, or ""."""
        other = [f"{n}={v}" for n, v in self.easyedit.items() if self.chosen[n] != v]
        if compat != "easyedit" or not other:
            return ""
        return (
            f"{self.name}: read with {', '.join(f'{n}={self.chosen[n]}' for n in self.easyedit)}; "
            f"EasyEdit's numbers are of {', '.join(other)}"
        )

    @abstractmethod
    def record(self, raw: Mapping[str, Any], name: str) -> Record:
        """Return one record of the file.

        Args:
            raw: the record as JSON data.
            name: its name in messages.

        Raises:
            InputError: if its layout is wrong, or its facts cannot be edited. The message does not
                name the record.
        """
