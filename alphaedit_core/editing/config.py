"""Base class of the editors' configurations: the hyperparameters that all editors share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError
from alphaedit_core.nullspace.thresholds import Threshold

from .config_fields import (
    FLOAT32_MAX,
    FLOAT32_MIN,
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
    """Hyperparameters of an edit; each editor has a subclass with its own fields.

    Instances are frozen, and take keyword arguments only.

    Example:
        >>> AlphaEditConfig(layers="5-9", ridge=1, threshold="energy:0.2")  # doctest: +SKIP

    Raises:
        InputError: for an unknown field, or a value of the wrong type or out of range.
    """

    lambda_fields: ClassVar[tuple[str, ...]] = ()
    """Fields that ``layer_lambda_factors`` multiply; empty for an editor without a lambda."""

    layers: Layers
    """Indices of the edited blocks, ascending; the target search runs at the last one."""
    editor: Text
    """Editing method that solves for the weight update."""
    target_steps: Steps = 25
    """Maximum loss evaluations per fact; one more than the Adam steps (``v_num_grad_steps``)."""
    target_learning_rate: Positive = 0.5
    """Learning rate of Adam in the target search (``v_lr``)."""
    loss_stop: NonNegative = 0.05
    """Loss below which the target search of a fact has converged and stops."""
    clamp_norm_factor: Positive = 0.75
    """Maximum norm of delta, relative to the norm of the hidden state that it is added to."""
    weight_decay: NonNegative = 0.5
    """Weight of the penalty ``|delta| / |h|^2`` in the search loss (``v_weight_decay``)."""
    kl_factor: NonNegative = 0.0625
    """Weight of the KL term that preserves the prediction after ``{subject} is a``."""
    projection: Switch = False
    """Project the update onto the null space."""
    previous_keys: Switch = False
    """Protect previous facts (the term ``K_p K_p^T``)."""
    previous_keys_decay: Decay = 1.0
    """Factor on ``K_p K_p^T`` at every new batch, whatever its size: below 1, older facts are
    protected less; 1 protects all equally."""
    threshold: ThresholdField = Threshold("absolute", 0.02)
    """Limit of the kept space: an eigenvalue (``0.02``), ``energy:0.1`` or ``rank:1000``."""
    layer_thresholds: LayerThresholds = ()
    """One threshold per edited layer, in order; none to use ``threshold`` for all."""
    layer_lambda_factors: LayerFactors = ()
    """One factor on lambda per edited layer, in order; none for 1."""
    contexts: Contexts = 5
    """Number of contexts (model-generated texts placed before the prompt), 0 to 5."""
    context_tokens: Length = 10
    """Length of each context, in tokens."""
    text: Text = "wikipedia-sample"
    """Text source for the key statistics."""
    tokens: Tokens = None
    """Token budget for the key statistics; none for 100,000, or more for very wide keys."""
    seed: Seed = 0
    """Random seed of all sampling."""
    source: Text = "given by hand"
    """Where these values come from, as a note for readers."""

    def __post_init__(self) -> None:
        """Check fields against each other.

        Raises:
            InputError: if the number or range of the per-layer values is wrong.
        """
        for name in ("layer_thresholds", "layer_lambda_factors"):
            values = getattr(self, name)
            if values and len(values) != len(self.layers):
                raise InputError(
                    f"{name}: {format_value(values)} has {len(values)} values for "
                    f"{len(self.layers)} edited layers; give one per layer, or none"
                )
        if not all(0 < weight < math.inf for weight in self.layer_lambda_factors):
            raise InputError(
                f"layer_lambda_factors: {format_value(self.layer_lambda_factors)} are not all "
                "positive; give numbers > 0"
            )
        for factor in self.layer_lambda_factors:
            for name in self.lambda_fields:
                if not FLOAT32_MIN <= getattr(self, name) * factor <= FLOAT32_MAX:
                    raise InputError(
                        f"layer_lambda_factors: {factor:g} times {name} {getattr(self, name):g} is "
                        f"not within {FLOAT32_MIN:g} to {FLOAT32_MAX:g}; give a factor nearer to 1"
                    )

    def at(self, layer: int) -> Self:
        """Return the configuration of one layer, with its own threshold and lambda if it has any.

        A layer that is not edited gets the common values.
        """
        if layer not in self.layers or not (self.layer_thresholds or self.layer_lambda_factors):
            return self
        index = self.layers.index(layer)
        changes: dict[str, Any] = {"layer_thresholds": (), "layer_lambda_factors": ()}
        if self.layer_thresholds:
            changes["threshold"] = self.layer_thresholds[index]
        if self.layer_lambda_factors:
            factor = self.layer_lambda_factors[index]
            changes |= {name: getattr(self, name) * factor for name in self.lambda_fields}
        return self.replace(**changes)

    @property
    def threshold_words(self) -> str:
        """The threshold, or the per-layer thresholds in order, as text."""
        return format_value(self.layer_thresholds or self.threshold)

    @property
    def method(self) -> str:
        """Editor and switches as shown in tables: ``memit +projection -previous-keys``."""
        switches = (("projection", self.projection), ("previous-keys", self.previous_keys))
        return " ".join([self.editor, *(f"{'+' if on else '-'}{name}" for name, on in switches)])

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Return the names of all fields, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Raises:
            InputError: for an unknown field or an invalid value.
        """
        return type(self)(**{name: getattr(self, name) for name in self.field_names()} | changes)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON-serializable values."""
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
    """Return the items of ``fields`` that are fields of the configuration class."""
    return {name: value for name, value in fields.items() if name in cls.field_names()}
