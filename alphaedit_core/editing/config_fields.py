"""Types of configuration fields, with their validators.

pydantic validates the fields. Every invalid value raises an
:class:`~alphaedit_core.errors.InputError` that names the field, the value and the remedy. Values
may be Python objects, or strings as the command line and YAML give them.
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

#: Limits of positive numbers that are used in float32, where their squares must be finite too.
FLOAT32_MIN, FLOAT32_MAX = 1e-18, 1e18
#: Largest block index, far above that of any model.
_MAX_LAYER = 10_000
_SWITCH = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,)
)
def config(cls: type[T]) -> type[T]:
    """Make a class a frozen, keyword-only dataclass that validates its fields.

    The string under a field is its description; see :func:`descriptions`.
    """
    validated: Any = pydantic.dataclasses.dataclass(
        frozen=True,
        kw_only=True,
        config=pydantic.ConfigDict(
            extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True
        ),
    )(cls)
    original_init = validated.__init__

    @functools.wraps(original_init)
    def init(self: Any, /, *args: Any, **fields: Any) -> None:
        try:
            original_init(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise _input_error(validated, error) from None

    validated.__init__ = init
    return cast("type[T]", validated)


def descriptions(cls: type) -> dict[str, tuple[Any, str]]:
    """Return default (None if required) and description of every field of a configuration."""
    fields: Mapping[str, Any] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    texts: dict[str, str] = {}
    for base in cls.__mro__:  # pydantic keeps the descriptions of a class's own fields only
        for name, field in vars(base).get("__pydantic_fields__", {}).items():
            if field.description:
                texts.setdefault(name, " ".join(field.description.split()))
    return {
        name: (
            None if field.is_required() else field.get_default(call_default_factory=True),
            texts.get(name, ""),
        )
        for name, field in fields.items()
    }


def unknown_field(name: object, known: Mapping[str, Any] | list[str]) -> InputError:
    """Return the error for an unknown field, with the closest known name."""
    close = get_close_matches(str(name), list(known), n=1)
    suggestion = f'did you mean "{close[0]}"? ' if close else ""
    return InputError(f'field "{name}" does not exist; {suggestion}give one of {", ".join(known)}')


def format_value(value: Any) -> str:
    """Return a field's value as written on the command line."""
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(map(format_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_layers(text: str) -> tuple[int, ...]:
    """Return the indices of a list of layers such as ``"5-9"``, ``"5,7,9"`` or ``"5"``.

    Raises:
        InputError: if the text has another form.
    """
    layers: list[int] = []
    try:
        for part in text.split(","):
            begin, dash, end = (piece.strip() for piece in part.partition("-"))
            if not begin.isdecimal() or (dash and not end.isdecimal()):
                raise ValueError
            first, last = int(begin), int(end or begin)
            if max(first, last) > _MAX_LAYER:  # before the range is expanded
                raise InputError(
                    f'layers: "{text}" is beyond the blocks of any model; give for example 5-9'
                )
            layers += range(first, last + 1)
    except ValueError:
        raise InputError(f'layers: "{text}" cannot be parsed; give 5-9 or 5,7,9') from None
    return tuple(layers)


def _input_error(cls: type, error: pydantic.ValidationError) -> InputError:
    """Return the first of pydantic's own errors as an InputError."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        remedy = "give for example 5-9" if name == "layers" else "add it"
        return InputError(f'field "{name}" is missing; {remedy}')
    if first["type"] == "unexpected_keyword_argument":
        return unknown_field(name, list(cls.__pydantic_fields__))  # type: ignore[attr-defined]
    return InputError(f"{name}: {first['input']!r}: {first['msg']}")


# -- parsing values --------------------------------------------------------------------------------


def _number(kind: type[int] | type[float], description: str, optional: bool = False) -> Any:
    def read(value: Any, info: ValidationInfo) -> Any:
        if optional and (value is None or value == "none"):
            return None
        if not isinstance(value, bool):
            value = value if (whole := as_integer(value)) is None else whole
            # int first: a large seed would lose digits as a float.
            for parse in (int, float) if isinstance(value, str | int) else (float,):
                try:
                    number = parse(value)
                    if kind is float or number == int(number):
                        return kind(number)
                except (TypeError, ValueError, OverflowError):
                    pass
        raise InputError(f"{info.field_name}: {value!r} is not {description}; give one")

    return BeforeValidator(read)


def _text(value: Any, info: ValidationInfo) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"{info.field_name}: {value!r} is not a string; give one")


def _switch(value: Any, info: ValidationInfo) -> bool:
    switch = value if isinstance(value, bool) else _SWITCH.get(str(value).lower())
    if switch is None:
        raise InputError(f"{info.field_name}: {value!r} is not a boolean; give true or false")
    return switch


def _layers(value: Any, info: ValidationInfo) -> tuple[int, ...]:
    if isinstance(value, str):
        value = parse_layers(value)
    if not isinstance(value, list | tuple | range):
        raise InputError(f"layers: {value!r} is not a list of block indices; give 5-9")
    indices = [as_integer(item) for item in value]
    if None in indices:
        raise InputError(f"layers: {value!r} is not a list of block indices; give 5-9")
    layers = tuple(index for index in indices if index is not None)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0:
        raise InputError(
            f"layers: {list(layers)} are not ascending block indices; give for example 5-9"
        )
    return layers


def _each(read: Callable[[Any, ValidationInfo], Any]) -> Any:
    """Return a validator of one value per layer, as a list or a comma-separated string."""

    def read_all(value: Any, info: ValidationInfo) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [] if value in ("", "none") else [part.strip() for part in value.split(",")]
        if not isinstance(value, list | tuple):
            raise InputError(
                f"{info.field_name}: {value!r} is not a list; give one value per layer"
            )
        return tuple(read(item, info) for item in value)

    return BeforeValidator(read_all)


def _threshold(value: Any, info: ValidationInfo) -> Threshold:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Threshold):
        raise InputError(f"{info.field_name}: {value!r} is not a threshold; give for example 0.02")
    return Threshold.parse(value)


# -- allowed ranges --------------------------------------------------------------------------------


def _positive(value: float, info: ValidationInfo) -> float:
    if not 0 < value < math.inf:
        raise InputError(
            f"{info.field_name}: {value} is not positive and finite; give a number > 0"
        )
    return value


def _not_negative(value: float, info: ValidationInfo) -> float:
    if not 0 <= value < math.inf:
        raise InputError(
            f"{info.field_name}: {value} is negative or not finite; give a number >= 0"
        )
    return value


def _in_float32(value: float, info: ValidationInfo) -> float:
    if not FLOAT32_MIN <= value <= FLOAT32_MAX:
        raise InputError(
            f"{info.field_name}: {value:g} is too small or too large for float32; give a number "
            f"from {FLOAT32_MIN:g} to {FLOAT32_MAX:g}"
        )
    return value


def _finite(value: float, info: ValidationInfo) -> float:
    if value > FLOAT32_MAX:
        raise InputError(
            f"{info.field_name}: {value:g} is too large for float32; give at most {FLOAT32_MAX:g}"
        )
    return value


def _at_most(maximum: int) -> Any:
    """Return a validator against values that would take excessive time or memory."""

    def check(value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and value > maximum:
            raise InputError(
                f"{info.field_name}: {value:.3g} is too large; give at most {maximum:,}"
            )
        return value

    return AfterValidator(check)


def _share(value: float, info: ValidationInfo) -> float:
    if value > 1:
        raise InputError(f"{info.field_name}: {value} is above 1; give a fraction of at most 1")
    return value


def _decay(value: float, info: ValidationInfo) -> float:
    if not 0 < value <= 1:
        raise InputError(
            f"{info.field_name}: {value} is not in (0, 1]; give 1 to keep all earlier keys, or "
            "turn previous_keys off"
        )
    return value


def _tokens(value: int | None, info: ValidationInfo) -> int | None:
    if value is not None and value < 1:
        raise InputError(f"tokens: {value} is not positive; give a number > 0, or none")
    return value


def _seed(value: int, info: ValidationInfo) -> int:
    if not 0 <= value < 1 << 63:
        raise InputError(f"seed: {value} is out of range; give 0 to 2**63 - 1")
    return value


def _contexts(value: int, info: ValidationInfo) -> int:
    if value > 5:
        raise InputError(f"contexts: {value} is too many; give 0 to 5")
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
