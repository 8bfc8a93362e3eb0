"""Hyperparameters: published presets, derived ones, and invalid values."""

from __future__ import annotations

import json
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.config_fields import descriptions, parse_layers
from alphaedit_core.editing.configs import config_from_dict, make_config, with_editor
from alphaedit_core.editing.defaults import preset_for, presets
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.editing.editors.registry import editors
from alphaedit_core.editing.presets import Shape
from alphaedit_core.errors import InputError
from alphaedit_core.nullspace.thresholds import Threshold


@pytest.mark.parametrize(
    ("shape", "layers", "steps", "rate", "weight"),
    [
        (("gpt2", 48, 1600, 6400), (13, 14, 15, 16, 17), 20, 0.5, 20_000.0),
        (("gptj", 28, 4096, 16384), (3, 4, 5, 6, 7, 8), 25, 0.5, 15_000.0),
        (("llama", 32, 4096, 14336), (4, 5, 6, 7, 8), 25, 0.1, 15_000.0),
        (("phi", 24, 2048, 8192), (4, 5, 6, 7, 8), 25, 0.1, 15_000.0),
        (("qwen2", 28, 3584, 18944), (4, 5, 6, 7, 8), 25, 0.1, 15_000.0),
        (("llama", 30, 576, 1536), (5, 6, 7, 8, 9), 25, 0.5, 1_000.0),
    ],
)
def test_published_presets(
    shape: tuple[str, int, int, int],
    layers: tuple[int, ...],
    steps: int,
    rate: float,
    weight: float,
) -> None:
    preset = preset_for(Shape(*shape))
    assert (preset.layers, preset.target_steps, preset.target_learning_rate) == (
        layers,
        steps,
        rate,
    )
    assert preset_for(Shape(*shape), "memit").covariance_weight == weight
    assert (preset.clamp_norm_factor, preset.weight_decay, preset.kl_factor) == (0.75, 0.5, 0.0625)
    assert (str(preset.threshold), preset.loss_stop) == ("0.02", 0.05)
    assert preset.source.startswith("preset ")
    assert preset in presets() and len(presets()) == 6


@given(st.integers(1, 200), st.sampled_from([64, 1600, 8192]))
def test_derived_presets_fit_the_model(blocks: int, hidden: int) -> None:
    derived = preset_for(Shape("some", blocks, hidden, 4 * hidden))
    layers = derived.layers
    assert layers == tuple(range(layers[0], layers[-1] + 1)) and len(layers) <= 5
    assert layers[0] >= 0 and layers[-1] <= max(blocks - 2, 0)
    if blocks >= 8:
        assert len(layers) == 5 and layers[0] / blocks <= 0.27
    assert derived.target_learning_rate == (0.1 if hidden > 1600 else 0.5)
    assert "derived from the shape" in derived.source and str(blocks) in derived.source


def test_llama_2_differs_from_llama_3() -> None:
    """Same class, blocks and hidden size; only the MLP is narrower."""
    llama_2 = preset_for(Shape("llama", 32, 4096, 11008))
    assert llama_2.source.startswith("derived from the shape") and llama_2 not in presets()


GOOD = AlphaEditConfig(layers=(5, 6))


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("target_steps", 0, "target_steps: 0 is not positive and finite; give a number > 0"),
        ("target_steps", "2.5", "target_steps: '2.5' is not a whole number; give one"),
        ("target_steps", True, "target_steps: True is not a whole number; give one"),
        ("target_steps", "inf", "target_steps: 'inf' is not a whole number"),
        ("target_steps", None, "target_steps: None is not a whole number"),
        ("ridge", 0, "ridge: 0.0 is not positive"),
        ("ridge", "nan", "ridge: nan is not positive"),
        ("target_learning_rate", "inf", "target_learning_rate: inf is not positive"),
        ("target_learning_rate", [1], r"target_learning_rate: \[1\] is not a number"),
        ("clamp_norm_factor", -0.75, "clamp_norm_factor: -0.75 is not positive"),
        ("kl_factor", -1, "kl_factor: -1.0 is negative or not finite; give a number >= 0"),
        ("loss_stop", "nan", "loss_stop: nan is negative"),
        ("contexts", 6, "contexts: 6 is too many; give 0 to 5"),
        ("contexts", -1, "contexts: -1 is negative"),
        ("threshold", "half", 'threshold "half" cannot be parsed'),
        ("threshold", "energy:2", 'threshold "energy:2" cannot be parsed'),
        ("threshold", None, "threshold: None is not a threshold"),
        ("text", ["a"], r"text: \['a'\] is not a string; give one"),
        ("tokens", 0, "tokens: 0 is not positive; give a number > 0, or none"),
        ("seed", -1, r"seed: -1 is out of range; give 0 to 2\*\*63 - 1"),
        ("seed", 1 << 70, "is out of range"),
        ("layers", [], r"layers: \[\] are not ascending block indices; give for example 5-9"),
        ("layers", [6, 5], r"layers: \[6, 5\] are not ascending"),
        ("layers", [-1, 5], "are not ascending"),
        ("layers", ["5"], r"layers: \['5'\] is not a list of block indices; give 5-9"),
        ("layers", 5, "layers: 5 is not a list"),
        ("layers", "five", 'layers: "five" cannot be parsed; give 5-9 or 5,7,9'),
        ("layers", "5..9", "cannot be parsed"),
        ("previous_keys_decay", 0, r"previous_keys_decay: 0.0 is not in \(0, 1\]; give 1"),
        ("previous_keys_decay", "nan", "previous_keys_decay: nan is not in"),
        ("previous_keys_decay", 1.5, "previous_keys_decay: 1.5 is not in"),
        (
            "layer_lambda_factors",
            "1,2,3",
            "layer_lambda_factors: 1,2,3 has 3 values for 2 edited layers; give one",
        ),
        (
            "layer_lambda_factors",
            "1,0",
            "layer_lambda_factors: 1,0 are not all positive; give numbers > 0",
        ),
        ("layer_lambda_factors", [1, "inf"], "layer_lambda_factors: 1,inf are not all positive"),
        (
            "layer_lambda_factors",
            "1,x",
            "layer_lambda_factors: 'x' is not a number; give one",
        ),
        (
            "layer_lambda_factors",
            2.0,
            "layer_lambda_factors: 2.0 is not a list; give one value per layer",
        ),
        ("layer_thresholds", "0.02", "layer_thresholds: 0.02 has 1 values for 2 edited layers"),
        ("layer_thresholds", "0.02,half", 'threshold "half" cannot be parsed'),
        (
            "targt_steps",
            5,
            '"targt_steps" does not exist; did you mean "target_steps"\\? give one of layers,',
        ),
    ],
)
def test_invalid_field_is_refused(field: str, value: Any, complaint: str) -> None:
    for attempt in (
        lambda: GOOD.replace(**{field: value}),
        lambda: config_from_dict(GOOD.to_dict() | {field: value}),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_layers_are_required() -> None:
    with pytest.raises(InputError, match='field "layers" is missing; give for example 5-9'):
        config_from_dict({"target_steps": 3})


@pytest.mark.parametrize("text", ["7", "5-9", "5,7,9", "1-3, 5"])
def test_parse_layers(text: str) -> None:
    expected = {"7": (7,), "5-9": (5, 6, 7, 8, 9), "5,7,9": (5, 7, 9), "1-3, 5": (1, 2, 3, 5)}
    assert parse_layers(text) == expected[text]
    assert GOOD.replace(layers=text).layers == expected[text]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("target_steps", "30", 30),
        ("target_steps", 30.0, 30),
        ("target_steps", "3e1", 30),
        ("target_learning_rate", "0.1", 0.1),
        ("target_learning_rate", 1, 1.0),
        ("threshold", 0.05, Threshold("absolute", 0.05)),
        ("threshold", "energy:0.1", Threshold("energy", 0.1)),
        ("layer_lambda_factors", "1, 0.5", (1.0, 0.5)),
        ("layer_lambda_factors", [2, 3], (2.0, 3.0)),
        ("layer_lambda_factors", "none", ()),
        ("layer_thresholds", "0.02,rank:7", (Threshold("absolute", 0.02), Threshold("rank", 7))),
        ("layer_thresholds", "", ()),
        ("tokens", "none", None),
        ("tokens", None, None),
        ("tokens", "5000", 5000),
        ("seed", str((1 << 62) + 1), (1 << 62) + 1),
        ("seed", (1 << 62) + 1, (1 << 62) + 1),
    ],
)
def test_values_as_text(field: str, text: Any, value: Any) -> None:
    found = getattr(GOOD.replace(**{field: text}), field)
    assert found == value and type(found) is type(value)


OWN = GOOD.replace(layer_lambda_factors=(2, 0.5), layer_thresholds=("0.1", "rank:3"))


@pytest.mark.parametrize("parameters", [GOOD, OWN, *presets()])
def test_json_round_trip(parameters: EditConfig) -> None:
    written = json.loads(json.dumps(parameters.to_dict()))
    assert config_from_dict(written) == parameters
    assert all(name in parameters._repr_html_() for name in written)


def test_at_gives_layer_threshold_and_lambda() -> None:
    first, second = OWN.at(5), OWN.at(6)
    assert (first.ridge, str(first.threshold)) == (20.0, "0.1")
    assert (second.ridge, str(second.threshold)) == (5.0, "rank:3")
    ours = with_editor(OWN, "memit")
    assert [ours.at(layer).covariance_weight for layer in (5, 6, 7)] == [30_000.0, 7_500.0, 15_000]
    assert OWN.at(7) == OWN and GOOD.at(5) == GOOD
    assert first.at(5) == first
    assert (OWN.threshold_words, GOOD.threshold_words) == ("0.1,rank:3", "0.02")


def test_replace_keeps_original() -> None:
    assert GOOD.replace(ridge=1).ridge == 1.0
    assert GOOD.ridge == 10.0


@pytest.mark.parametrize("text", ["3-", "-3", "3--5", "3-x", "3-4-5", "", "5,", "+3", "3_0"])
def test_invalid_layer_range_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot be parsed; give 5-9 or 5,7,9"):
        parse_layers(text)


def test_numpy_and_torch_integers() -> None:
    layers = GOOD.replace(layers=(numpy.int64(3), torch.tensor(4))).layers
    assert layers == (3, 4) and all(type(layer) is int for layer in layers)
    seed = GOOD.replace(seed=numpy.int64(2**62 + 1)).seed
    assert seed == 2**62 + 1 and type(seed) is int
    for wrong in (3.0, True, numpy.bool_(True), numpy.array([3])):
        with pytest.raises(InputError, match="is not a list of block indices"):
            GOOD.replace(layers=(wrong,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("target_steps", "many"),
        ("target_steps", None),
        ("ridge", [1.0]),
        ("projection", "perhaps"),
        ("layers", 5),
        ("layers", (1.5,)),
        ("layer_lambda_factors", 1.0),
        ("threshold", None),
        ("seed", 0.5),
    ],
)
def test_wrong_type_is_refused(field: str, value: Any) -> None:
    fields: dict[str, Any] = {"layers": (1, 2), field: value}
    with pytest.raises(InputError, match=field):
        AlphaEditConfig(**fields)


def test_values_have_the_type_of_their_field() -> None:
    made = AlphaEditConfig(layers=[1, numpy.int64(2)], ridge=10, target_steps=numpy.int32(3))  # type: ignore[arg-type]
    assert made == AlphaEditConfig(layers=(1, 2), ridge=10.0, target_steps=3)
    assert type(made.ridge) is float and type(made.target_steps) is int and made.layers == (1, 2)


def test_every_field_is_described() -> None:
    for editor in editors().values():
        described = descriptions(editor.config)
        assert tuple(described) == editor.config.field_names()
        assert all(words.endswith(".") for _, words in described.values())
        assert described["layers"][0] is None and str(described["threshold"][0]) == "0.02"


def test_with_editor_keeps_shared_fields() -> None:
    memit = with_editor(GOOD.replace(seed=3, ridge=7, threshold="rank:9"), "memit", kl_factor=0)
    assert (memit.editor, memit.seed, str(memit.threshold)) == ("memit", 3, "rank:9")
    assert memit.kl_factor == 0 and memit.covariance_weight == 15_000.0
    with pytest.raises(InputError, match='field "ridge" does not exist'):
        memit.replace(ridge=1)


def test_configurations_are_keyword_only() -> None:
    with pytest.raises(InputError):
        AlphaEditConfig((1, 2))  # type: ignore[call-arg]


# -- files of others -------------------------------------------------------------------------------

RELEASED = {
    "layers": [4, 5, 6, 7, 8], "clamp_norm_factor": 0.75, "layer_selection": "all",
    "fact_token": "subject_last", "v_num_grad_steps": 25, "v_lr": 1e-1, "v_loss_layer": 31,
    "v_weight_decay": 0.5, "kl_factor": 0.0625, "mom2_adjustment": True,
    "mom2_update_weight": 15000, "rewrite_module_tmp": "model.layers.{}.mlp.down_proj",
    "layer_module_tmp": "model.layers.{}", "mlp_module_tmp": "model.layers.{}.mlp",
    "attn_module_tmp": "model.layers.{}.self_attn", "ln_f_module": "model.norm",
    "lm_head_module": "lm_head", "mom2_dataset": "wikipedia", "mom2_n_samples": 100000,
    "mom2_dtype": "float32", "nullspace_threshold": 2e-2, "L2": 10,
}  # fmt: skip


def test_released_file_loads_unchanged() -> None:
    """Fang et al. 2025, Llama-3 8B: the preset that this project has for that model."""
    preset = preset_for(Shape("llama", 32, 4096, 14336))
    assert config_from_dict(RELEASED).replace(source=preset.source) == preset
    easyedit = RELEASED | {"alg_name": "MEMIT", "model_name": "x", "stats_dir": "y", "device": 0}
    found = config_from_dict(easyedit)
    assert found.editor == "memit" and found.covariance_weight == 15_000.0


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"fact_token": "last"}, 'fact_token: "last" is not supported'),
        ({"alg_name": "MEND"}, 'alg_name: "MEND" is not available; remove it'),
        ({"ridge": 3}, '"L2" and "ridge" are both given; remove one of them'),
    ],
)
def test_file_of_other_method_is_refused(changed: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        config_from_dict(RELEASED | changed)


def test_file_of_version_0_1_loads() -> None:
    """Version 0.1 stored the fields of all editors, some under other names."""
    former = {
        "layers": [5, 6], "steps": 7, "learning_rate": 0.2, "clamp_factor": 0.5, "editor": "rect",
        "ridge": 10.0, "kept_share": 0.3, "step_size": 5e-4, "norm_constraint": 5e-4,
        "emmet_weight": 0.1, "covariance_weight": 2.0, "threshold": "0.02", "origin": "by hand",
        "projection": True, "previous_keys": False,
    }  # fmt: skip
    assert config_from_dict(former) == make_config(
        "rect", layers=(5, 6), target_steps=7, target_learning_rate=0.2, clamp_norm_factor=0.5,
        rect_fraction=0.3, covariance_weight=2.0, source="by hand", projection=True,
    )  # fmt: skip
