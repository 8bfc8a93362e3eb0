"""Invariants of every editor in a session, with and without its two switches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from editor_sessions import ALL, SPARING, new_session, settings
from examples import CONTEXTS, FACTS, quiet
from tiny import tiny_model

from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ALL)
def test_edit_raises_targets_and_undo_is_exact(
    place: Path, name: str, layout: str, tmp_path: Path
) -> None:
    session = new_session(place, name, layout)
    original = session.weights_digest()
    first = session.edit(FACTS[:2], monitor=quiet())
    assert "facts written" in first._repr_html_() and "facts written" in repr(first)
    digests = [original, session.weights_digest()]
    session.edit(FACTS[2:], batch_size=1, monitor=quiet())
    digests.append(session.weights_digest())
    assert len(set(digests)) == 3
    gained = [o.after.new.nll < o.before.new.nll for o in first.outcomes]
    assert any(gained), "the first edit made no target likelier"
    for number in (1, 0, 2, 1, 2):
        session.restore(number)
        assert session.weights_digest() == digests[number]
    session.save(tmp_path / "kept")
    session.close()
    loaded = EditSession.load(tmp_path / "kept", session.model)
    assert loaded.weights_digest() == digests[2]
    assert (loaded.editor, loaded.hyperparameters) == (name, session.hyperparameters)
    loaded.undo()
    assert loaded.weights_digest() == digests[1]
    assert loaded.history[0].result.to_dict() == first.to_dict()


@pytest.mark.parametrize("name", ALL)
def test_projected_edit_stays_in_kept_space(place: Path, name: str) -> None:
    session = new_session(place, name, projection=True)
    matrices = {
        n: session.model.architecture.matrix(n).clone() for n in session.hyperparameters.layers
    }
    session.edit(FACTS, monitor=quiet())
    for layer, original in matrices.items():
        change = (session.model.architecture.matrix(layer) - original).double()
        spectrum = session.spectra()[layer]
        dropped = spectrum.vectors(0, spectrum.size - spectrum.rank("rank:30")).double()
        assert float(change.norm()) > 1e-4
        assert float((change @ dropped).norm()) < 1e-4 * float(change.norm())


@pytest.mark.parametrize("name", ALL)
def test_unprojected_edit_leaves_kept_space(place: Path, name: str) -> None:
    session = new_session(place, name, projection=False)
    layer = session.hyperparameters.layers[-1]
    original = session.model.architecture.matrix(layer).clone()
    session.edit(FACTS, monitor=quiet())
    change = (session.model.architecture.matrix(layer) - original).double()
    spectrum = session.spectra()[layer]
    dropped = spectrum.vectors(0, spectrum.size - spectrum.rank("rank:30")).double()
    assert float((change @ dropped).norm()) > 1e-2 * float(change.norm())


@pytest.mark.parametrize("name", ALL)
def test_undone_edit_does_not_affect_next(place: Path, name: str) -> None:
    session, other = new_session(place, name), new_session(place, name)
    a, b, c = FACTS[:1], FACTS[1:3], FACTS[3:]
    session.edit(a, monitor=quiet())
    session.edit(b, monitor=quiet())
    session.undo()
    session.edit(c, monitor=quiet())
    other.edit(a, monitor=quiet())
    other.edit(c, monitor=quiet())
    assert session.weights_digest() == other.weights_digest()


@pytest.mark.parametrize("name", ALL)
def test_canceled_edit_keeps_weights(place: Path, name: str) -> None:
    session = new_session(place, name)
    session.edit(FACTS[:1], monitor=quiet())
    digest = session.weights_digest()
    before = [parameter.clone() for parameter in session.model.model.parameters()]
    asked: list[bool] = []

    def late() -> bool:
        """True if an update has been written into the model."""
        now = session.model.model.parameters()
        asked.append(not all(map(torch.equal, before, now)))
        return asked[-1]

    with pytest.raises(Canceled):
        session.edit(FACTS[1:], monitor=Monitor(None, late))
    assert asked[-1] and len(asked) > 1  # it had been written, and not at once
    assert session.weights_digest() == digest and session.applied == 1


@pytest.mark.parametrize("name", SPARING)
def test_previous_keys_change_second_edit(place: Path, name: str) -> None:
    digests = set()
    for previous in (False, True):
        session = new_session(place, name, previous_keys=previous)
        session.edit(FACTS[:2], monitor=quiet())
        session.edit(FACTS[2:], monitor=quiet())
        digests.add(session.weights_digest())
    assert len(digests) == 2


def test_non_finite_update_is_not_written(place: Path) -> None:
    hp = settings(place, "ft", ft_learning_rate=1e5, target_steps=4)
    session = EditSession(tiny_model("llama", dtype=torch.float16), hyperparameters=hp,
                          contexts=CONTEXTS[:1])  # fmt: skip
    digest = session.weights_digest()
    with pytest.raises(SessionError, match="layer 1: the update of ft is not finite; lower"):
        session.edit(FACTS, monitor=quiet())
    assert session.weights_digest() == digest and session.applied == 0


def test_editors_share_target_search(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alphaedit_core.editing import batch as editing

    searches: list[str] = []
    kept = editing.find_targets

    def counting(*args: Any) -> Any:
        searches.append(args[-1])
        return kept(*args)

    monkeypatch.setattr(editing, "find_targets", counting)
    shared: dict[str, Any] = {}
    digests = {}
    for name in ("alphaedit", "memit", "pmet", "prune"):
        for targets in (shared, None):
            hp = settings(place, name)
            session = EditSession(tiny_model("llama"), None, hp, CONTEXTS[:1], targets)
            session.edit(FACTS, monitor=quiet())
            digests.setdefault(name, set()).add(session.weights_digest())
    assert all(len(found) == 1 for found in digests.values()), "shared or not, the same bits"
    assert searches.count("block") == 1 + 3 and searches.count("attention and mlp") == 2


def test_switching_editors_in_a_session(place: Path) -> None:
    session = new_session(place, "alphaedit")
    session.edit(FACTS[:1], monitor=quiet())
    session.hyperparameters = settings(place, "memit", projection=True, previous_keys=True)
    session.edit(FACTS[1:2], monitor=quiet())
    methods = [entry.hyperparameters.method for entry in session.history]
    assert methods == [
        "alphaedit +projection +previous-keys", "memit +projection +previous-keys",
    ]  # fmt: skip
    session.undo()
    session.redo()
    assert session.weights_digest() == session.history[1].digest
