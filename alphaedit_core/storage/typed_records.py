"""Reading of JSON records as typed dataclasses, with validation of every field.

A file with valid checksums can still come from another program or version, or be edited by hand.
The types of the dataclass define the valid values, and an error names the position in the record.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from alphaedit_core.errors import InputError
from alphaedit_core.messages import kind, shown

T = TypeVar("T")

_TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}
#: Integers beyond 64 bits are invalid for torch and as file offsets.
_INT64_LIMIT = 1 << 63


def read_record(of: type[T], record: object, place: str = "", others: bool = False) -> T:
    """Return a dataclass from its JSON record.

    Args:
        of: the dataclass. Its fields may be bool, int, float, str, None, dataclasses, literals, and
            lists, tuples, mappings by strings or unions of these. A field ``Annotated`` with a
            function is read from a mapping by that function.
        record: the parsed JSON.
        place: position of the record for messages; "" for the top level.
        others: True to ignore unknown fields.

    Raises:
        InputError: if a field is unknown, missing or of another type; names its position.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{place or 'what it holds'} is {kind(record)}, not an object")
    fields = {field.name: field for field in dataclasses.fields(of)}  # type: ignore[arg-type]
    for name in record:
        if name not in fields and not others:
            raise InputError(f"{_below(place, name)} is not known")
    hints = typing.get_type_hints(of, include_extras=True)
    values = {}
    for name, field in fields.items():
        if name in record:
            values[name] = _value(hints[name], record[name], _below(place, name))
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{_below(place, name)} is missing")
    try:
        return of(**values)
    except InputError as error:
        raise InputError(f"{place}: {error}" if place else str(error)) from None


def read_list(of: type[T], record: object, place: str) -> list[T]:
    """Return a list of dataclasses from its JSON record.

    Raises:
        InputError: as :func:`read_record`.
    """
    records: list[T] = _value(list[of], record, place)  # type: ignore[valid-type]
    return records


def _value(hint: Any, value: object, place: str) -> Any:
    if hint is Any:
        return value
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _made(inner[1], value, place)
    if origin is typing.Literal:
        if value not in inner:
            raise InputError(f"{place} {shown(value)} is not one of {', '.join(map(str, inner))}")
        return value
    if origin in (types.UnionType, typing.Union):
        return _one_of(inner, value, place)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise InputError(f"{place} is {kind(value)}, not an object")
        return {name: _value(inner[1], one, _below(place, name)) for name, one in value.items()}
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise InputError(f"{place} is {kind(value)}, not a list")
        items = [_value(inner[0], one, f"{place}[{n}]") for n, one in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if hasattr(hint, "stored") or hasattr(hint, "from_dict"):
        return _made(hint.stored if hasattr(hint, "stored") else hint.from_dict, value, place)
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type, hint), value, place)
    return _single(hint, value, place)


def _made(read: Callable[[Mapping[str, Any]], Any], value: object, place: str) -> Any:
    """Return the result of a custom reader of mappings."""
    if not isinstance(value, Mapping):
        raise InputError(f"{place} is {kind(value)}, not an object")
    try:
        return read(value)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _one_of(hints: Sequence[Any], value: object, place: str) -> Any:
    """Return a value of the first matching type of a union."""
    if value is None and type(None) in hints:
        return None
    members = [hint for hint in hints if hint is not type(None)]
    for hint in members[:-1]:
        try:
            return _value(hint, value, place)
        except InputError:
            pass
    return _value(members[-1], value, place)


def _single(hint: Any, value: object, place: str) -> Any:
    plain = hint is bool or not isinstance(value, bool)
    if plain and isinstance(value, int if hint is float else hint):
        if not isinstance(value, int) or -_INT64_LIMIT <= value < _INT64_LIMIT:
            return hint(value) if hint is float else value
        raise InputError(f"{place} has {len(str(value))} digits, which is out of range")
    if plain and hint is float and isinstance(value, float):
        return value
    raise InputError(f"{place} {shown(value)} is not {_TYPE_NAMES[hint]}")


def _below(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
