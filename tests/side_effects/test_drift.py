"""Drift: every number against a plain computation, exact zeros, and restored weights."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import WINDOW, prose, tiny_model

from alphaedit_core.covariance.collect import pack
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects import drift as drift_module
from alphaedit_core.side_effects.drift import (
    BANDS,
    PROBE,
    WINDOWS,
    Drift,
    DriftTracker,
    default_probe,
    measure,
    neighbors_of,
    outside_share,
    weight_changes,
)
from alphaedit_core.side_effects.drift_figure import drift_columns, drift_html, limits, reason
from alphaedit_core.side_effects.text_divergence import compare_outputs

NEIGHBORS = (
    "The Louvre is in the city of",
    "Rome is the capital of",
    "Tokyo is in",
    "Berlin is the capital of",
)
A = Fact("Eiffel Tower", "{} is in the city of", "Rome in Italy", "Paris", neighbors=NEIGHBORS)
B = FACTS[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("drift")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture(scope="module")
def probe(place: Path) -> str:
    file = place / "probe.txt"
    file.write_text(prose(800, seed=7), encoding="utf-8")
    return str(file)


def new_session(place: Path, layout: str = "llama", **changes: object) -> EditSession:
    """Return a session with a small ridge and many steps, whose edits change even a tiny model."""
    hp = small(place, **{"ridge": 0.01, "steps": 12, "clamp_norm_factor": 3.0, **changes})
    return EditSession(tiny_model(layout), hyperparameters=hp, contexts=CONTEXTS[:1])


@pytest.fixture(scope="module")
def session(place: Path) -> EditSession:
    """A session with two applied edits, which no test changes."""
    made = new_session(place, "gpt2")
    made.edit([A], monitor=quiet())
    made.edit([B], monitor=quiet())
    return made


@torch.no_grad()
def plain(session: EditSession, number: int, rows: list[list[int]]) -> torch.Tensor:
    """Return log-probabilities of the model's own forward pass, (rows, tokens, vocabulary)."""
    with session.at_state(number):
        return session.model.model(input_ids=torch.tensor(rows)).logits.log_softmax(dim=-1)


def test_numbers_on_text_are_those_of_the_plain_model(session: EditSession, probe: str) -> None:
    measured = measure(session, 2, quiet(), probe)
    text = [Path(probe).read_text(encoding="utf-8")]
    rows = list(pack(text, session.model, WINDOW, WINDOWS * WINDOW))
    assert len(rows) == WINDOWS
    p, q = (plain(session, number, rows)[:, :-1] for number in (0, 2))
    kl = (p.exp() * (p - q)).sum(dim=-1).mean()
    assert measured.kl == pytest.approx(float(kl), rel=1e-3)
    assert measured.kl > 1e-3, "the edit must have an effect"
    differing = (p.argmax(-1) != q.argmax(-1)).float().mean()
    assert measured.disagreement == pytest.approx(float(differing), abs=1e-6)
    labels = torch.tensor(rows)[:, 1:, None]
    before, after = (float((-x.gather(2, labels)).mean().exp()) for x in (p, q))
    assert measured.perplexity_before == pytest.approx(before, rel=1e-5)
    assert measured.perplexity_after == pytest.approx(after, rel=1e-5)
    assert measured.perplexity_change == pytest.approx(after / before - 1, rel=1e-3)


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_weight_changes_equal_those_of_the_matrices_in_the_model(place: Path, layout: str) -> None:
    session = new_session(place, layout)
    original = {n: session.model.architecture.matrix(n).clone() for n in (0, 1)}
    for fact in (A, B):
        session.edit([fact], monitor=quiet())
    found = weight_changes(session.history.entries)
    assert set(found) == {0, 1}
    for layer, matrix in original.items():
        change = session.model.architecture.matrix(layer) - matrix
        assert found[layer] == pytest.approx(float(change.norm() / matrix.norm()), rel=1e-4)


def test_more_facts_than_rows_give_the_same_norm(session: EditSession) -> None:
    """With many facts, the norm is computed in another way."""
    entries = session.history.entries
    many = [dataclasses.replace(e, batches=e.batches * 40) for e in entries]
    few, more = weight_changes(entries), weight_changes(many)
    assert 40 * len(entries) > len(session.model.architecture.matrix(0))
    assert more == pytest.approx({layer: 40 * share for layer, share in few.items()}, rel=1e-5)


def test_neighbors_with_another_next_token_are_counted(session: EditSession, probe: str) -> None:
    measured = measure(session, 2, quiet(), probe)

    def tops(number: int) -> list[int]:
        rows = [encode(session.model.tokenizer, prompt)[0] for prompt in NEIGHBORS]
        return [int(plain(session, number, [row])[0, -1].argmax()) for row in rows]

    changed = sum(a != b for a, b in zip(tops(0), tops(2), strict=True))
    assert measured.neighbors == 4
    assert measured.neighbors_changed == changed / 4
    assert measured.locality == 1 - changed / 4


def test_a_changed_neighbor_is_counted(
    session: EditSession, probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([[1, 2, 3, 4], [1, 2, 9, 4]])
    monkeypatch.setattr(drift_module, "_next_tokens", lambda *_: next(answers))
    measured = measure(session, 1, quiet(), probe)
    assert (measured.neighbors_changed, measured.locality) == (0.25, 0.75)


def test_a_neighbor_that_is_itself_edited_is_left_out(session: EditSession) -> None:
    entry = session.history[0]
    louvre = Fact("The Louvre", "{} is in the city of", "Rome")
    other = dataclasses.replace(
        entry, batches=[dataclasses.replace(entry.batches[0], facts=[louvre])]
    )
    assert neighbors_of([entry]) == list(NEIGHBORS)
    assert neighbors_of([entry, entry]) == list(NEIGHBORS)
    assert neighbors_of([entry, other]) == list(NEIGHBORS[1:])


def test_a_projected_update_stays_in_the_null_space(session: EditSession, probe: str) -> None:
    outside = measure(session, 2, quiet(), probe).outside
    assert outside is not None and outside < 1e-5


def test_the_share_outside_equals_that_of_dense_matrices(session: EditSession) -> None:
    spectra = session.spectra(quiet())
    narrow = [
        dataclasses.replace(e, hyperparameters=e.hyperparameters.replace(threshold="rank:8"))
        for e in session.history
    ]
    total_square = outside_square = 0.0
    for layer, spectrum in spectra.items():
        kept = spectrum.vectors(spectrum.size - 8, spectrum.size).double()
        change = sum(
            batch.changes[layer].left.double() @ batch.changes[layer].right.double().T
            for entry in session.history
            for batch in entry.batches
        )
        assert isinstance(change, torch.Tensor)
        total_square += float(change.norm()) ** 2
        outside_square += float((change - change @ kept @ kept.T).norm()) ** 2
    expected = (outside_square / total_square) ** 0.5
    assert 0.05 < expected < 1
    assert outside_share(narrow, spectra) == pytest.approx(expected, rel=1e-4)


def test_each_edit_is_projected_with_its_own_threshold(session: EditSession) -> None:
    first, second = session.history
    hp = second.hyperparameters.replace(threshold="rank:8")
    mixed = [first, dataclasses.replace(second, hyperparameters=hp)]
    spectra = session.spectra(quiet())
    alone = outside_share(mixed[1:], spectra)
    assert 0 < outside_share(mixed, spectra) < alone


def test_without_an_edit_every_number_is_exactly_zero(place: Path, probe: str) -> None:
    session = new_session(place)
    for found in (measure(session, 0, quiet(), probe), DriftTracker(session, probe).known(0)):
        assert found is not None
        assert found.weights == {0: 0.0, 1: 0.0}
        for column in drift_columns([0, 1]):
            assert column.value(found) == 0.0
        assert (found.band, found.locality) == ("ok", 1.0)
    hidden = torch.randn(100, session.model.architecture.hidden_size)
    labels = torch.randint(0, 300, (100,))
    kl, differing, before, after = compare_outputs(session.model, hidden, hidden, labels)
    assert (kl, differing, before - after) == (0.0, 0.0, 0.0)


def test_an_undone_edit_can_be_measured_and_the_weights_are_restored(
    place: Path, probe: str, session: EditSession
) -> None:
    own = new_session(place, "gpt2")
    own.edit([A], monitor=quiet())
    own.edit([B], monitor=quiet())
    own.restore(0)
    digest, applied = own.weights_digest(), own.applied
    measured = measure(own, 2, quiet(), probe)
    assert (own.weights_digest(), own.applied) == (digest, applied)
    assert measured == measure(session, 2, quiet(), probe)


def test_a_state_is_measured_once(
    session: EditSession, probe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drifts = DriftTracker(session, probe)
    assert drifts.known(1) is None
    calls: list[int] = []
    original = drift_module.last_block_outputs

    def counted(*args: object) -> torch.Tensor:
        calls.append(1)
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(drift_module, "last_block_outputs", counted)
    first = drifts.measure(1, quiet())
    assert len(calls) == 2
    session.undo()
    session.redo()
    assert drifts.measure(1, quiet()) is first is drifts.known(1)
    assert len(calls) == 2
    drifts.measure(2, quiet())
    assert len(calls) == 3, "the unedited model runs only once"
    session.rename(1, "A")
    try:
        assert drifts.known(1) is first
    finally:
        session.rename(1, "")


def test_new_neighbors_are_measured_again(place: Path, probe: str) -> None:
    session = new_session(place)
    drifts = DriftTracker(session, probe)
    session.edit([A.changed(neighbors=[])], monitor=quiet())
    digest = session.weights_digest()
    assert drifts.measure(1, quiet()).neighbors_changed is None
    session.undo()
    session.edit([A], monitor=quiet())
    assert session.weights_digest() == digest
    assert drifts.known(1) is None
    assert drifts.measure(1, quiet()).neighbors == 4


def test_cancel_stops_and_changes_nothing(session: EditSession, probe: str) -> None:
    digest, stop, drifts = session.weights_digest(), threading.Event(), DriftTracker(session, probe)

    def show(stage: object, *, closed: bool) -> None:
        if getattr(stage, "done", 0) >= WINDOWS + 2:  # while state 1 is measured
            stop.set()

    with pytest.raises(Canceled):
        drifts.measure(1, Monitor(show, stop))
    assert session.weights_digest() == digest
    assert drifts.known(1) is None
    drifts.measure(1, quiet())


def test_missing_states_and_short_texts_are_refused(session: EditSession, tmp_path: Path) -> None:
    for number in (-1, 3):
        with pytest.raises(SessionError, match="no state"):
            measure(session, number, quiet())
    short = tmp_path / "short.txt"
    short.write_text("Rome is old.", encoding="utf-8")
    with pytest.raises(InputError, match=r"short\.txt.*shorter than one window of 64 tokens"):
        measure(session, 1, quiet(), short)


def test_the_default_probe_is_held_out_unless_the_text_is_a_file(place: Path) -> None:
    session = new_session(place)
    assert default_probe(session.hyperparameters.text) == str(place / "text.txt")
    assert DriftTracker(session).probe == str(place / "text.txt")
    for text in ("wikipedia-sample", "self", "hf:somebody/something"):
        assert default_probe(text) == PROBE


def test_statistics_other_than_those_of_the_edits_are_not_used(place: Path, probe: str) -> None:
    session = new_session(place)
    session.edit([B], monitor=quiet())
    session.hyperparameters = session.hyperparameters.replace(tokens=512)
    assert measure(session, 1, quiet(), probe).outside is None


def a_drift(**fields: object) -> Drift:
    plain = Drift(
        weights={3: 0.01, 4: 0.02},
        kl=0.001,
        disagreement=0.01,
        perplexity_before=40.0,
        perplexity_after=40.4,
        neighbors=10,
        neighbors_changed=0.0,
        outside=0.0,
    )
    return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("weights", lambda v: {"weights": {3: 0.0, 4: v}}),
        ("kl", lambda v: {"kl": v}),
        ("disagreement", lambda v: {"disagreement": v}),
        ("perplexity", lambda v: {"perplexity_after": 40.0 * (1 + v) + 1e-9}),
        ("neighbors", lambda v: {"neighbors_changed": v}),
    ],
)
def test_every_number_has_its_bands(name: str, fields: object) -> None:
    assert callable(fields)
    assert a_drift().band == "ok"
    watch, bad = BANDS[name]
    for value, band in ((0.9 * watch, "ok"), (watch, "watch"), (bad, "bad"), (float("nan"), "bad")):
        drift = a_drift(**fields(value))
        assert (drift.bands[name], drift.band) == (band, band)
    scale = 100 if name != "kl" else 1
    assert limits(name) == (scale * watch, scale * bad)


def test_the_reason_names_the_worst_measures() -> None:
    assert reason(a_drift()) == "ok"
    drift = a_drift(kl=0.1, disagreement=0.3)
    assert reason(drift) == "bad: next token differs"
    assert "neighbors" not in a_drift(neighbors_changed=None).bands


def test_columns_are_in_the_unit_of_their_heading() -> None:
    drift = a_drift(outside=None, neighbors_changed=None)
    cells = {column.heading: column.text(drift) for column in drift_columns([3, 4])}
    assert cells["|ΔW|/|W| layer 4, %"] == "2.000"
    assert cells["KL, nats"] == "0.00100"
    assert cells["perplexity change, %"] == "1.000"
    assert cells["neighbors changed, %"] == cells["outside the null space, %"] == "n/a"
    assert drift_columns([3])[0].text(None) == "–"
    assert drift_columns([3])[0].written(-1e-9) == "0.000"


def test_the_figure_has_a_text_alternative() -> None:
    html = drift_html({0: Drift.unchanged([3, 4]), 1: a_drift(), 2: a_drift(kl=0.3)}, 1)
    assert "2 (undone)" in html and "bad: KL" in html
    assert "which the last is 1" in html and "next token differs 1.00 %" in html
    assert 'src="data:image/svg+xml' in html
    assert html == drift_html({0: Drift.unchanged([3, 4]), 1: a_drift(), 2: a_drift(kl=0.3)}, 1)
