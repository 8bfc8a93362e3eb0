"""Models that cannot be loaded are refused with a message of one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from refused_models import refused
from safetensors.torch import load_file, save_file
from tiny import tiny_language_model, tiny_model, tiny_tokenizer
from transformers import ByT5Tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError, StructureError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model import pretrained
from alphaedit_core.model.loading import load_model, wrap
from alphaedit_core.model.tokenization import prepare

# ---------------------------------------------------------------------- files, names and arguments


@pytest.mark.parametrize("device", ["", "gpu", "cuda:77", "hpu", "cpu cpu"])
def test_a_device_that_does_not_exist(saved: Path, device: str) -> None:
    message = refused(saved, device=device)
    assert message.startswith(f'device "{device}" is not on this machine; give auto or one of cpu')


def test_an_unknown_dtype(saved: Path) -> None:
    message = refused(saved, dtype="int8")
    assert message == (
        'dtype "int8" is not known; give auto or one of float32, bfloat16, float16, float64'
    )


@pytest.mark.parametrize("name", ["./no/such", "a/b/c"])
def test_a_name_that_does_not_exist(name: str) -> None:
    message = refused(name)
    assert f'model "{name}" does not exist; give smollm2-135m,' in message


def test_a_model_of_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refused("no-model-has-this-name-4d1f")
    assert message.startswith(
        'model "no-model-has-this-name-4d1f" is not on this machine and the hub cannot be reached ('
    )


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "is a folder without config.json; give a folder" in refused(tmp_path)
    assert "does not exist; give the path of a GGUF file" in refused(tmp_path / "a.gguf")


def change_config(folder: Path, **fields: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


ONE = "model.layers.1.mlp.down_proj.weight"

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a weight is missing": (
        lambda f: change_weights(f, lambda w: w.pop(ONE)),
        f"1 weights are missing or have another shape: {ONE}",
    ),
    "a weight has another shape": (
        lambda f: change_weights(f, lambda w: w.update({ONE: torch.zeros(3, 3)})),
        f"1 weights are missing or have another shape: {ONE}",
    ),
    "the weights are cut short": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes()[:9999]
        ),
        "",
    ),
    "the weights are gone": (
        lambda f: (f / "model.safetensors").unlink(),
        "no file named model.safetensors",
    ),
    "config is not JSON": (lambda f: (f / "config.json").write_text("{"), "not a valid JSON"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), ""),
    "tokenizer is gone": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer"),
    "tokenizer is not JSON": (lambda f: (f / "tokenizer.json").write_text("{"), ""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_line(copy: Path, damage: str) -> None:
    change, reason = DAMAGES[damage]
    change(copy)
    message = refused(copy)
    assert message.startswith(f'model "{copy}" could not be loaded; give smollm2-135m, ')
    assert reason in message


def test_an_unknown_model_type_is_refused_with_a_remedy(copy: Path) -> None:
    change_config(copy, model_type="nonsense")
    message = refused(copy)
    assert 'model type "nonsense" is unknown to transformers' in message
    assert "; upgrade transformers, or give a model" in message


def test_a_model_that_is_not_causal_is_refused_with_a_remedy(copy: Path) -> None:
    change_config(copy, model_type="t5")
    message = refused(copy)
    assert "(t5) is not a causal language model; give a decoder-only model" in message


def test_an_adapter_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "is an adapter without a model; merge it with merge_and_unload()" in refused(tmp_path)


def test_a_file_of_weights_is_refused_with_a_remedy(saved: Path) -> None:
    assert "is a file; give its folder, or a GGUF file" in refused(saved / "model.safetensors")


def test_pickled_weights_are_not_read(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    message = refused(copy)
    assert "has weights in pytorch_model.bin only, and only safetensors are read; conv" in message


def test_code_that_comes_with_a_model_is_not_run(copy: Path) -> None:
    ran = copy / "ran"
    (copy / "code.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass C: pass\n")
    change_config(
        copy,
        model_type="own",
        auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"},
    )
    assert 'model type "own" is unknown' in refused(copy)
    assert not ran.exists()


def test_a_tokenizer_without_offsets_is_refused() -> None:
    model = tiny_model("llama").model
    with pytest.raises(InputError, match="ByT5Tokenizer without character offsets; load its fast"):
        wrap(model, ByT5Tokenizer(), "slow")


def test_a_model_with_weights_on_the_meta_device_is_refused() -> None:
    model = tiny_model("llama").model.to("meta")
    with pytest.raises(StructureError, match="weights that are not loaded"):
        wrap(model, tiny_tokenizer(), "meta")


# ----------------------------------------------------- weights and tokens that cannot be used


def test_weights_of_one_byte_are_refused() -> None:
    model = tiny_model("llama")
    down = model.model.model.layers[1].mlp.down_proj
    down.weight = torch.nn.Parameter(down.weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(StructureError, match=r"weights in float8_e4m3fn \(model.layers.1.mlp.down"):
        wrap(model.model, tiny_tokenizer(), "narrow")


def test_weights_made_in_inference_mode_are_refused() -> None:
    with torch.inference_mode():
        model = tiny_language_model("LlamaConfig", {**SMALL, "vocab_size": len(tiny_tokenizer())})
    with pytest.raises(StructureError, match=r"was loaded in torch\.inference_mode"):
        wrap(model, tiny_tokenizer(), "frozen")


SMALL = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
}


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer) - 1
    model = tiny_language_model("LlamaConfig", {**SMALL, "vocab_size": rows})
    with pytest.raises(InputError, match=f"a token {rows}, but the embedding .* only {rows} rows"):
        wrap(model, tokenizer, "short")


def test_an_added_token_without_a_row_is_refused_in_a_text() -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    model = tiny_model("llama", tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[NEW]"]})
    assert generate_greedy(model, ["Rome is"], 2)
    expected = (
        rf'the token "\[NEW\]" \({rows}\), but the embedding of "tiny llama" only {rows} rows'
    )
    with pytest.raises(InputError, match=expected):
        generate_greedy(model, ["Rome is [NEW]"], 2)
    with pytest.raises(InputError, match=expected):
        prepare(model, [Fact("Rome [NEW]", "{} is in", "Italy")], (), 0)


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_a_hub_is_refused_before_anything_is_fetched(
    tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_model()
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: "someone/kernel@v1"}))
    monkeypatch.setattr(pretrained, "_weights", lambda *_a, **_k: pytest.fail("weights were read"))
    with pytest.raises(InputError, match=r'"someone/kernel@v1" .* take the field out of config'):
        load_model(tmp_path)
