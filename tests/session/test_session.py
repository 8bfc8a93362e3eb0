"""Sessions: every state can be had again bit for bit, and what fails changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Superseded
from alphaedit_core.editing import closed_form
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.errors import Cancelled, FingerprintError, InputError, SessionError
from alphaedit_core.export.hugging_face import facts_in_model
from alphaedit_core.inference.completions import complete
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session import edit_runner, outcomes
from alphaedit_core.session import files as ledger
from alphaedit_core.session import session as session_module
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.retention import retention
from alphaedit_core.storage.files import read_json

A, B, C = FACTS[:1], FACTS[1:3], FACTS[3:]
#: The same subject and prompt as A says, and another target.
CORRECTED = Fact("Eiffel  Tower", "{} is in the  city of", "Berlin")

#: Conv1D and Linear, wide weights and narrow ones.
MODELS = [("gpt2", torch.float32), ("llama", torch.bfloat16), ("gemma3", torch.float32)]
both = pytest.mark.parametrize(("layout", "dtype"), MODELS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the text and a cache that the tests of this file share."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        # Half of an edit's time here would be completions; two tokens of each will do.
        patch.setattr(outcomes, "complete", partial(complete, tokens=2))
        yield folder


def new_session(
    place: Path, layout: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any
) -> EditSession:
    return EditSession(
        tiny_model(layout, dtype=dtype),
        hyperparameters=small(place, **changes),
        contexts=CONTEXTS[:1],
    )


def weights(model: EditableModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def keys_of(session: EditSession) -> list[tuple[str, torch.Tensor]]:
    """Everything that later edits know of earlier ones."""
    session._prepare(quiet())
    memory = session._runner.memory
    assert memory is not None
    names = [fact.id for fact in memory.facts]
    state = [("facts", torch.tensor([int(name, 16) for name in names]))]
    for layer, keys in memory.by_layer.items():
        state += [(f"{layer} columns", keys.columns), (f"{layer} gram", keys.gram)]
    return state


def same_keys(one: EditSession, other: EditSession) -> bool:
    pairs = zip(keys_of(one), keys_of(other), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


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


def without_superseded(folder: Path) -> None:
    """Make a saved session one that was written before edits kept what they superseded."""
    manifest = ledger.load_manifest(folder)
    for named in manifest["entries"]:
        record = read_json(folder / named["record"])
        del record["result"]["superseded"]
        for batch in record["batches"]:
            del batch["superseded"]
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        named["sha256"] = sha256(text.encode()).hexdigest()
        (folder / named["record"]).write_text(text, "utf-8")
    ledger._write_manifest(folder, manifest)


def test_an_old_session_holds_the_keys_it_was_made_with(place: Path, tmp_path: Path) -> None:
    """Capitals were folded then, and one relation id was one thing; edits from now on differ."""
    lies, near = (
        Fact("Louvre", prompt, to, relation="P131")
        for prompt, to in (("{} lies in", "Oslo"), ("{} is near", "Rome"))
    )
    capitals = CORRECTED.changed(subject="EIFFEL TOWER")
    session = new_session(place)
    for facts in ([A[0], lies], [capitals, near], [CORRECTED.changed(subject="eiffel tower")]):
        session.edit(facts, monitor=quiet())
    session.save(tmp_path / "new")
    assert [len(entry.result.superseded) for entry in session.history] == [0, 0, 0]
    session.save(tmp_path / "old")
    without_superseded(tmp_path / "old")
    session.close()
    loaded = EditSession.load(tmp_path / "new", session.model)
    assert same_keys(loaded, session)
    loaded.close()
    old = EditSession.load(tmp_path / "old", session.model)
    assert old.weights_digest() == session.history[-1].digest
    assert held(old) == [near, old.history[2].facts[0]]
    assert [one.superseded for one in (entry.result for entry in old.history)] == [
        [],
        [Superseded(1, A[0], capitals), Superseded(1, lies, near)],
        [Superseded(2, capitals, old.history[2].facts[0])],
    ]
    old.restore(1)
    assert held(old) == [A[0], lies]
    old.restore(3)
    result = old.edit([lies.changed(subject="louvre")], monitor=quiet())
    assert result.superseded == []
    assert len(held(old)) == 3


def test_an_old_session_says_in_which_order_rect_made_its_edits(
    place: Path, tmp_path: Path
) -> None:
    """rect masked layer by layer then; what it is now called says so."""
    session = new_session(place, editor="rect-by-layer", projection=False, previous_keys=False)
    session.edit([A[0]], monitor=quiet())
    session.save(tmp_path / "old")
    session.close()
    as_rect(tmp_path / "old")
    kept = EditSession.load(tmp_path / "old", session.model)
    assert kept.history[0].hyperparameters.editor == "rect", "what says what it superseded is new"
    kept.close()
    without_superseded(tmp_path / "old")
    old = EditSession.load(tmp_path / "old", session.model)
    assert old.history[0].hyperparameters.editor == "rect-by-layer"
    assert "rect-by-layer" in old.history[0].hyperparameters.method
    assert old.weights_digest() == session.history[0].digest
    assert old.hyperparameters.editor == "rect", "what is written from now on, as published"
    old.close()


def as_rect(folder: Path) -> None:
    """Make the edits of a saved session ones that say that rect made them."""
    manifest = ledger.load_manifest(folder)
    manifest["editor"] = manifest["hyperparameters"]["editor"] = "rect"
    for named in manifest["entries"]:
        record = read_json(folder / named["record"])
        record["hyperparameters"]["editor"] = "rect"
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        named["sha256"] = sha256(text.encode()).hexdigest()
        (folder / named["record"]).write_text(text, "utf-8")
    ledger._write_manifest(folder, manifest)


def held(session: EditSession) -> list[Fact]:
    session._prepare(quiet())
    assert session._runner.memory is not None
    assert session._runner.memory.facts == facts_in_model(session)
    return session._runner.memory.facts


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


@both
@pytest.mark.parametrize("state", ["applied", "undone"])
def test_saving_and_loading_changes_nothing(
    place: Path, tmp_path: Path, layout: str, dtype: torch.dtype, state: str
) -> None:
    session = new_session(place, layout, dtype)
    session.edit(FACTS[:3], batch_size=2, monitor=quiet())
    session.edit([CORRECTED], monitor=quiet())
    session.restore({"applied": 2, "undone": 1}[state])
    session.save(tmp_path / "kept")
    model = tiny_model(layout, dtype=dtype)
    loaded = EditSession.load(tmp_path / "kept", model)

    assert loaded.weights_digest() == session.weights_digest()
    assert same(weights(model), weights(session.model))
    assert same_keys(session, loaded)
    assert loaded.contexts == session.contexts
    assert loaded.hyperparameters == session.hyperparameters
    assert loaded.history.rows() == session.history.rows()
    for ours, theirs in zip(session.history, loaded.history, strict=True):
        assert theirs.result == ours.result
        assert theirs.facts == ours.facts
    if state == "undone":
        for both_ in (session, loaded):
            both_.redo()
        assert same(weights(model), weights(session.model))
    for both_ in (session, loaded):
        both_.edit(C, monitor=quiet())
    assert same(weights(model), weights(session.model))
    assert same_keys(session, loaded)
    loaded.restore(0)
    assert same(weights(model), weights(tiny_model(layout, dtype=dtype)))


def test_loading_the_model_that_a_session_names(place: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.model.save_pretrained(tmp_path / "model")
    model.tokenizer.save_pretrained(tmp_path / "model")
    model.name = str(tmp_path / "model")
    session = EditSession(model, hyperparameters=small(place), contexts=())
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    loaded = EditSession.load(tmp_path / "kept", monitor=quiet())
    assert loaded.model is not model
    assert loaded.weights_digest() == session.weights_digest()


def test_loading_into_another_model_is_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    for other in (tiny_model(seed=1), tiny_model(dtype=torch.float64), tiny_model("gpt2")):
        before = weights(other)
        with pytest.raises(FingerprintError) as refusal:
            EditSession.load(tmp_path / "kept", other)
        assert session.model.fingerprint in str(refusal.value)
        assert other.fingerprint in str(refusal.value)
        assert same(weights(other), before)
        assert other.holder is None


def test_loading_over_edits_of_another_session_is_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.save(tmp_path / "kept")
    digest = session.weights_digest()
    with pytest.raises(SessionError, match="another session"):
        EditSession.load(tmp_path / "kept", session.model)
    assert session.weights_digest() == digest
    session.close()
    assert EditSession.load(tmp_path / "kept", session.model).weights_digest() == digest


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


class Failure(Exception):
    pass


def assert_untouched(
    session: EditSession, place: Path, fail: Callable[[], None], error: type[BaseException]
) -> None:
    """After B fails on top of A the session is as it was, and C comes out as without the try."""
    history, digest, state = session.history, session.weights_digest(), weights(session.model)
    with pytest.raises(error):
        fail()
    assert session.history == history
    assert session.weights_digest() == digest
    assert same(weights(session.model), state)


STAGES = ("before", "target values", "keys and update", "after")


@pytest.mark.parametrize(("layout", "dtype"), MODELS[:2])
def test_a_cancelled_edit_changes_nothing(place: Path, layout: str, dtype: torch.dtype) -> None:
    """Cancelled at the first, the last and many other of the points where it can be."""
    expected = new_session(place, layout, dtype, steps=2)
    expected.edit(A, monitor=quiet())
    checks: list[str] = []

    class Counting(Monitor):
        def check(self) -> None:
            checks.append(self._stage.name if self._stage else "")
            super().check()

    expected.edit(FACTS[1:3], batch_size=1, monitor=Counting(None))
    expected.undo()
    assert set(STAGES) <= set(checks)
    # In every stage the first, the middle and the last check.
    points = set()
    for stage in STAGES:
        own = [index for index, name in enumerate(checks) if name == stage]
        points |= {own[0], own[len(own) // 2], own[-1]}

    session = new_session(place, layout, dtype, steps=2)
    session.edit(A, monitor=quiet())
    for point in sorted(points):
        left = point

        def cancel() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        def edit(cancel: Callable[[], bool] = cancel) -> None:
            session.edit(FACTS[1:3], batch_size=1, monitor=Monitor(None, cancel))

        assert_untouched(session, place, edit, Cancelled)
    for one in (expected, session):
        one.edit(C, monitor=quiet())
    assert session.weights_digest() == expected.weights_digest()
    assert same_keys(session, expected)


@pytest.mark.parametrize(
    ("owner", "name", "call", "error"),
    [
        (edit_runner, "write_batch", 1, Failure),
        (edit_runner, "write_batch", 2, KeyboardInterrupt),
        (EditedWeights, "add", 1, Failure),
        (EditedWeights, "add", 2, KeyboardInterrupt),
        (EditedWeights, "add", 4, torch.OutOfMemoryError),
        (session_module, "observe", 1, Failure),
        (session_module, "observe", 2, KeyboardInterrupt),
        (session_module, "_kept", 2, torch.OutOfMemoryError),
        (session_module, "_result", 1, Failure),
        (EditedWeights, "digest", 1, KeyboardInterrupt),
    ],
)
def test_an_edit_that_fails_changes_nothing(
    place: Path,
    owner: Any,
    name: str,
    call: int,
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, session = (new_session(place, "gpt2", steps=2) for _ in range(2))
    for one in (expected, session):
        one.edit(A, monitor=quiet())
    original, calls = getattr(owner, name), 0

    def failing(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        done = original(*args, **options)
        if calls == call:
            raise error
        return done

    def edit() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, failing)
            session.edit(B, batch_size=1, monitor=quiet())

    assert_untouched(session, place, edit, error)
    assert calls == call
    for one in (expected, session):
        one.edit(C, monitor=quiet())
    assert session.weights_digest() == expected.weights_digest()
    assert same_keys(session, expected)


def test_a_restore_that_fails_changes_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = new_session(place)
    session.edit(A, monitor=quiet())
    session.edit(B, monitor=quiet())
    put, calls = EditedWeights._put, 0

    def failing(self: EditedWeights, layer: int, master: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        put(self, layer, master)

    monkeypatch.setattr(EditedWeights, "_put", failing)
    assert_untouched(session, place, session.undo, KeyboardInterrupt)


def test_requests_that_make_no_sense_are_refused(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    for refused, words in (
        (session.undo, "no edit to undo"),
        (session.redo, "no undone edit"),
        (lambda: session.restore(1), "no state 1; give 0 to 0"),
        (lambda: session.restore(-1), "no state -1"),
    ):
        with pytest.raises(SessionError, match=words):
            refused()
    for size in (0, -1, 1.5, None):
        with pytest.raises(InputError, match="batch size"):
            session.edit(A, batch_size=size)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="empty"):
        session.edit([])
    with pytest.raises(InputError, match="targets"):
        session.edit([A[0], CORRECTED])
    with pytest.raises(InputError, match="layers"):
        new_session(place, layers=(1, 3))
    with pytest.raises(InputError, match="editor"):
        EditSession(tiny_model(), "nobody", small(place))
    with pytest.raises(InputError, match="no saved session"):
        EditSession.load(tmp_path / "nowhere", tiny_model())
    assert len(session.history) == 0


def test_a_threshold_that_keeps_nothing_is_refused_before_any_work(place: Path) -> None:
    session = new_session(place, threshold="rank:0")
    before = weights(session.model)
    with pytest.raises(SessionError, match=r"layer 0: no direction.*raise it"):
        session.edit(A, monitor=quiet())
    assert same(weights(session.model), before)


def test_a_threshold_that_keeps_everything_is_said(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = new_session(place, threshold="rank:48")
    session.edit(A, monitor=quiet())
    assert "nothing is protected" in caplog.text


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
    with session.at(torch.tensor(1)):  # type: ignore[arg-type]
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
    session = new_session(place, steps=2)
    session.edit(A, monitor=quiet())
    with pytest.raises(InputError, match=r"title .* half a surrogate pair"):
        session.rename(1, "caf\udce9")
    session.rename(1, " a  name ")
    assert session.history[0].title == "a name"
    session.rename(1, "")
    assert session.history[0].title == ""


def test_a_solve_that_rounding_leaves_without_a_factor_is_refused_in_words() -> None:
    """As that of facts with one key, where ridge is lost beside it."""
    system = torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(SessionError, match="raise ridge or covariance_weight"):
        closed_form._factor(system, -1e-9)
