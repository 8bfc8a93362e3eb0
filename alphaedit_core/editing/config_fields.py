"""Types of the fields of a configuration: what each may hold, and the line that refuses the rest.

pydantic checks the fields; every refusal is an :class:`~alphaedit_core.errors.InputError` that
names the field, the value and the remedy. A value may come as Python has it or as text, as the
command line and YAML give it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from alphaedit_core.errors import InputError
from alphaedit_core.integers import as_integer
from alphaedit_core.nullspace.thresholds import Threshold

T = TypeVar("T")

#: What is neither 0 nor infinite in float32, in which numbers are used, with room for squares.
LEAST, MOST = 1e-18, 1e18
#: No model comes near it.
_MOST_LAYER = 10_000
_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def config(cls: type[T]) -> type[T]:
    """A frozen dataclass whose fields are checked when it is made, given by keyword only.

    The text under a field is its description; see :func:`descriptions`.
    """
    made: Any = pydantic.dataclasses.dataclass(
        frozen=True,
        kw_only=True,
        config=pydantic.ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
        ),
    )(cls)
    checked = made.__init__

    @functools.wraps(checked)
    def init(self: Any, /, *args: Any, **fields: Any) -> None:
        try:
            checked(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise _refusal(made, error) from None

    made.__init__ = init
    return cast("type[T]", made)


def descriptions(cls: type) -> dict[str, tuple[Any, str]]:
    """Default and description of every field of a configuration, in order."""
    fields: Mapping[str, Any] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    told: dict[str, str] = {}
    for base in cls.__mro__:  # pydantic knows only the texts of the class that has the field
        for name, field in vars(base).get("__pydantic_fields__", {}).items():
            if field.description:
                told.setdefault(name, " ".join(field.description.split()))
    return {
        name: (
            None if field.is_required() else field.get_default(call_default_factory=True),
            told.get(name, ""),
        )
        for name, field in fields.items()
    }


def unknown_field(name: object, known: Mapping[str, Any] | list[str]) -> InputError:
    """The refusal of a field that does not exist, with the one that may be meant."""
    near = get_close_matches(str(name), list(known), n=1)
    meant = f'did you mean "{near[0]}"? ' if near else ""
    return InputError(f'field "{name}" does not exist; {meant}give one of {", ".join(known)}')


def format_value(value: Any) -> str:
    """A field's value as it is written on the command line."""
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(map(format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_layers(text: str) -> tuple[int, ...]:
    """``"5-9"``, ``"5,7,9"`` or ``"5"`` as indices.

    Raises:
        InputError: if it is none of these.
    """
    layers: list[int] = []
    try:
        for part in text.split(","):
            begin, dash, end = (piece.strip() for piece in part.partition("-"))
            if not begin.isdecimal() or (dash and not end.isdecimal()):
                raise ValueError
            first, last = int(begin), int(end or begin)
            if max(first, last) > _MOST_LAYER:  # before a list is made of them
                raise InputError(
                    f'layers "{text}" are more blocks than a model has; give indices such as 5-9'
                )
            layers += range(first, last + 1)
    except ValueError:
        raise InputError(f'layers "{text}" are not understood; give 5-9 or 5,7,9') from None
    return tuple(layers)


def _refusal(cls: type, error: pydantic.ValidationError) -> InputError:
    """The first of pydantic's complaints that none of our own lines has made already."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        remedy = "give for example 5-9" if name == "layers" else "add it"
        return InputError(f'field "{name}" is missing; {remedy}')
    if first["type"] == "unexpected_keyword_argument":
        return unknown_field(name, list(cls.__pydantic_fields__))  # type: ignore[attr-defined]
    return InputError(f"field {name}: {first['input']!r}: {first['msg']}")


# -- how values are read ---------------------------------------------------------------------------


def _number(kind: type[int] | type[float], words: str, optional: bool = False) -> Any:
    def read(value: Any, info: ValidationInfo) -> Any:
        if optional and (value is None or value == "none"):
            return None
        if not isinstance(value, bool):
            value = value if (whole := as_integer(value)) is None else whole
            # A large seed would lose digits as a float.
            for parse in (int, float) if isinstance(value, str | int) else (float,):
                try:
                    number = parse(value)
                    if kind is float or number == int(number):
                        return kind(number)
                except (TypeError, ValueError, OverflowError):
                    pass
        raise InputError(f"field {info.field_name}: {value!r} is not {words}; give one")

    return BeforeValidator(read)


def _text(value: Any, info: ValidationInfo) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"field {info.field_name}: {value!r} is not a text; give one")


def _switch(value: Any, info: ValidationInfo) -> bool:
    known = value if isinstance(value, bool) else _SWITCH.get(str(value).lower())
    if known is None:
        raise InputError(f"field {info.field_name}: {value!r} is neither true nor false; give one")
    return known


def _layers(value: Any, info: ValidationInfo) -> tuple[int, ...]:
    if isinstance(value, str):
        value = parse_layers(value)
    if not isinstance(value, list | tuple | range):
        raise InputError(f"field layers: {value!r} is not a list of block indices; give 5-9")
    indices = [as_integer(item) for item in value]
    if None in indices:
        raise InputError(f"field layers: {value!r} is not a list of block indices; give 5-9")
    layers = tuple(index for index in indices if index is not None)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0:
        raise InputError(
            f"layers {list(layers)} are not ascending block indices; give for example 5-9"
        )
    return layers


def _each(read: Callable[[Any, ValidationInfo], Any]) -> Any:
    """One value for each layer: a list, or text with commas."""

    def read_all(value: Any, info: ValidationInfo) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [] if value in ("", "none") else [part.strip() for part in value.split(",")]
        if not isinstance(value, list | tuple):
            raise InputError(
                f"field {info.field_name}: {value!r} is not a list; give one value per layer"
            )
        return tuple(read(item, info) for item in value)

    return BeforeValidator(read_all)


def _threshold(value: Any, info: ValidationInfo) -> Threshold:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Threshold):
        raise InputError(f"field {info.field_name}: {value!r} is not a text; give one")
    return Threshold.parse(value)


# -- what values may be ----------------------------------------------------------------------------


def _positive(value: float, info: ValidationInfo) -> float:
    if not 0 < value < math.inf:
        raise InputError(f"{info.field_name} {value} is not positive; give more than 0")
    return value


def _not_negative(value: float, info: ValidationInfo) -> float:
    if not 0 <= value < math.inf:
        raise InputError(f"{info.field_name} {value} is negative; give 0 or more")
    return value


def _in_float32(value: float, info: ValidationInfo) -> float:
    if not LEAST <= value <= MOST:
        raise InputError(
            f"{info.field_name} {value:g} is 0 or infinite in float32, in which it is used; give "
            f"{LEAST:g} to {MOST:g}"
        )
    return value


def _finite(value: float, info: ValidationInfo) -> float:
    if value > MOST:
        raise InputError(
            f"{info.field_name} {value:g} is infinite in float32, in which it is used; give at "
            f"most {MOST:g}"
        )
    return value


def _at_most(most: int) -> Any:
    """What takes longer than anybody waits, or more memory than there is, is refused."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > most:
            raise InputError(
                f"{info.field_name} {value:.3g} is more than can be done; give at most {most:,}"
            )
        return value

    return AfterValidator(check)


def _share(value: float, info: ValidationInfo) -> float:
    if value > 1:
        raise InputError(f"{info.field_name} {value} is more than all; give at most 1")
    return value


def _decay(value: float, info: ValidationInfo) -> float:
    if not 0 < value <= 1:
        raise InputError(
            f"{info.field_name} {value} is not above 0 and at most 1; give 1 for earlier keys to "
            "stay, or turn previous_keys off"
        )
    return value


def _tokens(value: int | None, info: ValidationInfo) -> int | None:
    if value is not None and value < 1:
        raise InputError(f"tokens {value} is not positive; give more than 0, or none")
    return value


def _seed(value: int, info: ValidationInfo) -> int:
    if not 0 <= value < 1 << 63:
        raise InputError(f"seed {value} cannot be used; give 0 to 2**63 - 1")
    return value


def _contexts(value: int, info: ValidationInfo) -> int:
    if value > 5:
        raise InputError(f"contexts {value} is more than there are; give 0 to 5")
    return value


_WHOLE, _REAL = _number(int, "a whole number"), _number(float, "a number")

Layers = Annotated[tuple[int, ...], BeforeValidator(_layers)]
Text = Annotated[str, BeforeValidator(_text)]
Switch = Annotated[bool, BeforeValidator(_switch)]
Steps = Annotated[int, _WHOLE, AfterValidator(_positive), _at_most(100_000)]
Length = Annotated[int, _WHOLE, AfterValidator(_positive), _at_most(10_000)]
Contexts = Annotated[int, _WHOLE, AfterValidator(_not_negative), AfterValidator(_contexts)]
Seed = Annotated[int, _WHOLE, AfterValidator(_seed)]
Tokens = Annotated[
    int | None,
    _number(int, "a whole number", optional=True),
    AfterValidator(_tokens),
    _at_most(10**12),
]
Positive = Annotated[float, _REAL, AfterValidator(_positive), AfterValidator(_in_float32)]
NonNegative = Annotated[float, _REAL, AfterValidator(_not_negative), AfterValidator(_finite)]
Share = Annotated[
    float, _REAL, AfterValidator(_positive), AfterValidator(_in_float32), AfterValidator(_share)
]
Decay = Annotated[float, _REAL, AfterValidator(_decay)]
ThresholdField = Annotated[Threshold, BeforeValidator(_threshold)]
LayerThresholds = Annotated[tuple[Threshold, ...], _each(_threshold)]


def _factor(value: Any, info: ValidationInfo) -> float:
    number: float = _REAL.func(value, info)
    return number


LayerFactors = Annotated[tuple[float, ...], _each(_factor)]
