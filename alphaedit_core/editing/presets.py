"""Published hyperparameters by model shape, and derived ones for other models.

The paper's setup gives "lambda = 20,000" (GPT-2 XL) and "15,000" (GPT-J, Llama-3). In the released
files that value is ``mom2_update_weight``, MEMIT's weight on C, which AlphaEdit never reads;
AlphaEdit's ridge there is ``L2`` = 10. The fields here are ``covariance_weight`` and ``ridge``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: MEMIT's weight on C unless a preset sets another.
_COVARIANCE_WEIGHT = 15_000.0


@dataclass(frozen=True)
class Shape:
    """Shape by which a model's preset is looked up.

    Llama-2 7B and Llama-3 8B differ only in ``inner_size`` here.

    Attributes:
        model_type: ``model_type`` of the transformers configuration.
        layers: number of blocks.
        hidden_size: width of the residual stream.
        inner_size: width of the keys, d_in.
    """

    model_type: str
    layers: int
    hidden_size: int
    inner_size: int


#: Presets of the released code (Fang et al. 2025) by shape; the last is this project's own.
_PRESETS: dict[Shape, tuple[str, dict[str, Any]]] = {
    Shape("gpt2", 48, 1600, 6400): (
        "GPT-2 XL",
        {"layers": range(13, 18), "target_steps": 20, "covariance_weight": 20_000.0},
    ),
    Shape("gptj", 28, 4096, 16384): ("GPT-J 6B", {"layers": range(3, 9)}),
    Shape("llama", 32, 4096, 14336): (
        "Llama-3 8B",
        {"layers": range(4, 9), "target_learning_rate": 0.1},
    ),
    Shape("phi", 24, 2048, 8192): ("phi-1.5", {"layers": range(4, 9), "target_learning_rate": 0.1}),
    Shape("qwen2", 28, 3584, 18944): (
        "Qwen2.5-7B",
        {"layers": range(4, 9), "target_learning_rate": 0.1},
    ),
    Shape("llama", 30, 576, 1536): (
        "SmolLM2-135M",
        {"layers": range(5, 10), "covariance_weight": 1_000.0, "tokens": 100_000},
    ),
}


#: Published settings of other editors for single models, by :attr:`.Editor.preset`.
_PER_EDITOR: dict[Shape, dict[str, dict[str, Any]]] = {
    Shape("gpt2", 48, 1600, 6400): {
        "rome": {"layers": (17,)},
        "emmet": {"layers": (17,)},
        "ft": {"layers": (1,)},
        "ft-l": {"layers": (0,), "ft_max_change": 5e-4},
    },
    Shape("gptj", 28, 4096, 16384): {
        "rome": {"layers": (5,)},
        "emmet": {"layers": (5,)},
        "ft": {"layers": (21,)},
        "ft-l": {"layers": (0,), "ft_max_change": 5e-5},
    },
    Shape("llama", 32, 4096, 14336): {
        "rome": {"layers": (5,), "target_steps": 25, "weight_decay": 1e-3},
        "emmet": {"layers": (5,)},
        "ft": {"layers": (21,)},
        "ft-l": {"layers": (21,)},
    },
}


def preset_fields(shape: Shape) -> dict[str, Any]:
    """Return the published fields of a model for AlphaEdit and MEMIT, or derived ones.

    Derived fields edit five blocks (fewer in a small model) at the relative depth of the presets,
    with the larger learning rate for narrow models. Their ``source`` names the shape.
    """
    preset = _PRESETS.get(shape)
    if preset is not None:
        name, fields = preset
        published = {**fields, "layers": tuple(fields["layers"]), "source": f"preset {name}"}
        return {"covariance_weight": _COVARIANCE_WEIGHT} | published
    # The presets start at 11 to 27 % of the depth and never reach the last blocks.
    layers, hidden_size = shape.layers, shape.hidden_size
    first = min(round(layers * 0.15), max(layers - 2, 0))
    last = min(first + 4, max(layers - 2, first))
    return {
        "layers": tuple(range(first, last + 1)),
        "target_learning_rate": 0.5 if hidden_size <= 1600 else 0.1,
        "covariance_weight": _COVARIANCE_WEIGHT,
        "source": f"derived from the shape ({layers} blocks, hidden {hidden_size}); no preset "
        "known",
    }


def model_name(shape: Shape) -> str | None:
    """Return the name of a preset's model; None for a shape without a preset."""
    return _PRESETS[shape][0] if shape in _PRESETS else None


def single_layer(fields: dict[str, Any], shape: Shape, name: str) -> dict[str, Any]:
    """Return the published fields of a single-layer editor for a model, or a derived layer.

    Args:
        fields: fields of the model's preset.
        shape: shape of the model.
        name: ``rome``, ``emmet``, ``ft`` or ``ft-l``.

    Returns:
        The published fields. If there are none, ``layers`` and ``source``, with the middle one of
        the preset's layers, or for fine-tuning the layer at two thirds of the depth.
    """
    published = _PER_EDITOR.get(shape, {}).get(name)
    if published is not None:
        return published
    if name in ("rome", "emmet"):
        layer = fields["layers"][len(fields["layers"]) // 2]
    else:
        layer = min(round(shape.layers * 2 / 3), shape.layers - 1)
    return {"layers": (layer,), "source": f"{fields['source']}; layer derived from the shape"}


def preset_shapes() -> list[Shape]:
    """Return the shapes of all models with a preset."""
    return list(_PRESETS)
