"""Edits of the packaged default model, as a user makes them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from examples import quiet

from alphaedit_core.data.fact_files import example_facts
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.session.session import EditSession

pytestmark = pytest.mark.model


@pytest.fixture
def session(default_model: EditableModel) -> Iterator[EditSession]:
    session = EditSession(default_model)
    yield session
    session.close()


def matrices(session: EditSession) -> list[torch.Tensor]:
    layers = session.hyperparameters.layers
    return [session.model.architecture.matrix(layer).clone() for layer in layers]


def test_an_edit_takes_effect_and_can_be_undone(session: EditSession) -> None:
    model, fact = session.model, example_facts()[0]
    prompts = [fact.text, *fact.paraphrases, *fact.neighbors]
    unedited, digest = matrices(session), session.weights_digest()
    before = generate_greedy(model, prompts)
    result = session.edit([fact], monitor=quiet())

    [outcome] = result.outcomes
    assert fact.target not in outcome.before.completion
    assert outcome.before.completion == before[0]
    assert outcome.after.completion.strip().startswith(fact.target)
    assert outcome.written
    assert result.written == 1
    assert outcome.trace.converged
    assert outcome.after.new.probability > 0.5 > 0.05 > outcome.before.new.probability
    assert generate_greedy(model, prompts[:1]) == [outcome.after.completion]
    assert session.weights_digest() != digest
    edited = matrices(session)
    for write in result.writes[0]:
        assert 0 < write.update_norm < 0.1 * write.weight_norm

    session.undo()
    assert session.weights_digest() == digest
    assert all(torch.equal(a, b) for a, b in zip(matrices(session), unedited, strict=True))
    assert generate_greedy(model, prompts) == before
    session.redo()
    assert all(torch.equal(a, b) for a, b in zip(matrices(session), edited, strict=True))
