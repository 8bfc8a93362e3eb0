"""Cached data belong to the unedited model, and weights changed by hand are detected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from examples import FACTS, quiet, small
from identities import LAYERS, collect, edited, same
from tiny import tiny_model

from alphaedit_core.corpora.model_samples import ModelSamples
from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.editing.context_prefixes import own_contexts, sample_contexts
from alphaedit_core.errors import SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import identity
from alphaedit_core.session.session import EditSession


def test_statistics_collected_between_edits_are_those_of_the_unedited_model(
    cache: Path, text: Path
) -> None:
    unedited = collect(tiny_model("llama"), text, cache=False)
    session = edited(text, tiny_model("llama"))
    digest = session.weights_digest()
    amid = collect_statistics(session.model, text, LAYERS, 960, monitor=quiet())  # another budget
    plain = collect_statistics(tiny_model("llama"), text, LAYERS, 960, cache=False, monitor=quiet())
    assert same(amid, plain) and session.weights_digest() == digest
    assert same(collect(session.model, text), unedited)


def test_state_0_may_be_entered_inside_another_state(cache: Path, text: Path) -> None:
    session = edited(text, tiny_model("llama"), 1)
    session.edit(FACTS[1:2], monitor=quiet())
    last = session.weights_digest()
    with session.at_state(1):
        first = session.weights_digest()
        with session.at_state(0):
            assert session.weights_digest() not in (first, last)
        assert session.weights_digest() == first
        collect(session.model, text)
        assert session.weights_digest() == first
    assert session.weights_digest() == last


def test_sampled_contexts_and_text_are_those_of_the_unedited_model(cache: Path, text: Path) -> None:
    plain = tiny_model("llama")
    session = edited(text, tiny_model("llama"))
    assert sample_contexts(session.model, 3) == sample_contexts(plain, 3)
    assert own_contexts(session.model, 3) == sample_contexts(plain, 3)
    documents = [next(ModelSamples(model, 20).documents()) for model in (session.model, plain)]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("part", ["all", "dropout"])
def test_training_mode_does_not_affect_statistics_or_edits(
    cache: Path, text: Path, part: str
) -> None:
    """Dropout would change keys, contexts and targets; the caller's mode is restored afterwards."""

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
def test_weights_changed_by_hand_get_their_own_statistics_and_contexts(
    cache: Path, text: Path, change: Callable[[torch.Tensor], None]
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    texts = own_contexts(model, 0)
    change(model.model.model.layers[0].mlp.up_proj.weight)
    again = collect(model, text)
    assert not again.cached and not same(again, first)
    assert same(again, collect(model, text, cache=False))
    assert again.spec.fingerprint == model.fingerprint != first.spec.fingerprint
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
    if change is not by_one_number or not edits:  # later edits only glance
        refused.append(lambda: session.edit(FACTS[2:], monitor=quiet()))
    for call in refused:
        with pytest.raises(
            SessionError, match=r"changed by hand .*layers\.1\.mlp\.up_proj\.weight"
        ):
            call()
    assert session.weights_digest() == digest and len(session.history) == (1 if edits else 0)


@pytest.mark.parametrize("edits", [0, 2])
def test_an_edited_matrix_changed_by_hand_is_not_overwritten(
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


def test_a_new_session_records_the_current_weights(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    before = model.fingerprint
    EditSession(model, hyperparameters=small(text.parent)).close()
    by_one_number(model.model.model.layers[0].mlp.up_proj.weight)
    session = EditSession(model, hyperparameters=small(text.parent), contexts=())
    assert session.model.fingerprint != before
    session.edit(FACTS[:1], monitor=quiet())
    assert session.manifest()["fingerprint"] == identity(model).fingerprint != before
