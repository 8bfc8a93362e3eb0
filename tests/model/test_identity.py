"""What is kept for later is found again by the very same model, and by no other.

Every test asks first for what is kept, then for the same with one thing changed that the result
depends on, and compares with what is computed afresh.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import FACTS, quiet, small
from tiny import HIDDEN, prose, tiny_model, tiny_tokenizer

from alphaedit_core.corpora.sources import ModelSamples
from alphaedit_core.covariance.collect import cached_checksums, collect_statistics
from alphaedit_core.covariance.files import KeyStatistics, export_statistics
from alphaedit_core.covariance.importing import import_statistics
from alphaedit_core.editing import context_prefixes as contexts_module
from alphaedit_core.editing.context_prefixes import OPENINGS, own_contexts, sample_contexts
from alphaedit_core.errors import CorruptFileError, FingerprintError, SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, identity, precision
from alphaedit_core.model.loading import load_model
from alphaedit_core.session.files import load_manifest
from alphaedit_core.session.files import save_session as write_session
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.tensor_files import load_tensors

LAYERS = (0, 2)


@pytest.fixture
def text(cache: Path, tmp_path: Path) -> Path:
    file = tmp_path / "text.txt"
    file.write_text("\f".join(prose(100, seed) for seed in range(6)), encoding="utf-8")
    return file


def collect(model: EditableModel, text: Path, cache: bool = True) -> KeyStatistics:
    return collect_statistics(model, text, LAYERS, 1024, cache=cache, monitor=quiet())


def same(a: KeyStatistics, b: KeyStatistics) -> bool:
    return all(torch.equal(a[layer].moment, b[layer].moment) for layer in LAYERS)


def apart(a: KeyStatistics, b: KeyStatistics) -> float:
    return float((a[0].moment - b[0].moment).norm() / b[0].moment.norm())


def edited(text: Path, model: EditableModel, facts: int = 4) -> EditSession:
    session = EditSession(model, hyperparameters=small(text.parent), contexts=())
    session.edit(FACTS[:facts], monitor=quiet())
    return session


# ------------------------------------------------------------------------- the state they are of


def test_statistics_asked_for_amid_edits_are_those_of_the_unedited_model(
    cache: Path, text: Path
) -> None:
    unedited = collect(tiny_model("llama"), text, cache=False)
    session = edited(text, tiny_model("llama"))
    digest = session.weights_digest()
    amid = collect_statistics(session.model, text, LAYERS, 960, monitor=quiet())  # another budget
    plain = collect_statistics(tiny_model("llama"), text, LAYERS, 960, cache=False, monitor=quiet())
    assert same(amid, plain) and session.weights_digest() == digest
    assert same(collect(session.model, text), unedited)


def test_state_0_may_be_asked_for_inside_another_state(cache: Path, text: Path) -> None:
    session = edited(text, tiny_model("llama"), 1)
    session.edit(FACTS[1:2], monitor=quiet())
    last = session.weights_digest()
    with session.at(1):
        first = session.weights_digest()
        with session.at(0):
            assert session.weights_digest() not in (first, last)
        assert session.weights_digest() == first
        collect(session.model, text)
        assert session.weights_digest() == first
    assert session.weights_digest() == last


def test_contexts_and_text_of_the_models_own_are_the_unedited_models(
    cache: Path, text: Path
) -> None:
    plain = tiny_model("llama")
    session = edited(text, tiny_model("llama"))
    assert sample_contexts(session.model, 3) == sample_contexts(plain, 3)
    assert own_contexts(session.model, 3) == sample_contexts(plain, 3)
    documents = [next(ModelSamples(model, 20).documents()) for model in (session.model, plain)]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("part", ["all", "dropout"])
def test_training_mode_does_not_reach_what_is_collected_or_written(
    cache: Path, text: Path, part: str
) -> None:
    """Dropout would change keys, contexts and target values; the caller's mode is back after."""

    def with_dropout() -> EditableModel:
        return tiny_model("gpt2", resid_pdrop=0.3, attn_pdrop=0.3, embd_pdrop=0.3)

    model, plain = with_dropout(), with_dropout()
    for module in model.model.modules():
        module.training = part == "all" or isinstance(module, torch.nn.Dropout)
    modes = [module.training for module in model.model.modules()]
    assert any(modes)
    assert same(collect(model, text, cache=False), collect(plain, text, cache=False))
    assert sample_contexts(model, 0) == sample_contexts(plain, 0)
    assert edited(text, model).weights_digest() == edited(text, plain).weights_digest()
    assert [module.training for module in model.model.modules()] == modes


def by_version(weight: torch.Tensor) -> None:
    with torch.no_grad():
        weight.mul_(1.5)


def by_data(weight: torch.Tensor) -> None:
    weight.data.mul_(1.5)


def by_one_number(weight: torch.Tensor) -> None:
    weight.data.view(-1)[1] += 0.5


by_hand = pytest.mark.parametrize("change", [by_version, by_data, by_one_number])


@by_hand
def test_weights_changed_by_hand_have_statistics_and_contexts_of_their_own(
    cache: Path, text: Path, change: Callable[[torch.Tensor], None]
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    texts = own_contexts(model, 0)
    change(model.model.model.layers[0].mlp.up_proj.weight)
    again = collect(model, text)
    assert not again.cached and not same(again, first)
    assert same(again, collect(model, text, cache=False))
    assert again.recipe.fingerprint == model.fingerprint != first.recipe.fingerprint
    own_contexts(model, 0)
    assert len(list((cache / "contexts").iterdir())) == 2
    assert texts == own_contexts(tiny_model("llama"), 0)


@by_hand
@pytest.mark.parametrize("edits", [0, 2])
def test_weights_changed_by_hand_under_a_session_are_refused_by_name(
    cache: Path, text: Path, change: Callable[[torch.Tensor], None], edits: int
) -> None:
    model = tiny_model("llama")
    session = EditSession(model, hyperparameters=small(text.parent))
    if edits:
        session.edit(FACTS[:edits], monitor=quiet())
    change(model.model.model.layers[1].mlp.up_proj.weight)
    digest = session.weights_digest()
    refused: list[Callable[[], object]] = [
        lambda: collect(model, text),
        lambda: sample_contexts(model, 0),
        lambda: own_contexts(model, 0),
    ]
    if change is not by_one_number or not edits:  # a glance is all that a later edit costs
        refused.append(lambda: session.edit(FACTS[2:], monitor=quiet()))
    for call in refused:
        with pytest.raises(
            SessionError, match=r"changed by hand .*layers\.1\.mlp\.up_proj\.weight"
        ):
            call()
    assert session.weights_digest() == digest and len(session.history) == (1 if edits else 0)


@pytest.mark.parametrize("edits", [0, 2])
def test_an_edited_matrix_that_was_changed_by_hand_is_not_written_over(
    cache: Path, text: Path, edits: int
) -> None:
    model = tiny_model("llama")
    session = EditSession(model, hyperparameters=small(text.parent), contexts=())
    if edits:
        session.edit(FACTS[:edits], monitor=quiet())
    by_one_number(model.model.model.layers[1].mlp.down_proj.weight)
    digest = session.weights_digest()
    with pytest.raises(SessionError, match=r"by hand .*layers\.1\.mlp\.down_proj\.weight"):
        session.edit(FACTS[2:], monitor=quiet())
    assert session.weights_digest() == digest


def test_a_session_takes_the_weights_as_they_are_then(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    before = model.fingerprint
    EditSession(model, hyperparameters=small(text.parent)).close()
    by_one_number(model.model.model.layers[0].mlp.up_proj.weight)
    session = EditSession(model, hyperparameters=small(text.parent), contexts=())
    assert session.model.fingerprint != before
    session.edit(FACTS[:1], monitor=quiet())
    assert session.manifest()["fingerprint"] == identity(model).fingerprint != before


# ----------------------------------------------------------------------- what else they depend on


def other_tokenizer() -> EditableModel:
    return tiny_model("llama", tiny_tokenizer(bos=True), vocab_size=len(tiny_tokenizer()))


def other_end_of_text() -> EditableModel:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<s>"
    return tiny_model("llama", tokenizer)


def other_angles() -> EditableModel:
    return tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 77.0})


def other_buffer() -> EditableModel:
    model = tiny_model("llama")
    model.model.model.rotary_emb.inv_freq.mul_(1.01)
    return model


def other_norm() -> EditableModel:
    return tiny_model("llama", rms_norm_eps=0.5)


@contextmanager
def low_precision() -> Iterator[None]:
    try:
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        yield
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = "none"


others = pytest.mark.parametrize(
    ("other", "part", "words"),
    [
        (other_tokenizer, "tokenizer", "tokenizer"),
        (other_end_of_text, "tokenizer", "tokenizer"),
        (other_angles, "configuration", "rope_theta"),
        (other_buffer, "buffers", "model.rotary_emb.inv_freq"),
        (other_norm, "configuration", "rms_norm_eps 1e-06, here 0.5"),
    ],
)


@others
def test_the_same_weights_in_another_model_have_statistics_of_their_own(
    cache: Path, text: Path, other: Callable[[], EditableModel], part: str, words: str
) -> None:
    first, model = collect(tiny_model("llama"), text), other()
    texts = own_contexts(tiny_model("llama"), 0)
    assert model.fingerprint == first.recipe.fingerprint
    found = collect(model, text)
    assert not found.cached and same(found, collect(model, text, cache=False))
    assert apart(first, found) > 1e-4
    assert cached_checksums(model, text, LAYERS, 1024) == {n: found[n].checksum for n in LAYERS}
    assert own_contexts(model, 0) == sample_contexts(model, 0)
    assert own_contexts(tiny_model("llama"), 0) == texts
    texts_of_their_own = [ModelSamples(m, 20).checksum() for m in (model, tiny_model("llama"))]
    assert len(set(texts_of_their_own)) == 2
    assert set(first.recipe.model.differences(found.recipe.model)) & {part}


def test_other_module_paths_have_statistics_of_their_own(cache: Path, text: Path) -> None:
    """A model whose keys are said to be read elsewhere: of another width here."""
    first, model = collect(tiny_model("llama"), text), tiny_model("llama")
    anatomy = model.anatomy
    model.anatomy = replace(
        anatomy,
        places=replace(anatomy.places, down_projection="self_attn.o_proj"),
        down_projections=tuple(block.self_attn.o_proj for block in anatomy.blocks),
        inner_size=HIDDEN,
    )
    assert model.fingerprint == first.recipe.fingerprint
    found = collect(model, text)
    assert not found.cached and found[0].moment.shape == (HIDDEN, HIDDEN)
    assert list(first.recipe.model.differences(found.recipe.model)) == ["places"]


def test_precision_is_part_of_the_recipe(cache: Path, text: Path) -> None:
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
    assert (
        amid.recipe.model.differences(before)["precision"] == "ieee, autocast bfloat16, here ieee"
    )


def test_attention_is_part_of_the_recipe() -> None:
    model = tiny_model("llama")
    before = identity(model)
    model.model.set_attn_implementation("eager")
    assert set(before.differences(identity(model))) == {"attention"}


def test_what_no_number_depends_on_changes_nothing(text: Path, tmp_path: Path) -> None:
    model = tiny_model("llama", tiny_tokenizer(padding_side="left"))
    before = identity(model)
    assert identity(tiny_model("llama")) == before  # but for the padding side
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


# ---------------------------------------------------------------------------------------- sessions


@pytest.fixture
def kept(text: Path, tmp_path: Path) -> Path:
    edited(text, tiny_model("llama"), 1).save(tmp_path / "kept")
    return tmp_path / "kept"


@others
def test_a_session_in_another_model_of_the_same_weights_says_what_differs(
    kept: Path, other: Callable[[], EditableModel], part: str, words: str
) -> None:
    model = other()
    with pytest.raises(FingerprintError) as caught:
        EditSession.load(kept, model)
    assert words in str(caught.value) and "same weights" in str(caught.value)
    assert model.holder is None and model.fingerprint == tiny_model("llama").fingerprint


def test_what_only_rounds_otherwise_is_said_and_loaded(
    kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    model.model.set_attn_implementation("eager")
    model.model.config.a_new_field = 1
    with caplog.at_level(logging.WARNING):
        assert EditSession.load(kept, model).applied == 1
    assert "attention sdpa, here eager" in caplog.text and "a_new_field" in caplog.text
    caplog.clear()
    assert EditSession.load(kept, tiny_model("llama")).applied == 1
    assert not caplog.records


def rewritten(kept: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = load_manifest(kept)
    change(manifest)
    session = EditSession.load(kept, tiny_model("llama"))
    manifest.pop("entries"), manifest.pop("applied"), manifest.pop("format")
    write_session(kept, manifest, session._entries, 1, overwrite=True)


def test_sessions_of_earlier_versions_are_loaded(
    kept: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewritten(kept, lambda manifest: manifest.pop("identity"))
    rewritten(kept, lambda manifest: manifest["statistics"].update(recipe="of old"))
    assert "identity" not in load_manifest(kept)
    session = EditSession.load(kept, tiny_model("llama"))
    session.edit(FACTS[1:2], monitor=quiet())
    assert not caplog.records  # the statistics are the same, under another name
    session.save(kept)
    assert load_manifest(kept)["identity"] == identity(session.model).to_dict()


@pytest.mark.parametrize(
    "wrong", [None, 5, [], {}, {"places": 3}, {"configuration": "{"}, {"buffers": "[]"}]
)
def test_a_manifest_that_does_not_say_what_its_model_was(kept: Path, wrong: Any) -> None:
    def spoil(manifest: dict[str, Any]) -> None:
        small_change = isinstance(wrong, dict) and wrong
        manifest["identity"] = manifest["identity"] | wrong if small_change else wrong

    rewritten(kept, spoil)
    with pytest.raises(CorruptFileError, match='does not say the "'):
        EditSession.load(kept, tiny_model("llama"))


def test_target_values_are_shared_by_equal_models_alone(cache: Path, text: Path) -> None:
    shared: dict[str, Any] = {}
    for model in (tiny_model("llama"), tiny_model("llama"), other_norm()):
        session = EditSession(
            model, hyperparameters=small(text.parent), contexts=(), targets=shared
        )
        session.edit(FACTS[:1], monitor=quiet())
    assert len(shared) == 2


def test_a_model_folder_that_has_moved(text: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    for part in (model.model, model.tokenizer):
        part.save_pretrained(tmp_path / "model")
    session = edited(text, load_model(tmp_path / "model", "cpu", monitor=quiet()), 1)
    session.save(tmp_path / "kept")
    (tmp_path / "model").rename(tmp_path / "moved")
    with pytest.raises(Exception, match=r"is not there any more; name .*--model") as caught:
        EditSession.load(tmp_path / "kept", monitor=quiet())
    assert str(tmp_path / "model") in str(caught.value)
    moved = load_model(tmp_path / "moved", "cpu", monitor=quiet())
    loaded = EditSession.load(tmp_path / "kept", moved)
    assert loaded.weights_digest() == session.weights_digest()


# ---------------------------------------------------------------------------------------- contexts


def letter(stored: dict[str, Any]) -> None:
    stored["contexts"][1] = "x" + stored["contexts"][1]


def fewer(stored: dict[str, Any]) -> None:
    stored["contexts"] = stored["contexts"][:1]


def one_number(stored: dict[str, Any]) -> None:
    stored["seed"] += 1


@pytest.mark.parametrize("damage", [letter, fewer, one_number, "[]", '["a", "b"]', "{", "foreign"])
def test_contexts_that_are_damaged_are_sampled_again(
    cache: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = own_contexts(model, 0)
    (file,) = (cache / "contexts").iterdir()
    whole = file.read_bytes()
    if damage == "foreign":
        assert own_contexts(model, 1) != first
        (other,) = set((cache / "contexts").iterdir()) - {file}
        file.write_bytes(other.read_bytes())
    elif isinstance(damage, str):
        file.write_text(damage)
    else:
        stored = json.loads(whole)
        damage(stored)
        file.write_text(json.dumps(stored))
    with caplog.at_level(logging.WARNING, contexts_module.__name__):
        assert own_contexts(model, 0) == first and len(first) == len(OPENINGS)
    assert str(file) in caplog.text and "sampled again" in caplog.text
    assert file.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    model = tiny_model("llama")
    with caplog.at_level(logging.WARNING, contexts_module.__name__):
        assert own_contexts(model, 0) == sample_contexts(model, 0)
    assert "cannot be written" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_identity_is_read_as_it_was_written() -> None:
    whole = identity(tiny_model("gpt2"))
    assert Identity.from_dict(json.loads(json.dumps(whole.to_dict())), "here") == whole
    assert all(whole.to_dict().values())


# ------------------------------------------------------------------------------------------ spectra


@pytest.mark.parametrize("damage", ["bit", "other layer", "gone"])
def test_eigenvectors_damaged_before_they_are_used_are_made_again(
    cache: Path, text: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Between the check at the start and the read for the first edit's projectors."""
    plain = edited(text, tiny_model("llama"))
    session = EditSession(tiny_model("llama"), hyperparameters=small(text.parent), contexts=())
    files = [spectrum.vectors_file for spectrum in session.spectra(quiet()).values()]
    assert files[0] is not None and files[1] is not None
    whole, vectors = files[0].read_bytes(), load_tensors(files[0])
    if damage == "bit":
        files[0].write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    elif damage == "other layer":
        files[0].write_bytes(files[1].read_bytes())
    else:
        files[0].unlink()
    session.edit(FACTS, monitor=quiet())
    assert session.weights_digest() == plain.weights_digest()
    again, metadata = load_tensors(files[0])
    assert metadata == vectors[1] and torch.equal(again["vectors"], vectors[0]["vectors"])
    assert str(files[0]) in caplog.text and "made again" in caplog.text


def test_what_pads_is_no_part_of_the_tokenizer(cache: Path, tmp_path: Path) -> None:
    """Many notebooks set it before anything else; nothing here is padded by the tokenizer."""
    model = tiny_model()
    plain = identity(tiny_model())
    model.tokenizer.pad_token = model.tokenizer.eos_token
    assert model.tokenizer.pad_token_id != tiny_model().tokenizer.pad_token_id
    assert identity(model).tokenizer == plain.tokenizer
    session = EditSession(model, hyperparameters=small(tmp_path, steps=2, contexts=0))
    session.edit(FACTS[:1], monitor=quiet())
    session.save(tmp_path / "saved")
    assert EditSession.load(tmp_path / "saved", model=tiny_model()).applied == 1


def test_a_weight_that_changed_behind_the_fingerprint_is_seen_on_load(
    cache: Path, tmp_path: Path
) -> None:
    session = EditSession(tiny_model(), hyperparameters=small(tmp_path, steps=2, contexts=0))
    session.edit(FACTS[:1], monitor=quiet())
    session.save(tmp_path / "saved")
    session.close()
    other = tiny_model()
    assert other.fingerprint == session.model.fingerprint  # taken, and remembered
    token = other.tokenizer("Rome", add_special_tokens=False)["input_ids"][0]
    other.model.get_input_embeddings().weight.data[token, 1:4] = 3.0
    with pytest.raises(FingerprintError, match="belongs to"):
        EditSession.load(tmp_path / "saved", model=other)
    assert other.holder is None
