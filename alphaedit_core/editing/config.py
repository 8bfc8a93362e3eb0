"""What an edit depends on besides model and facts: the base of every editor's configuration."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError
from alphaedit_core.nullspace.thresholds import Threshold

from .config_fields import (
    LEAST,
    MOST,
    Contexts,
    Decay,
    LayerFactors,
    Layers,
    LayerThresholds,
    Length,
    NonNegative,
    Positive,
    Seed,
    Steps,
    Switch,
    Text,
    ThresholdField,
    Tokens,
    config,
    format_value,
)


@config
class EditConfig:
    """What all editors share; each has a subclass beside it with its own numbers.

    Example:
        >>> AlphaEditConfig(layers="5-9", ridge=1, threshold="energy:0.2")  # doctest: +SKIP

    Raises:
        InputError: for a field that does not exist, or a value that is of another kind or out of
            range; names the field, the value and the remedy.
    """

    lambda_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that ``layer_lambda_factors`` multiply; none for an editor without a lambda."""

    layers: Layers
    """Edited blocks, first to last; the target value is searched at the last one's output."""
    editor: Text
    """What solves for the change of a weight."""
    target_steps: Steps = 25
    """Evaluations of the loss per fact at most; there is one Adam step fewer."""
    target_learning_rate: Positive = 0.5
    """Adam's step for the target value (``v_lr``)."""
    loss_stop: NonNegative = 0.05
    """A fact whose loss is under this has converged and leaves the batch."""
    clamp_norm_factor: Positive = 0.75
    """Longest the change of a hidden state may be, as a multiple of that state's norm."""
    weight_decay: NonNegative = 0.5
    """Weight of ``|delta| / |h|^2`` in the loss (``v_weight_decay``)."""
    kl_factor: NonNegative = 0.0625
    """Weight of the KL term that holds what ``{subject} is a`` says."""
    projection: Switch = False
    """Whether the change stays inside the null space."""
    previous_keys: Switch = False
    """Whether the facts written before are spared (the term K_p K_p^T)."""
    previous_keys_decay: Decay = 1.0
    """What the weight of a batch's keys in K_p K_p^T is multiplied by with every further batch,
    however large, so that early facts are spared less; 1 for all alike."""
    threshold: ThresholdField = Threshold("absolute", 0.02)
    """Where the kept space ends: ``0.02``, ``energy:0.1`` or ``rank:1000``."""
    layer_thresholds: LayerThresholds = ()
    """A threshold for each edited layer, first to last; none for ``threshold`` at all of them."""
    layer_lambda_factors: LayerFactors = ()
    """What lambda is multiplied by at each edited layer, first to last; none for 1."""
    contexts: Contexts = 5
    """Number of texts of the model's own that stand before the prompt, 0 to 5."""
    context_tokens: Length = 10
    """Length of each, in tokens."""
    text: Text = "wikipedia-sample"
    """Running text for the statistics."""
    tokens: Tokens = None
    """Token budget for the statistics; none for the rule of ``default_tokens``."""
    seed: Seed = 0
    """Seed of everything sampled."""
    source: Text = "given by hand"
    """Where these numbers come from, for people."""

    def __post_init__(self) -> None:
        """Refuse fields that do not fit each other."""
        for name in ("layer_thresholds", "layer_lambda_factors"):
            own = getattr(self, name)
            if own and len(own) != len(self.layers):
                raise InputError(
                    f"{name} {format_value(own)} are {len(own)}, but {len(self.layers)} layers are "
                    "edited; give one for each, or none"
                )
        if not all(0 < weight < math.inf for weight in self.layer_lambda_factors):
            raise InputError(
                f"layer_lambda_factors {format_value(self.layer_lambda_factors)} are not all "
                "positive; give more than 0"
            )
        for factor in self.layer_lambda_factors:
            for name in self.lambda_fields:
                if not LEAST <= getattr(self, name) * factor <= MOST:
                    raise InputError(
                        f"layer_lambda_factors: {factor:g} times {name} {getattr(self, name):g} is "
                        f"outside {LEAST:g} to {MOST:g}; give a factor nearer to 1"
                    )

    def at(self, layer: int) -> Self:
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
                factor = self.layer_lambda_factors[place]
                own |= {name: getattr(self, name) * factor for name in self.lambda_fields}
        return self.replace(**own) if own else self

    @property
    def threshold_words(self) -> str:
        """The threshold, or those of the layers in order, in words."""
        return format_value(self.layer_thresholds or self.threshold)

    @property
    def method(self) -> str:
        """Editor and both switches, as every table states them: ``memit +projection …``."""
        switches = (("projection", self.projection), ("previous-keys", self.previous_keys))
        return " ".join([self.editor, *(f"{'+' if on else '-'}{name}" for name, on in switches)])

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all fields, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed.

        Raises:
            InputError: for a field that does not exist or a value that cannot be used.
        """
        return type(self)(**{name: getattr(self, name) for name in self.field_names()} | changes)

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {name: _plain(getattr(self, name)) for name in self.field_names()}

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>"
            for name, value in self.to_dict().items()
        )
        return f"<table><tr><th>hyperparameter</th><th>value</th></tr>{rows}</table>"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Threshold) else value


def own_fields(cls: type[EditConfig], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some fields that a configuration has."""
    return {name: value for name, value in fields.items() if name in cls.field_names()}
