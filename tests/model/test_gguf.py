"""GGUF files are converted once, and again if the converted model is damaged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from refused_models import quiet, refused
from tiny import tiny_model

from alphaedit_core.errors import Canceled
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import identity
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.downloads import SMOLLM2, is_cached


def write_gguf(model: EditableModel, file: Path) -> None:
    """Write a tiny Llama in float32, as llama.cpp does."""
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
    """Split a file as llama.cpp does: metadata in the first part, some tensors in each."""
    reader = gguf.GGUFReader(whole)
    parts = []
    for number in range(count):
        part = whole.with_name(f"part-{number + 1:05}-of-{count:05}.gguf")
        writer = gguf.GGUFWriter(part, "llama")
        if number:  # the other parts do not even have the architecture
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
    assert "one of 3 files of a model" in message
    assert "part-00001-of-00003.gguf is missing" in message
    whole = gguf_file.with_name("model.gguf")
    parts[1].rename(whole)
    assert '"model.gguf" is file 2 of 3 of a model' in refused(whole)
    assert not list((cache / "models").iterdir())


def test_split_files_that_are_not_one_model(gguf_file: Path, cache: Path) -> None:
    first, second, third = split_gguf(gguf_file, 3)
    kept = third.read_bytes()
    third.write_bytes(second.read_bytes())
    assert "is file 2 of its model according to its metadata" in refused(first)
    third.write_bytes(kept)
    one, _ = split_gguf(gguf_file, 2)
    for old, new in ((one, "x-00001-of-00002.gguf"), (third, "x-00002-of-00002.gguf")):
        old.rename(old.with_name(new))
    assert "is file 3 of 3" in refused(one.with_name("x-00002-of-00002.gguf"))
    assert not list((cache / "models").iterdir())


def test_a_gguf_file_without_metadata_is_refused(gguf_file: Path, cache: Path) -> None:
    writer = gguf.GGUFWriter(gguf_file, "llama")
    writer.add_tensor("x", np.zeros((2, 2), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    message = refused(gguf_file)
    assert "it has no llama.block_count, llama.embedding_length" in message
    assert not list((cache / "models").iterdir())


def test_a_canceled_conversion_leaves_nothing(gguf_file: Path, cache: Path) -> None:
    with pytest.raises(Canceled):
        load_model(gguf_file, monitor=Monitor(show=None, cancel=lambda: True))
    assert not list((cache / "models").iterdir())


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
def test_a_changed_converted_model_is_converted_again(
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
