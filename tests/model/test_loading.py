"""Loading: from a folder, from GGUF, the packaged default, and everything that cannot be loaded."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import expected_places, tiny_language_model, tiny_model, tiny_tokenizer
from transformers import ByT5Tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import Cancelled, InputError, StructureError
from alphaedit_core.inference.completions import complete
from alphaedit_core.model import loading as models
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.fingerprints import fingerprint
from alphaedit_core.model.identity import identity
from alphaedit_core.model.loading import load_model, resolve_device, wrap
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.downloads import SMOLLM2, is_cached

quiet = Monitor(show=None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as ``save_pretrained`` writes it, with its tokenizer."""
    folder = tmp_path_factory.mktemp("saved")
    model = tiny_model("llama")
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "model")


def refused(name: str | Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_model(name, monitor=quiet, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------------------------------------- a folder


def test_a_folder_gives_the_model_that_was_saved(saved: Path) -> None:
    original, loaded = tiny_model("llama"), load_model(saved, device="cpu")
    assert loaded.fingerprint == original.fingerprint
    assert loaded.anatomy.places == expected_places("llama")
    assert loaded.tokenizer.get_vocab() == original.tokenizer.get_vocab()
    assert loaded.name == str(saved)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert repr(loaded).startswith(f"EditableModel('{saved}', LlamaForCausalLM, 0M parameters, 3")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_dtype_asked_for(saved: Path, dtype: str) -> None:
    assert load_model(saved, device="cpu", dtype=dtype).dtype == getattr(torch, dtype)


def test_auto_takes_float32_on_the_cpu(tmp_path: Path) -> None:
    model = tiny_model("llama", dtype=torch.bfloat16)
    model.model.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    assert load_model(tmp_path, device="cpu").dtype == torch.float32


def test_auto_takes_the_first_device_there_is() -> None:
    found = resolve_device("auto").type
    if torch.cuda.is_available():
        assert found == "cuda"
    else:
        assert found == ("mps" if torch.backends.mps.is_available() else "cpu")


def test_places_given_by_hand_are_used_and_checked(saved: Path) -> None:
    places = expected_places("llama")
    assert load_model(saved, device="cpu", places=places).anatomy.places == places
    wrong = expected_places("gpt2")
    with pytest.raises(StructureError, match=r'no module "transformer\.h"'):
        load_model(saved, device="cpu", places=wrong)


# -------------------------------------------------------------------------- what cannot be loaded


@pytest.mark.parametrize("device", ["", "gpu", "cuda:77", "hpu", "cpu cpu"])
def test_a_device_that_is_not_there(saved: Path, device: str) -> None:
    message = refused(saved, device=device)
    assert message.startswith(f'device "{device}" is not on this machine; give auto or one of cpu')


def test_a_dtype_that_is_not_known(saved: Path) -> None:
    message = refused(saved, dtype="int8")
    assert message == (
        'dtype "int8" is not known; give auto or one of float32, bfloat16, float16, float64'
    )


@pytest.mark.parametrize("name", ["./no/such", "a/b/c"])
def test_a_name_that_leads_nowhere(name: str) -> None:
    message = refused(name)
    assert f'model "{name}" does not exist; give smollm2-135m,' in message


def test_a_model_of_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    message = refused("no-model-has-this-name-4d1f")
    assert message.startswith(
        'model "no-model-has-this-name-4d1f" is not on this machine and the hub cannot be reached ('
    )


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
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
    "config of no known kind": (lambda f: change_config(f, model_type="nonsense"), "nonsense"),
    "not a causal model": (lambda f: change_config(f, model_type="t5"), "T5Config"),
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


def test_pickled_weights_are_not_read(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    torch.save(weights, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "model.safetensors" in refused(copy)


def test_code_that_comes_with_a_model_is_not_run(copy: Path) -> None:
    ran = copy / "ran"
    (copy / "code.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass C: pass\n")
    change_config(
        copy,
        model_type="own",
        auto_map={"AutoConfig": "code.C", "AutoModelForCausalLM": "code.C"},
    )
    assert "could not be loaded" in refused(copy)
    assert not ran.exists()


def test_a_tokenizer_without_offsets_is_refused() -> None:
    model = tiny_model("llama").model
    with pytest.raises(InputError, match="ByT5Tokenizer without character offsets; load the fast"):
        wrap(model, ByT5Tokenizer(), "slow")


def test_a_model_whose_weights_are_elsewhere_is_refused() -> None:
    model = tiny_model("llama").model.to("meta")
    with pytest.raises(StructureError, match="weights that are not loaded"):
        wrap(model, tiny_tokenizer(), "meta")


# ------------------------------------------------------------------------------------ fingerprint


def test_the_fingerprint_is_of_every_weight() -> None:
    model = tiny_model("llama").model
    first = fingerprint(model)
    assert len(first) == 32 and first == fingerprint(tiny_model("llama").model)
    for parameter in model.parameters():
        value = parameter.data.view(-1)[-1].clone()
        parameter.data.view(-1)[-1] += 1e-3
        assert fingerprint(model) != first
        parameter.data.view(-1)[-1] = value
    assert fingerprint(model) == first
    assert fingerprint(tiny_model("llama", seed=1).model) != first


def test_the_fingerprint_is_of_dtype_and_shape_too() -> None:
    module = torch.nn.ParameterDict({"a": torch.zeros(2, 3), "scale": torch.tensor(1.0)})
    seen = {fingerprint(module)}
    module["a"] = torch.zeros(3, 2)
    seen.add(fingerprint(module))
    seen.add(fingerprint(module.half()))
    assert len(seen) == 3


def test_the_fingerprint_is_taken_once_while_something_holds_the_weights() -> None:
    model = tiny_model("llama")
    first = model.fingerprint
    model.holder = object()
    model.anatomy.matrix(0).zero_()
    assert model.fingerprint == first != fingerprint(model.model)
    model.holder = None
    assert model.fingerprint == fingerprint(model.model) != first


# ------------------------------------------------------------------------------------------ GGUF


def write_gguf(model: EditableModel, file: Path) -> None:
    """Write a tiny Llama the way llama.cpp stores one, in float32."""
    config, weights = model.model.config, model.model.state_dict()
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    described = json.loads(model.tokenizer.backend_tokenizer.to_str())["model"]
    words = sorted(described["vocab"], key=described["vocab"].__getitem__)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words)
    writer.add_token_types([control if i < 3 else normal for i in range(len(words))])
    writer.add_token_merges([" ".join(pair) for pair in described["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "model.layers": "blk",
    }
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, weight in weights.items():
        for part, count in heads.items():
            if part in name:  # the two halves of a rotation lie interleaved there
                halves = weight.view(count, 2, -1, weight.shape[1])
                weight = halves.transpose(1, 2).reshape(weight.shape)
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        writer.add_tensor(name, weight.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def gguf_file(tmp_path: Path, cache: Path) -> Path:
    write_gguf(tiny_model("llama"), tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def converted(cache: Path) -> Path:
    (folder,) = (cache / "models").iterdir()
    return folder


def test_a_gguf_file_is_the_model_it_was_made_from(gguf_file: Path, cache: Path) -> None:
    original = tiny_model("llama")
    model = load_model(gguf_file, device="cpu", monitor=quiet)
    assert model.name == str(gguf_file)
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        expected, found = original.model(input_ids=ids), model.model(input_ids=ids)
    torch.testing.assert_close(found.logits, expected.logits)
    text = "The Eiffel Tower is in 東京."
    assert model.tokenizer(text)["input_ids"] == original.tokenizer(text)["input_ids"]


def test_a_gguf_file_is_converted_once_and_again_when_damaged(gguf_file: Path, cache: Path) -> None:
    monitor = Monitor(show=None)
    first = load_model(gguf_file, device="cpu", monitor=monitor).fingerprint
    assert "converting the model" in monitor.seconds
    again = Monitor(show=None)
    assert load_model(gguf_file, device="cpu", monitor=again).fingerprint == first
    assert not again.seconds
    weights = converted(cache) / "model.safetensors"
    for damage in (
        lambda: weights.write_bytes(weights.read_bytes()[:-1]),
        weights.unlink,
        lambda: (converted(cache) / "converted.json").write_text("{"),
    ):
        damage()
        again = Monitor(show=None)
        assert load_model(gguf_file, device="cpu", monitor=again).fingerprint == first
        assert "converting the model" in again.seconds


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUFjunk" * 10])
def test_a_file_that_is_not_gguf(gguf_file: Path, cache: Path, content: bytes) -> None:
    gguf_file.write_bytes(content)
    assert "could not be loaded" in refused(gguf_file)
    assert not list((cache / "models").iterdir())


def test_a_gguf_file_that_is_cut_short(gguf_file: Path, cache: Path) -> None:
    gguf_file.write_bytes(gguf_file.read_bytes()[:-5000])
    assert "could not be loaded" in refused(gguf_file)
    assert not list((cache / "models").iterdir())


def split_gguf(whole: Path, count: int) -> list[Path]:
    """Files as llama.cpp splits one: what the model is in the first, some tensors in each."""
    reader = gguf.GGUFReader(whole)
    parts = []
    for number in range(count):
        part = whole.with_name(f"part-{number + 1:05}-of-{count:05}.gguf")
        writer = gguf.GGUFWriter(part, "llama")
        if number:  # the others do not even say what the model is
            writer.kv_data[0].clear()
        else:
            for field in reader.fields.values():
                if not field.name.startswith(("GGUF.", "general.architecture")):
                    kind = field.types[0]
                    inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[number::count]:
            writer.add_tensor(tensor.name, tensor.data.copy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(part)
    return parts


@pytest.mark.parametrize("named", [0, 1, 2])
def test_the_files_of_a_split_model_are_joined(gguf_file: Path, cache: Path, named: int) -> None:
    expected = load_model(gguf_file, device="cpu", monitor=quiet)
    parts = split_gguf(gguf_file, 3)
    gguf_file.unlink()
    found = load_model(parts[named], device="cpu", monitor=quiet)
    assert found.fingerprint == expected.fingerprint
    text = "The Eiffel Tower is in 東京."
    assert found.tokenizer(text)["input_ids"] == expected.tokenizer(text)["input_ids"]
    assert not list(cache.rglob("*.gguf"))
    again = Monitor(show=None)
    load_model(parts[0], device="cpu", monitor=again)
    assert not again.seconds


def test_a_split_model_without_some_of_its_files(gguf_file: Path, cache: Path) -> None:
    parts = split_gguf(gguf_file, 3)
    parts[0].unlink()
    message = refused(parts[1])
    assert "one of the 3 files of a model" in message
    assert "part-00001-of-00003.gguf is missing" in message
    whole = gguf_file.with_name("model.gguf")
    parts[1].rename(whole)
    assert '"model.gguf" is file 2 of 3 of a model' in refused(whole)
    assert not list((cache / "models").iterdir())


def test_split_files_that_are_not_one_model(gguf_file: Path, cache: Path) -> None:
    first, second, third = split_gguf(gguf_file, 3)
    kept = third.read_bytes()
    third.write_bytes(second.read_bytes())
    assert "is file 2 of its model by what it says itself" in refused(first)
    third.write_bytes(kept)
    one, _ = split_gguf(gguf_file, 2)
    for old, new in ((one, "x-00001-of-00002.gguf"), (third, "x-00002-of-00002.gguf")):
        old.rename(old.with_name(new))
    assert "is file 3 of 3" in refused(one.with_name("x-00002-of-00002.gguf"))
    assert not list((cache / "models").iterdir())


def test_a_gguf_file_that_does_not_say_what_it_is(gguf_file: Path, cache: Path) -> None:
    writer = gguf.GGUFWriter(gguf_file, "llama")
    writer.add_tensor("x", np.zeros((2, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    message = refused(gguf_file)
    assert "it has no llama.block_count, llama.embedding_length" in message
    assert not list((cache / "models").iterdir())


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


def test_a_token_that_was_added_without_a_row_is_refused_where_a_text_has_it() -> None:
    tokenizer = tiny_tokenizer()
    rows = len(tokenizer)
    model = tiny_model("llama", tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[NEW]"]})
    assert complete(model, ["Rome is"], 2)
    said = rf'the token "\[NEW\]" \({rows}\), but the embedding of "tiny llama" only {rows} rows'
    with pytest.raises(InputError, match=said):
        complete(model, ["Rome is [NEW]"], 2)
    with pytest.raises(InputError, match=said):
        prepare(model, [Fact("Rome [NEW]", "{} is in", "Italy")], (), 0)


def test_a_cancelled_conversion_leaves_nothing(gguf_file: Path, cache: Path) -> None:
    with pytest.raises(Cancelled):
        load_model(gguf_file, monitor=Monitor(show=None, cancel=lambda: True))
    assert not list((cache / "models").iterdir())


def test_the_packaged_default(default_model: EditableModel) -> None:
    assert default_model.name == "smollm2-135m"
    assert (default_model.layers, default_model.anatomy.hidden_size) == (30, 576)
    assert default_model.anatomy.inner_size == 1536
    text = "The capital of France is"
    ids = default_model.tokenizer(text, return_tensors="pt").input_ids.to(default_model.device)
    with torch.no_grad():
        best = int(default_model.model(input_ids=ids).logits[0, -1].argmax())
    assert default_model.tokenizer.decode(best) == " Paris"


def one_bit(folder: Path) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:])


def one_number(folder: Path) -> None:
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["rms_norm_eps"] *= 10
    file.write_text(json.dumps(config))


def one_letter(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"Newton", b"Newtom", 1))


def one_more(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def another_source(folder: Path) -> None:
    stamp = json.loads((folder / "converted.json").read_text())
    (folder / "converted.json").write_text(json.dumps(stamp | {"source_sha256": "0" * 64}))


def earlier_version(folder: Path) -> None:
    file = folder / "model.safetensors"
    stamp = json.loads((folder / "converted.json").read_text())
    stamp = {"source_sha256": stamp["source_sha256"], "weights": {file.name: file.stat().st_size}}
    (folder / "converted.json").write_text(json.dumps(stamp))


@pytest.mark.parametrize(
    "damage", [one_bit, one_number, one_letter, one_more, another_source, earlier_version]
)
def test_a_converted_model_that_is_not_as_it_was_written_is_made_again(
    gguf_file: Path,
    cache: Path,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = identity(load_model(gguf_file, device="cpu", monitor=quiet))
    damage(converted(cache))
    with caplog.at_level(logging.WARNING):
        again = load_model(gguf_file, device="cpu", monitor=Monitor(show=None))
    assert identity(again) == first
    assert str(converted(cache)) in caplog.text and "converted again" in caplog.text
    caplog.clear()
    assert identity(load_model(gguf_file, device="cpu", monitor=quiet)) == first
    assert not caplog.records


@pytest.mark.skipif(not is_cached(SMOLLM2), reason="the packaged model is not in the cache")
def test_the_packaged_file_is_also_a_gguf_file(default_model: EditableModel) -> None:
    device, dtype = str(default_model.device), str(default_model.dtype).removeprefix("torch.")
    model = load_model(SMOLLM2.path, device=device, dtype=dtype, monitor=quiet)
    assert model.fingerprint == default_model.fingerprint


@pytest.mark.parametrize("field", ["attn_implementation", "_attn_implementation"])
def test_a_kernel_of_a_hub_is_refused_before_anything_is_fetched(
    tmp_path: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny_model()
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {field: "someone/kernel@v1"}))
    monkeypatch.setattr(models, "_weights", lambda *_a, **_k: pytest.fail("weights were read"))
    with pytest.raises(InputError, match=r'"someone/kernel@v1" .* take the field out of config'):
        load_model(tmp_path)
