"""What a data set is: where it comes from, how its file is laid out, and how one record is read.

A data set never opens a file itself; :func:`~.reading.read_records` does, for all of them. So a new
one is one short file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError


class Dataset(ABC):
    """Reads the records of one published data set. One file, one class, and it appears everywhere.

    Attributes:
        name: what it is called in the API and the command.
        title: the same for people.
        about: one sentence on what it asks.
        source: the paper.
        license: SPDX identifier or words.
        address: of the published file; None where it is not known to be a lasting one.
        publisher: where a person finds the file.
        layout: fields of a record, and what becomes of each.
        options: what a reader may choose, each with its allowed values, the default first.
        easyedit: the choices that EasyEdit's numbers are of, where they are not the default.
        chosen: what was chosen here.
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
        """
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
        """What makes numbers by EasyEdit's definitions others than EasyEdit's; "" for nothing."""
        other = [f"{n}={v}" for n, v in self.easyedit.items() if self.chosen[n] != v]
        if compat != "easyedit" or not other:
            return ""
        return (
            f"{self.name}: read with {', '.join(f'{n}={self.chosen[n]}' for n in self.easyedit)}; "
            f"EasyEdit's numbers are of {', '.join(other)}"
        )

    @abstractmethod
    def record(self, raw: Mapping[str, Any], name: str) -> Record:
        """One record of the file.

        Args:
            raw: as JSON gives it.
            name: what messages call it.

        Raises:
            InputError: if it is not laid out as it should be, or its facts cannot be edited. The
                message does not name the record.
        """
