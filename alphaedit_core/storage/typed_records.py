"""Records of files, read as the dataclasses that wrote them: each field has to be of its own type.

A file may be whole by its checksums and still not be what this library wrote: made by somebody
else, by another version, or by hand. What a field may hold is what its dataclass says, so nothing
is said twice, and what is wrong is named by its place in the record.
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

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "null",
}
#: Torch's whole numbers end there, and so do places in a file.
_LARGEST = 1 << 63


def read_record(of: type[T], record: object, place: str = "", others: bool = False) -> T:
    """A dataclass from what JSON holds of it.

    Args:
        of: the dataclass. A field may be true or false, a number, a text, null, another dataclass,
            a list, tuple or mapping by texts of these, or one of several; ``Annotated`` with a
            function, it is what that makes of the mapping there.
        record: what the file says.
        place: where it stands, for messages; "" for the whole.
        others: whether fields that the dataclass does not have are passed over.

    Raises:
        InputError: naming the place, and what stands there instead of what.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{place or 'what it holds'} is {kind(record)}, not an object")
    own = {field.name: field for field in dataclasses.fields(of)}  # type: ignore[arg-type]
    for name in record:
        if name not in own and not others:
            raise InputError(f"{_below(place, name)} is not known")
    hints = typing.get_type_hints(of, include_extras=True)
    values = {}
    for name, field in own.items():
        if name in record:
            values[name] = _value(hints[name], record[name], _below(place, name))
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{_below(place, name)} is missing")
    try:
        return of(**values)
    except InputError as error:
        raise InputError(f"{place}: {error}" if place else str(error)) from None


def read_list(of: type[T], record: object, place: str) -> list[T]:
    """A list of such dataclasses.

    Raises:
        InputError: as :func:`read_record`.
    """
    found: list[T] = _value(list[of], record, place)  # type: ignore[valid-type]
    return found


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
        found = [_value(inner[0], one, f"{place}[{n}]") for n, one in enumerate(value)]
        return tuple(found) if origin is tuple else found
    if hasattr(hint, "stored") or hasattr(hint, "from_dict"):
        return _made(hint.stored if hasattr(hint, "stored") else hint.from_dict, value, place)
    if dataclasses.is_dataclass(hint):
        return read_record(typing.cast(type, hint), value, place)
    return _single(hint, value, place)


def _made(read: Callable[[Mapping[str, Any]], Any], value: object, place: str) -> Any:
    """What a reader of its own makes of a value."""
    if not isinstance(value, Mapping):
        raise InputError(f"{place} is {kind(value)}, not an object")
    try:
        return read(value)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None


def _one_of(hints: Sequence[Any], value: object, place: str) -> Any:
    """A value of one of several types, null being one of them."""
    if value is None and type(None) in hints:
        return None
    known = [hint for hint in hints if hint is not type(None)]
    for hint in known[:-1]:
        try:
            return _value(hint, value, place)
        except InputError:
            pass
    return _value(known[-1], value, place)


def _single(hint: Any, value: object, place: str) -> Any:
    plain = hint is bool or not isinstance(value, bool)
    if plain and isinstance(value, int if hint is float else hint):
        if not isinstance(value, int) or -_LARGEST <= value < _LARGEST:
            return hint(value) if hint is float else value
        raise InputError(f"{place} has {len(str(value))} digits, more than any number of ours")
    if plain and hint is float and isinstance(value, float):
        return value
    raise InputError(f"{place} {shown(value)} is not {_WORDS[hint]}")


def _below(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
