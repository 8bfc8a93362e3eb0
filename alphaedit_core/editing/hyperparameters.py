"""Every number that an edit depends on, in one place, with the published presets.

The paper prints "lambda = 20,000" (GPT-2 XL) and "15,000" (GPT-J, Llama-3) in its set-up. In the
released files that number is ``mom2_update_weight``, MEMIT's weight on C, which AlphaEdit never
reads; AlphaEdit's own ridge is ``L2`` = 10. Both are here: ``covariance_weight`` and ``ridge``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError
from alphaedit_core.integers import as_integer


@dataclass(frozen=True)
class HyperParameters:
    """What an edit depends on besides model and facts."""

    layers: tuple[int, ...]
    """Edited blocks, first to last; the target value is searched at the last one's output."""
    steps: int = 25
    """Evaluations of the loss per fact at most; there is one Adam step fewer."""
    learning_rate: float = 0.5
    """Adam's step for the target value (``v_lr``)."""
    loss_stop: float = 0.05
    """A fact whose loss is under this has converged and leaves the batch."""
    clamp_factor: float = 0.75
    """Longest the change of a hidden state may be, as a multiple of that state's norm."""
    weight_decay: float = 0.5
    """Weight of ``|delta| / |h|^2`` in the loss (``v_weight_decay``)."""
    kl_factor: float = 0.0625
    """Weight of the KL term that holds what ``{subject} is a`` says."""
    editor: str = "alphaedit"
    """What solves for the change of a weight."""
    projection: bool = True
    """Whether the change stays inside the null space."""
    previous_keys: bool = True
    """Whether the facts written before are spared (the term K_p K_p^T)."""
    previous_keys_decay: float = 1.0
    """What the weight of a batch's keys in K_p K_p^T is multiplied by with every further batch,
    however large, so that early facts are spared less; 1 for all alike."""
    ridge: float = 10.0
    """lambda in ``(lambda I + ...)``; ``L2`` in the released code, 1 in the paper's Eq. 14."""
    threshold: str = "0.02"
    """Where the kept space ends: ``0.02``, ``energy:0.1`` or ``rank:1000``."""
    layer_thresholds: tuple[str, ...] = ()
    """A threshold for each edited layer, first to last; none for ``threshold`` at all of them."""
    layer_lambda_factors: tuple[float, ...] = ()
    """What lambda (``ridge`` and ``covariance_weight``) is multiplied by at each edited layer,
    first to last; none for 1."""
    covariance_weight: float = 15_000.0
    """MEMIT's weight on C (``mom2_update_weight``), also PMET's, EMMET's, RECT's and PRUNE's;
    AlphaEdit does not read it."""
    emmet_weight: float = 0.1
    """EMMET's mu, in units of the weight on C; with 1 it is MEMIT."""
    kept_share: float = 0.4
    """RECT: share of a matrix's entries that change."""
    step_size: float = 5e-4
    """FT and FT-L: Adam's step for the weight."""
    norm_constraint: float = 5e-4
    """FT-L: furthest that an entry of the weight may move."""
    contexts: int = 5
    """Number of texts of the model's own that stand before the prompt, 0 to 5."""
    context_tokens: int = 10
    """Length of each, in tokens."""
    text: str = "wikipedia-sample"
    """Running text for the statistics."""
    tokens: int | None = None
    """Token budget for the statistics; none for the rule of ``default_tokens``."""
    seed: int = 0
    """Seed of everything sampled."""
    origin: str = "given by hand"
    """Where these numbers come from, for people."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, by name.

        Raises:
            InputError: if a value is of another kind or out of range.
        """
        from alphaedit_core.nullspace.thresholds import Threshold

        for field in dataclasses.fields(self):
            value = typed(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)

        positive = (
            "steps", "learning_rate", "clamp_factor", "ridge", "context_tokens", "kept_share",
            "step_size", "norm_constraint", "covariance_weight", "emmet_weight",
        )  # fmt: skip
        for name in positive:
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)} is not positive; give more than 0")
        for name in _REAL:
            if not (_LEAST <= getattr(self, name) <= _MOST):
                raise InputError(
                    f"{name} {getattr(self, name):g} is 0 or infinite in float32, in which it is "
                    f"used; give {_LEAST:g} to {_MOST:g}"
                )
        for name in ("loss_stop", "weight_decay", "kl_factor"):
            if getattr(self, name) > _MOST:
                raise InputError(
                    f"{name} {getattr(self, name):g} is infinite in float32, in which it is used; "
                    f"give at most {_MOST:g}"
                )
        for name, most in _MOST_WHOLE.items():
            if (getattr(self, name) or 0) > most:
                raise InputError(
                    f"{name} {getattr(self, name):.3g} is more than can be done; give at most "
                    f"{most:,}"
                )
        for name in ("loss_stop", "weight_decay", "kl_factor", "contexts"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} {getattr(self, name)} is negative; give 0 or more")
        if self.tokens is not None and self.tokens < 1:
            raise InputError(f"tokens {self.tokens} is not positive; give more than 0, or none")
        if not 0 <= self.seed < 1 << 63:
            raise InputError(f"seed {self.seed} cannot be used; give 0 to 2**63 - 1")
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise InputError(
                f"layers {list(self.layers)} are not ascending block indices; give for example 5-9"
            )
        if self.kept_share > 1:
            raise InputError(f"kept_share {self.kept_share} is more than all; give at most 1")
        if not 0 < self.previous_keys_decay <= 1:
            raise InputError(
                f"previous_keys_decay {self.previous_keys_decay} is not above 0 and at most 1; "
                "give 1 for earlier keys to stay, or turn previous_keys off"
            )
        if self.contexts > 5:
            raise InputError(f"contexts {self.contexts} is more than there are; give 0 to 5")
        Threshold.parse(self.threshold)
        for name in ("layer_thresholds", "layer_lambda_factors"):
            own = getattr(self, name)
            if own and len(own) != len(self.layers):
                raise InputError(
                    f"{name} {in_words(own)} are {len(own)}, but {len(self.layers)} layers are "
                    "edited; give one for each, or none"
                )
        for threshold in self.layer_thresholds:
            Threshold.parse(threshold)
        if not all(0 < weight < math.inf for weight in self.layer_lambda_factors):
            raise InputError(
                f"layer_lambda_factors {in_words(self.layer_lambda_factors)} are not all positive; "
                "give more than 0"
            )
        for factor in self.layer_lambda_factors:
            for name in ("ridge", "covariance_weight"):
                if not _LEAST <= getattr(self, name) * factor <= _MOST:
                    raise InputError(
                        f"layer_lambda_factors: {factor:g} times {name} {getattr(self, name):g} is "
                        f"outside {_LEAST:g} to {_MOST:g}; give a factor nearer to 1"
                    )

    def at(self, layer: int) -> HyperParameters:
        """What one edited layer is solved with: its own threshold and lambda, where there are any.

        Those of a layer that is not edited are the common ones.
        """
        own: dict[str, Any] = {}
        if layer in self.layers and (self.layer_thresholds or self.layer_lambda_factors):
            place = self.layers.index(layer)
            own = {"layer_thresholds": (), "layer_lambda_factors": ()}
            if self.layer_thresholds:
                own["threshold"] = self.layer_thresholds[place]
            if self.layer_lambda_factors:
                own["ridge"] = self.ridge * self.layer_lambda_factors[place]
                own["covariance_weight"] = self.covariance_weight * self.layer_lambda_factors[place]
        return dataclasses.replace(self, **own) if own else self

    @property
    def threshold_words(self) -> str:
        """The threshold, or those of the layers in order, in words."""
        return in_words(self.layer_thresholds) if self.layer_thresholds else self.threshold

    @property
    def method(self) -> str:
        """Editor and both switches, as every table states them: ``memit +projection …``."""
        switches = (("projection", self.projection), ("previous-keys", self.previous_keys))
        return " ".join([self.editor, *(f"{'+' if on else '-'}{name}" for name, on in switches)])

    def replace(self, **changes: Any) -> HyperParameters:
        """A copy with some fields changed.

        Raises:
            InputError: for a field that does not exist or a value that cannot be used.
        """
        for name in changes:
            _hint(name)
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        tuples = {name: list(value) for name, value in vars(self).items() if type(value) is tuple}
        return dataclasses.asdict(self) | tuples

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> HyperParameters:
        """The inverse of :meth:`to_dict`.

        Raises:
            InputError: for a field that does not exist, a value that cannot be used, or no layers.
        """
        if "layers" not in fields:
            raise InputError('field "layers" is missing; give for example 5-9')
        for name in fields:
            _hint(name)
        return cls(**fields)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table><tr><th>hyperparameter</th><th>value</th></tr>{rows}</table>"


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


def in_words(value: Any) -> str:
    """A field's value as it is written on the command line."""
    if value is None or value == () or value == []:
        return "none"
    if isinstance(value, list | tuple):
        return ",".join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def typed(name: str, value: Any) -> Any:
    """A value for a field, from its own type or from text as the command line gives it.

    Raises:
        InputError: if there is no such field, or it holds nothing of the kind.
    """
    hint = _hint(name)
    if name == "layers":
        if isinstance(value, str):
            return parse_layers(value)
        if isinstance(value, list | tuple):
            indices = [as_integer(item) for item in value]
            if None not in indices:
                return tuple(indices)
        raise InputError(f"field layers: {value!r} is not a list of block indices; give 5-9")
    if typing.get_origin(hint) is tuple:
        if isinstance(value, str):
            value = [] if value in ("", "none") else [part.strip() for part in value.split(",")]
        if not isinstance(value, list | tuple):
            raise InputError(f"field {name}: {value!r} is not a list; give one value per layer")
        return tuple(_single(name, typing.get_args(hint)[:1], item) for item in value)
    if hint is bool:
        words = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}
        known = value if isinstance(value, bool) else words.get(str(value).lower())
        if known is None:
            raise InputError(f"field {name}: {value!r} is neither true nor false; give one")
        return known
    kinds = hint.__args__ if isinstance(hint, types.UnionType) else (hint,)
    return _single(name, kinds, value)


@functools.cache
def _hints() -> dict[str, Any]:
    return typing.get_type_hints(HyperParameters)


def _hint(name: str) -> Any:
    """The type of a field.

    Raises:
        InputError: if there is no such field.
    """
    if name not in _hints():
        raise InputError(f'field "{name}" does not exist; give one of {", ".join(_hints())}')
    return _hints()[name]


def _single(name: str, kinds: tuple[Any, ...], value: Any) -> Any:
    """One value of one of some types, the first of which is the usual one."""
    if (value is None or value == "none") and type(None) in kinds:
        return None
    if kinds[0] is str:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    elif not isinstance(value, bool):
        value = value if (whole := as_integer(value)) is None else whole
        # A large seed would lose digits as a float.
        for read in (int, float) if isinstance(value, str | int) else (float,):
            try:
                number = read(value)
                if kinds[0] is float or number == int(number):
                    return kinds[0](number)
            except (TypeError, ValueError, OverflowError):
                pass
    wanted = {int: "a whole number", float: "a number", str: "a text"}[kinds[0]]
    raise InputError(f"field {name}: {value!r} is not {wanted}; give one")


@dataclass(frozen=True)
class Shape:
    """What tells architectures of a preset apart.

    Llama-2 7B and Llama-3 8B differ in nothing here but the width of the keys.
    """

    model_type: str
    layers: int
    hidden_size: int
    inner_size: int


#: Numbers used in float32, and what is neither 0 nor infinite there, with room for squares.
_REAL = (
    "learning_rate", "clamp_factor", "ridge", "kept_share", "step_size", "norm_constraint",
    "covariance_weight", "emmet_weight",
)  # fmt: skip
_LEAST, _MOST = 1e-18, 1e18
#: What takes longer than anybody waits, or more memory than there is.
_MOST_WHOLE = {"steps": 100_000, "context_tokens": 10_000, "tokens": 10**12}

#: No model comes near it.
_MOST_LAYER = 10_000

#: Presets of the released code (Fang et al. 2025) by shape; the last is measured by this project.
_PRESETS: dict[Shape, tuple[str, dict[str, Any]]] = {
    Shape("gpt2", 48, 1600, 6400): (
        "GPT-2 XL",
        {"layers": range(13, 18), "steps": 20, "covariance_weight": 20_000.0},
    ),
    Shape("gptj", 28, 4096, 16384): ("GPT-J 6B", {"layers": range(3, 9)}),
    Shape("llama", 32, 4096, 14336): ("Llama-3 8B", {"layers": range(4, 9), "learning_rate": 0.1}),
    Shape("phi", 24, 2048, 8192): ("phi-1.5", {"layers": range(4, 9), "learning_rate": 0.1}),
    Shape("qwen2", 28, 3584, 18944): ("Qwen2.5-7B", {"layers": range(4, 9), "learning_rate": 0.1}),
    Shape("llama", 30, 576, 1536): (
        "SmolLM2-135M",
        {"layers": range(5, 10), "covariance_weight": 1_000.0, "tokens": 100_000},
    ),
}


#: What other editors' published settings say of a single model, by the name they look under.
_PER_EDITOR: dict[Shape, dict[str, dict[str, Any]]] = {
    Shape("gpt2", 48, 1600, 6400): {
        "rome": {"layers": (17,)},
        "emmet": {"layers": (17,)},
        "ft": {"layers": (1,)},
        "ft-l": {"layers": (0,), "norm_constraint": 5e-4},
    },
    Shape("gptj", 28, 4096, 16384): {
        "rome": {"layers": (5,)},
        "emmet": {"layers": (5,)},
        "ft": {"layers": (21,)},
        "ft-l": {"layers": (0,), "norm_constraint": 5e-5},
    },
    Shape("llama", 32, 4096, 14336): {
        "rome": {"layers": (5,), "steps": 25, "weight_decay": 1e-3},
        "emmet": {"layers": (5,)},
        "ft": {"layers": (21,)},
        "ft-l": {"layers": (21,)},
    },
}


def preset_for(shape: Shape) -> HyperParameters:
    """The published hyperparameters of a model for AlphaEdit, or ones derived from its shape.

    Derived ones edit five blocks (fewer in a small model) at the relative depth of the presets,
    with the larger learning rate for narrow models; ``origin`` says that they are derived.
    """
    known = _PRESETS.get(shape)
    if known is not None:
        name, fields = known
        layers_of_it = {"layers": tuple(fields["layers"])}
        return HyperParameters(origin=f"preset {name}", **fields | layers_of_it)
    # The presets start at 11 to 27 % of the depth and never reach the last blocks.
    layers, hidden_size = shape.layers, shape.hidden_size
    first = min(round(layers * 0.15), max(layers - 2, 0))
    last = min(first + 4, max(layers - 2, first))
    return HyperParameters(
        layers=tuple(range(first, last + 1)),
        learning_rate=0.5 if hidden_size <= 1600 else 0.1,
        origin=f"derived from the shape ({layers} blocks, hidden {hidden_size}); no preset known",
    )


def model_name(shape: Shape) -> str | None:
    """What the model of a preset is called; None for a shape without one."""
    return _PRESETS[shape][0] if shape in _PRESETS else None


def single_layer(preset: HyperParameters, shape: Shape, name: str) -> dict[str, Any]:
    """What an editor of one layer is set to in a model: its layer, and whatever else is published.

    Args:
        preset: the model's preset.
        shape: the model's.
        name: ``rome``, ``emmet``, ``ft`` or ``ft-l``.

    Returns:
        Fields; for a model of which nothing is published the middle one of the preset's layers, and
        for training two thirds of the depth.
    """
    known = _PER_EDITOR.get(shape, {}).get(name)
    if known is not None:
        return known
    if name in ("rome", "emmet"):
        layer = preset.layers[len(preset.layers) // 2]
    else:
        layer = min(round(shape.layers * 2 / 3), shape.layers - 1)
    return {"layers": (layer,), "origin": f"{preset.origin}; layer derived from the shape"}


def presets() -> list[HyperParameters]:
    """All presets."""
    return [preset_for(shape) for shape in _PRESETS]
