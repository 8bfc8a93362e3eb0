"""Cached data are found by the same model, and by no other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from examples import FACTS, quiet, small
from identities import LAYERS, apart, collect, others, same
from tiny import HIDDEN, tiny_model, tiny_tokenizer

from alphaedit_core.corpora.model_samples import ModelSamples
from alphaedit_core.covariance.collect import cached_checksums
from alphaedit_core.covariance.files import export_statistics
from alphaedit_core.covariance.importing import import_statistics
from alphaedit_core.editing.context_prefixes import own_contexts, sample_contexts
from alphaedit_core.errors import FingerprintError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, identity, precision
from alphaedit_core.model.loading import load_model
from alphaedit_core.session.session import EditSession


@contextmanager
def low_precision() -> Iterator[None]:
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"


@others
def test_the_same_weights_in_another_model_get_their_own_statistics(
    cache: Path, text: Path, other: Callable[[], EditableModel], part: str, words: str
) -> None:
    first, model = collect(tiny_model("llama"), text), other()
    texts = own_contexts(tiny_model("llama"), 0)
    assert model.fingerprint == first.spec.fingerprint
    found = collect(model, text)
    assert not found.cached and same(found, collect(model, text, cache=False))
    assert apart(first, found) > 1e-4
    assert cached_checksums(model, text, LAYERS, 1024) == {n: found[n].checksum for n in LAYERS}
    assert own_contexts(model, 0) == sample_contexts(model, 0)
    assert own_contexts(tiny_model("llama"), 0) == texts
    texts_of_their_own = [ModelSamples(m, 20).checksum() for m in (model, tiny_model("llama"))]
    assert len(set(texts_of_their_own)) == 2
    assert set(first.spec.model.differences(found.spec.model)) & {part}


def test_other_module_paths_get_their_own_statistics(cache: Path, text: Path) -> None:
    """The same model with keys from another module, here of another width."""
    first, model = collect(tiny_model("llama"), text), tiny_model("llama")
    architecture = model.architecture
    model.architecture = replace(
        architecture,
        places=replace(architecture.places, down_projection="self_attn.o_proj"),
        down_projections=tuple(block.self_attn.o_proj for block in architecture.blocks),
        inner_size=HIDDEN,
    )
    assert model.fingerprint == first.spec.fingerprint
    found = collect(model, text)
    assert not found.cached and found[0].moment.shape == (HIDDEN, HIDDEN)
    assert list(first.spec.model.differences(found.spec.model)) == ["places"]


def test_precision_is_part_of_the_spec(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    first, before = collect(model, text), identity(model)
    with low_precision():
        assert precision(model.device) == "bf16"
        assert not collect(model, text).cached
    assert (
        identity(model) == before
        and collect(model, text).cached
        and same(collect(model, text), first)
    )
    with torch.autocast("cpu", torch.bfloat16):
        amid = collect(model, text)
    assert not amid.cached and apart(amid, first) > 1e-5
    assert amid.spec.model.differences(before)["precision"] == "ieee, autocast bfloat16, here ieee"


def test_attention_is_part_of_the_spec() -> None:
    model = tiny_model("llama")
    before = identity(model)
    model.model.set_attn_implementation("eager")
    assert set(before.differences(identity(model))) == {"attention"}


def test_settings_without_effect_on_numbers_change_nothing(text: Path, tmp_path: Path) -> None:
    model = tiny_model("llama", tiny_tokenizer(padding_side="left"))
    before = identity(model)
    assert identity(tiny_model("llama")) == before  # except for the padding side
    model.tokenizer(["Rome", "the city of Rome"], padding=True, truncation=True, max_length=5)
    assert identity(model) == before
    model.model.save_pretrained(tmp_path / "kept")
    model.tokenizer.save_pretrained(tmp_path / "kept")
    again = load_model(tmp_path / "kept", "cpu", monitor=quiet())
    assert identity(again).key() == before.key(), again and before.differences(identity(again))


def test_buffers_of_another_machine_may_differ_in_their_last_bits() -> None:
    model = tiny_model("llama")
    before = identity(model)
    model.model.model.rotary_emb.inv_freq.mul_(1 + 2e-7)
    assert identity(model).key() != before.key() and not before.differences(identity(model))
    model.model.model.rotary_emb.inv_freq.mul_(1.001)
    assert list(before.differences(identity(model))) == ["buffers"]


@others
def test_an_import_names_what_differs(
    cache: Path,
    text: Path,
    tmp_path: Path,
    other: Callable[[], EditableModel],
    part: str,
    words: str,
) -> None:
    export_statistics(collect(tiny_model("llama"), text), tmp_path / "shared.safetensors")
    for file in cache.rglob("layer-*.safetensors"):
        file.unlink()
    with pytest.raises(FingerprintError) as caught:
        import_statistics(tmp_path / "shared.safetensors", other())
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))
    assert same(
        import_statistics(tmp_path / "shared.safetensors", tiny_model("llama")),
        collect(tiny_model("llama"), text),
    )


def test_an_identity_survives_json() -> None:
    whole = identity(tiny_model("gpt2"))
    assert Identity.from_dict(json.loads(json.dumps(whole.to_dict())), "here") == whole
    assert all(whole.to_dict().values())


def test_the_padding_token_is_not_part_of_the_identity(cache: Path, tmp_path: Path) -> None:
    """Many notebooks set the padding token first; the tokenizer pads nothing here."""
    model = tiny_model()
    plain = identity(tiny_model())
    model.tokenizer.pad_token = model.tokenizer.eos_token
    assert model.tokenizer.pad_token_id != tiny_model().tokenizer.pad_token_id
    assert identity(model).tokenizer == plain.tokenizer
    session = EditSession(model, hyperparameters=small(tmp_path, target_steps=2, contexts=0))
    session.edit(FACTS[:1], monitor=quiet())
    session.save(tmp_path / "saved")
    assert EditSession.load(tmp_path / "saved", model=tiny_model()).applied == 1
