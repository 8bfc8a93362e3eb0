"""Non-finite numbers and all-zero weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model

from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.errors import DivergedError, InputError, SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.nullspace.eigendecomposition import eigendecompose_layer
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.drift import weight_changes

pytestmark = pytest.mark.usefixtures("cache")


def new_session(model: EditableModel, place: Path, **changes: object) -> EditSession:
    hyperparameters = small(place, target_steps=2, **changes)
    return EditSession(model, hyperparameters=hyperparameters, contexts=CONTEXTS[:1])


def half() -> EditableModel:
    return tiny_model(dtype=torch.float16)


def with_a_zero_matrix() -> EditableModel:
    model = tiny_model()
    model.architecture.matrix(0).zero_()
    return model


def test_edit_that_breaks_output_is_undone(
    tmp_path: Path,
) -> None:
    trains = {"editor": "ft", "layers": (1,), "previous_keys": False, "projection": False}
    session = new_session(half(), tmp_path, **trains)
    session.edit(FACTS[:1], monitor=quiet())
    digest = session.weights_digest()
    session.hyperparameters = session.hyperparameters.replace(ft_learning_rate=3e4)
    with pytest.raises(DivergedError, match=r"not finite; lower .*ft_learning_rate"):
        session.edit(FACTS[1:2], monitor=quiet())
    assert session.applied == 1 and session.weights_digest() == digest
    session.save(tmp_path / "saved")
    session.close()
    assert EditSession.load(tmp_path / "saved", model=half()).weights_digest() == digest


def overflowing() -> EditableModel:
    """Return a model whose keys overflow in float16."""
    model = half()
    with torch.no_grad():
        for block in model.architecture.blocks:
            for part in (block.mlp.up_proj, block.mlp.gate_proj):
                part.weight.mul_(3e3)
    return model


def without_a_word() -> EditableModel:
    """Return a model with a NaN embedding of one token."""
    model = half()
    token = model.tokenizer("old", add_special_tokens=False)["input_ids"][-1]
    with torch.no_grad():
        model.model.get_input_embeddings().weight[token] = math.nan
    return model


@pytest.mark.parametrize("make", [overflowing, without_a_word])
def test_non_finite_keys_give_no_statistics(
    tmp_path: Path, make: Callable[[], EditableModel]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text(prose(700) + " old" * 50, encoding="utf-8")
    model = make()
    for _ in range(2):  # nor are they found in the cache
        with pytest.raises(SessionError, match="keys of the text are not finite"):
            collect_statistics(model, TextFile(text), (0, 1), monitor=quiet())


def test_non_finite_statistics_give_no_spectrum(tmp_path: Path, cache: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(prose(700), encoding="utf-8")
    statistics = collect_statistics(tiny_model(), TextFile(text), (0,), monitor=quiet())
    statistics[0].moment[3, 3] = math.nan
    with pytest.raises(SessionError, match="layer 0: its statistics are not finite"):
        eigendecompose_layer(statistics, 0)
    assert not list(cache.rglob("spectra/*"))


def test_zero_weight_can_be_edited_saved_and_loaded(tmp_path: Path) -> None:
    session = new_session(with_a_zero_matrix(), tmp_path)
    result = session.edit(FACTS[:1], monitor=quiet())
    assert (
        session.relative_weight_change()[0] == math.inf
        and 0 < session.relative_weight_change()[1] < math.inf
    )
    assert weight_changes(session.history[:1])[0] == math.inf
    assert "inf" in str(result) or "inf" in result._repr_html_()
    digest = session.weights_digest()
    session.save(tmp_path / "saved")
    session.close()
    again = EditSession.load(tmp_path / "saved", model=with_a_zero_matrix())
    assert again.weights_digest() == digest
    again.undo()
    assert again.relative_weight_change() == {0: 0.0, 1: 0.0}


@pytest.mark.parametrize(
    ("editor", "message"),
    [("prune", "no singular value"), ("rome", "all zeros"), ("pmet", "zeros")],
)
def test_impossible_edit_of_zero_weight_is_refused(
    tmp_path: Path, editor: str, message: str
) -> None:
    layers = (0,) if editor == "rome" else (0, 1) if editor == "prune" else (0,)
    session = new_session(
        with_a_zero_matrix(), tmp_path, editor=editor, layers=layers, previous_keys=False
    )
    with pytest.raises(InputError, match=message):
        session.edit(FACTS[:1], monitor=quiet())
    assert session.applied == 0 and session.relative_weight_change()[0] == 0.0
