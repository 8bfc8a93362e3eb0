"""Sessions: every state can be had again bit for bit, and results say what was done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from examples import FACTS, quiet, small
from sessions import (
    CORRECTED,
    STAGES,
    A,
    B,
    C,
    both,
    keys_of,
    new_session,
    same,
    same_keys,
    weights,
)
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Superseded
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.export.hugging_face import facts_in_model
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.batch_retention import retention


@both
def test_every_state_comes_back_bit_for_bit(place: Path, layout: str, dtype: torch.dtype) -> None:
    session = new_session(place, layout, dtype)
    states = [weights(session.model)]
    digests = [session.weights_digest()]
    for facts in (A, B, C):
        result = session.edit(facts, monitor=quiet())
        assert session.last_result is result
        states.append(weights(session.model))
        digests.append(session.weights_digest())
    assert len(set(digests)) == 4
    assert [entry.digest for entry in session.history] == digests[1:]

    def at(number: int) -> None:
        assert session.history.applied == number
        assert session.weights_digest() == digests[number]
        assert same(weights(session.model), states[number])
        results = [None, *(entry.result for entry in session.history)]
        assert session.last_result is results[number]

    session.undo()
    at(2)
    session.undo()
    at(1)
    session.redo()
    at(2)
    session.redo()
    at(3)
    for number in (0, 3, 1, 1, 2):
        session.restore(number)
        at(number)
    session.reset()
    assert len(session.history) == 0
    at(0)


@both
@pytest.mark.parametrize("undone", [B, (CORRECTED,), (*B, CORRECTED)])
def test_an_edit_that_was_undone_leaves_no_trace(
    place: Path, layout: str, dtype: torch.dtype, undone: tuple[Fact, ...]
) -> None:
    """Edit A, edit B, undo, edit C equals edit A, edit C: also where B took A's keys away."""
    straight, detour = (new_session(place, layout, dtype) for _ in range(2))
    straight.edit(A, monitor=quiet())
    detour.edit(A, monitor=quiet())
    detour.edit(undone, monitor=quiet())
    detour.undo()
    for session in (straight, detour):
        session.edit(C, monitor=quiet())
    assert same(weights(straight.model), weights(detour.model))
    assert straight.weights_digest() == detour.weights_digest()
    assert same_keys(straight, detour)
    assert len(detour.history) == 2
    with pytest.raises(SessionError, match="no undone edit"):
        detour.redo()


def test_the_same_edits_give_the_same_bits(place: Path) -> None:
    first, second = (new_session(place, "gpt2") for _ in range(2))
    for session in (first, second):
        session.edit(FACTS, batch_size=3, monitor=quiet())
    assert first.weights_digest() == second.weights_digest()
    assert same_keys(first, second)


def test_keys_of_earlier_facts_take_part(place: Path) -> None:
    """The second of two edits is another one where the first came before it."""
    alone, after = (new_session(place, ridge=0.01) for _ in range(2))
    after.edit(A, monitor=quiet())
    for session in (alone, after):
        session.edit(B, monitor=quiet())
    change = {session: session.history[-1].batches[0].changes[0] for session in (alone, after)}
    assert not torch.allclose(change[alone].right, change[after].right)


@pytest.mark.parametrize(
    ("first", "second", "stays"),
    [
        (FACTS[0], CORRECTED, False),
        (FACTS[0], Fact("Louvre", "{} is in the city of", "Berlin"), True),
        (FACTS[0], Fact("Eiffel Tower", "{} belongs to", "Berlin"), True),
        (
            FACTS[0].changed(relation="P131"),
            Fact("Eiffel Tower", "{} belongs to", "Berlin", relation="P131"),
            True,
        ),
        (
            FACTS[0].changed(relation="P131"),
            Fact("Eiffel Tower", "{} belongs to", "Oslo", relation="P131", replaces="relation"),
            False,
        ),
        (FACTS[0], CORRECTED.changed(replaces="nothing"), True),
        (FACTS[0].changed(subject="EIFFEL TOWER"), CORRECTED, True),
        (FACTS[0].changed(subject="Straße"), FACTS[0].changed(subject="Strasse"), True),
        (
            FACTS[0].changed(relation="P131"),
            Fact("Louvre", "{} belongs to", "Berlin", relation="P131"),
            True,
        ),
        (
            FACTS[0].changed(relation="P131"),
            Fact("Eiffel Tower", "{} is made of", "water", relation="P186"),
            True,
        ),
    ],
)
def test_a_fact_is_not_protected_against_its_own_correction(
    place: Path, first: Fact, second: Fact, stays: bool
) -> None:
    session = new_session(place)
    session.edit([first, B[0]], monitor=quiet())
    before = keys_of(session)
    result = session.edit([second], monitor=quiet())
    assert result.superseded == ([] if stays else [Superseded(1, first, second)])
    assert ("no longer protected" in repr(result)) is not stays
    assert ("no longer protected" in result._repr_html_()) is not stays
    assert facts_in_model(session) == ([first, B[0], second] if stays else [B[0], second])
    known = [first, B[0], second] if stays else [B[0], second]
    assert keys_of(session)[0][1].tolist() == [int(fact.id, 16) for fact in known]
    session.undo()
    for (name, was), (_, value) in zip(before, keys_of(session), strict=True):
        assert torch.equal(was, value), name
    session.redo()
    assert keys_of(session)[0][1].tolist() == [int(fact.id, 16) for fact in known]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 100])
def test_facts_are_written_batch_after_batch(place: Path, batch_size: int) -> None:
    session = new_session(place)
    result = session.edit(FACTS, batch_size=batch_size, monitor=quiet())
    sizes = [len(batch.facts) for batch in session.history[0].batches]
    assert sizes == [batch_size] * (4 // batch_size) + [4 % batch_size] * (4 % batch_size > 0)
    assert result.batches == [index // batch_size for index in range(4)]
    assert [outcome.fact for outcome in result.outcomes] == list(FACTS)
    assert len(result.writes) == len(result.plans) == len(sizes)
    assert [len(batch) for batch in result.writes] == [2] * len(sizes)
    assert all(
        len(write.key_norm) == n for n, b in zip(sizes, result.writes, strict=True) for write in b
    )

    one_by_one = new_session(place)
    for first in range(0, 4, batch_size):
        one_by_one.edit(FACTS[first : first + batch_size], monitor=quiet())
    assert session.weights_digest() == one_by_one.weights_digest()
    assert same_keys(session, one_by_one)


def test_one_model_has_one_session(place: Path) -> None:
    model = tiny_model()
    before = weights(model)
    first = EditSession(model, hyperparameters=small(place), contexts=())
    first.edit(A, monitor=quiet())
    with pytest.raises(SessionError, match=r"1 edits of another session.*close"):
        EditSession(model, hyperparameters=small(place))
    digest = first.weights_digest()
    first.close()
    assert same(weights(model), before)

    second = EditSession(model, hyperparameters=small(place), contexts=())
    second.edit(A, monitor=quiet())
    assert second.weights_digest() == digest
    state = weights(model)
    first._spectra = None
    first.close()  # once more: the model is not its own any more
    for refused in (
        lambda: first.edit(A, monitor=quiet()),
        first.undo,
        lambda: first.restore(0),
        first.reset,
        lambda: first.spectra(quiet()),
    ):
        with pytest.raises(SessionError, match="closed"):
            refused()
    assert same(weights(model), state)
    assert len(first.history) == 1


def test_what_a_result_holds(place: Path) -> None:
    session = new_session(place)
    result = session.edit(FACTS, monitor=quiet())
    for outcome in result.outcomes:
        assert len(outcome.trace.loss) == 4
        assert outcome.before.true is None or outcome.fact.target_true
        assert (outcome.after.true is None) == (outcome.fact.target_true is None)
        assert outcome.after.new != outcome.before.new
        assert outcome.after.new.nll < outcome.before.new.nll
        assert "".join(outcome.tokens).strip() == outcome.fact.target
        assert 0 < outcome.residual_left < 2
    assert set(STAGES) <= set(session.timings)
    assert session.timings == result.seconds
    assert all(seconds > 0 for seconds in session.timings.values())
    session.undo()
    assert session.last_result is None
    assert session.timings == {}


def test_seconds_are_those_of_one_edit(place: Path) -> None:
    """A monitor that has been used before: its earlier seconds are not counted again."""
    session = new_session(place)
    monitor = quiet()
    first = session.edit(A, monitor=monitor).seconds
    second = session.edit(B, monitor=monitor).seconds
    assert monitor.seconds["target values"] == pytest.approx(
        first["target values"] + second["target values"]
    )
    assert "statistics" not in second  # collected once


def test_contexts_are_sampled_once_and_kept(place: Path) -> None:
    model = tiny_model()
    session = EditSession(model, hyperparameters=small(place, contexts=3))
    contexts = session.contexts
    assert len(contexts) == 3
    session.edit(A, monitor=quiet())
    assert len(session.history[0].result.outcomes[0].trace.loss) > 0
    again = EditSession(tiny_model(), hyperparameters=small(place, contexts=5))
    assert again.contexts[:3] == contexts
    assert EditSession(tiny_model(), hyperparameters=small(place, contexts=0)).contexts == ()


def test_contexts_and_statistics_are_those_of_the_unedited_model(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for after edits were loaded, with nothing in the cache."""
    first = EditSession(tiny_model(), hyperparameters=small(place))
    first.edit(A, monitor=quiet())
    first.save(tmp_path / "kept")
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "empty"))
    loaded = EditSession.load(tmp_path / "kept", tiny_model())
    digest = loaded.weights_digest()
    loaded._contexts = None
    assert loaded.contexts == first.contexts
    spectra = loaded.spectra(quiet())
    assert loaded.weights_digest() == digest
    for layer, spectrum in first.spectra(quiet()).items():
        assert (spectra[layer].eigenvalues == spectrum.eigenvalues).all()
    for session in (first, loaded):
        session.edit(B, monitor=quiet())
    assert first.weights_digest() == loaded.weights_digest()


def test_the_repr_says_where_the_session_stands(place: Path) -> None:
    session = new_session(place)
    assert repr(session) == "EditSession('tiny llama', alphaedit, edits: 0)"
    session.edit(A, monitor=quiet())
    session.edit(B, monitor=quiet())
    session.undo()
    assert repr(session) == "EditSession('tiny llama', alphaedit, edits: 1, 1 undone)"


def test_numbers_of_numpy_and_torch(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    session.edit(FACTS[:2], batch_size=numpy.int64(1), monitor=quiet())  # type: ignore[arg-type]
    assert [len(batch.facts) for batch in session.history[0].batches] == [1, 1]
    digest = session.weights_digest()
    session.restore(numpy.int64(0))  # type: ignore[arg-type]
    with session.at_state(torch.tensor(1)):  # type: ignore[arg-type]
        assert session.weights_digest() == digest
    session.restore(numpy.uint8(1))  # type: ignore[arg-type]
    session.rename(numpy.int32(1), "first")  # type: ignore[arg-type]
    assert session.weights_digest() == digest and type(session.applied) is int
    session.save(tmp_path / "kept")
    states = [numpy.int64(1)]
    assert json.dumps(retention(session, states, quiet()).to_dict()["states"]) == "[1]"  # type: ignore[arg-type]
    for wrong in (1.0, True, "1", None, numpy.bool_(True)):
        with pytest.raises(SessionError, match=r"there is no state .*; give 0 to 1"):
            session.restore(wrong)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="is not a positive number"):
            session.edit(FACTS[2:], batch_size=wrong)  # type: ignore[arg-type]


def test_a_name_that_no_file_could_hold_is_refused(place: Path) -> None:
    session = new_session(place, target_steps=2)
    session.edit(A, monitor=quiet())
    with pytest.raises(InputError, match=r"title .* half a surrogate pair"):
        session.rename(1, "caf\udce9")
    session.rename(1, " a  name ")
    assert session.history[0].title == "a name"
    session.rename(1, "")
    assert session.history[0].title == ""
