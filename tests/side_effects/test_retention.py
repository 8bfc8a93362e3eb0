"""Retention: every cell against a session with only the edits up to that state."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from commands import Workplace
from examples import CONTEXTS, FACTS, quiet, small
from tiny import CORPUS, tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects import batch_retention
from alphaedit_core.side_effects.batch_retention import (
    BatchName,
    BatchRetention,
    Retention,
    retention,
    surviving_facts,
)

TOWER, NEWTON, TOKYO, GERMANY = FACTS
MORE = [
    Fact("The Louvre", "{} stands in", "Berlin", "Paris"),
    Fact("Rome", "{} is the capital of", "Germany", "Italy"),
]
#: The fact on the tower with another target, which supersedes the first one.
AGAIN = TOWER.changed(target="Berlin")


@cache
def known_facts() -> list[Fact]:
    """Return facts that the unedited tiny model answers; it is too small to learn others."""
    model, facts = tiny_model("llama"), []
    for word in dict.fromkeys(" ".join(CORPUS[:5]).split()):
        for prompt in ("{} is", "{} and the", "I know that {}"):
            text = prompt.replace("{}", word)
            target = generate_greedy(model, [text], 1)[0].strip()
            if target.isalpha() and target_logprobs(model, [(text, target)])[0].exact:
                facts.append(Fact(word, prompt, target))
    return facts


def edits() -> list[tuple[list[Fact], int]]:
    """Return the facts and the batch size of each edit; the second edit has two batches."""
    return [
        ([TOWER, NEWTON, *known_facts()[:4]], 6),
        ([TOKYO, GERMANY, MORE[0], known_facts()[4], MORE[1]], 4),
        ([AGAIN], 1),
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("retention")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def edited(place: Path, count: int) -> EditSession:
    """Return a new session with the first ``count`` edits, which partly overwrite each other."""
    hp = small(place, ridge=0.01, target_steps=12, clamp_norm_factor=3.0, previous_keys=False)
    session = EditSession(tiny_model("llama"), hyperparameters=hp, contexts=CONTEXTS[:1])
    for facts, size in edits()[:count]:
        session.edit(facts, size, quiet())
    return session


@pytest.fixture(scope="module")
def session(place: Path) -> EditSession:
    return edited(place, 3)


@pytest.fixture(scope="module")
def found(session: EditSession) -> Retention:
    return retention(session, monitor=quiet())


def plain(session: EditSession, facts: list[Fact]) -> BatchRetention:
    """Measure one prompt and one target at a time in the current model."""
    rated, exact = [], []
    for fact in facts:
        [new] = target_logprobs(session.model, [(fact.text, fact.target)])
        exact.append(new.exact)
        if fact.target_true is not None:
            [true] = target_logprobs(session.model, [(fact.text, fact.target_true)])
            rated.append(new.nll < true.nll)
    return BatchRetention(
        facts=len(facts), rated=len(rated),
        efficacy=100 * sum(rated) / len(rated) if rated else None,
        exact=100 * sum(exact) / len(exact) if exact else None,
    )  # fmt: skip


def test_every_cell_equals_that_of_a_session_with_only_those_edits(
    place: Path, found: Retention
) -> None:
    assert found.states == (1, 2, 3)
    assert list(map(str, found.batches)) == ["1.1", "2.1", "2.2", "3.1"]
    first, second, third = (
        [NEWTON, *known_facts()[:4]],
        [TOKYO, GERMANY, MORE[0], known_facts()[4]],
        [MORE[1]],
    )
    counting = {
        1: [[TOWER, *first]],
        2: [[TOWER, *first], second, third],
        3: [first, second, third, [AGAIN]],
    }
    values: set[float | None] = set()
    for at, number in enumerate(found.states):
        alone = edited(place, number)
        expected = [plain(alone, facts) for facts in counting[number]]
        column = [row[at] for row in found.cells]
        assert column == expected + [None] * (4 - len(expected))
        values |= {one.exact for one in expected}
    assert len(values) > 1, "some facts must be kept and some lost"


def test_weight_changes_equal_those_in_the_model(session: EditSession, found: Retention) -> None:
    with session.at_state(0):
        original = {n: session.model.architecture.matrix(n).clone() for n in (0, 1)}
    for at, number in enumerate(found.states):
        with session.at_state(number):
            for layer, matrix in original.items():
                change = session.model.architecture.matrix(layer) - matrix
                share = float(change.norm() / matrix.norm())
                assert found.weights[at][layer] == pytest.approx(share, rel=1e-4)


def test_each_prompt_and_target_is_scored_once_per_state(
    session: EditSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[tuple[str, str]]] = []

    def counted(model: Any, pairs: list[tuple[str, str]], **options: Any) -> Any:
        asked.append(pairs)
        return target_logprobs(model, pairs, **options)

    monkeypatch.setattr(batch_retention, "target_logprobs", counted)
    retention(session, [2, 3], quiet())
    assert [len(pairs) for pairs in asked] == [16, 16]
    assert all(len(set(pairs)) == len(pairs) for pairs in asked)
    assert (TOWER.text, TOWER.target) in asked[0]
    assert (TOWER.text, TOWER.target) not in asked[1]


def test_some_states_are_columns_of_all(session: EditSession, found: Retention) -> None:
    part = retention(session, [3, 1, 3], quiet())
    assert part.states == (1, 3)
    assert part.cells == tuple((row[0], row[2]) for row in found.cells)
    first = retention(session, [1], quiet())
    assert (first.batches, first.cells) == (found.batches[:1], ((found.cells[0][0],),))


def test_undone_edits_are_measured_on_request(place: Path, found: Retention) -> None:
    session = edited(place, 3)
    session.restore(1)
    digest = session.weights_digest()
    assert retention(session, monitor=quiet()).states == (1,)
    assert retention(session, [1, 2, 3], quiet()) == found
    assert (session.weights_digest(), session.applied) == (digest, 1)
    session.restore(0)
    with pytest.raises(SessionError, match="the session has no applied edits"):
        retention(session, monitor=quiet())
    for states, message in (([0], "no state 0"), ([4], "no state 4 .* 1 to 3")):
        with pytest.raises(SessionError, match=message):
            retention(session, states, quiet())
    with pytest.raises(InputError, match="states is empty"):
        retention(session, [], quiet())


class Wrote:
    """A batch of facts, with the positions of those that it superseded."""

    def __init__(self, facts: list[Fact], superseded: tuple[int, ...] = ()) -> None:
        self.facts, self.superseded = facts, superseded


def test_superseded_facts() -> None:
    born = Fact("Newton", "{} was born in", "Japan", relation="P19")
    home = Fact("Newton ", "The birthplace of {} is", "Italy", relation="P19", replaces="relation")
    other = Fact("Tokyo", "{} lies in", "Italy", relation="P19")
    there = CurrentFacts([Wrote([born, other])])
    assert there.replaced_by([home]) == (0,) and there.replaced_by([other]) == (1,)
    assert there.replaced_by([home.changed(replaces="prompt")]) == ()
    assert there.replaced_by([born.changed(subject=" Newton", target="Oslo"), other]) == (0, 1)
    assert there.replaced_by([born.changed(subject="NEWTON")]) == ()
    batches = [Wrote([born, other]), Wrote([home], (0,)), Wrote([]), Wrote([other], (1,))]
    assert surviving_facts(batches) == [[], [home], [], [other]]
    assert CurrentFacts(batches).facts == [home, other]
    assert surviving_facts([]) == []


def a_cell(
    efficacy: float | None, exact: float | None, facts: int = 2, rated: int = 2
) -> BatchRetention:
    return BatchRetention(facts=facts, rated=rated, efficacy=efficacy, exact=exact)


def example() -> Retention:
    """Return a retention of two states by hand; the third batch has no facts left."""
    return Retention(
        states=(1, 4),
        batches=(
            BatchName(edit=1, batch=1, facts=2),
            BatchName(edit=3, batch=2, facts=4),
            BatchName(edit=4, batch=1, facts=1),
        ),
        cells=(
            (a_cell(100.0, 50.0), a_cell(0.0, 0.0, 2, 1)),
            (None, a_cell(50.0, 75.0, 4, 4)),
            (None, a_cell(None, None, 0, 0)),
        ),
        weights=({3: 0.01, 4: 0.02}, {3: 0.1, 4: 0.05}),
    )


def test_batches_are_weighted_by_their_number_of_facts() -> None:
    assert example().overall("exact") == [50.0, pytest.approx((2 * 0 + 4 * 75) / 6)]
    assert example().overall("efficacy") == [100.0, pytest.approx((1 * 0 + 4 * 50) / 5)]
    assert example().matrix() == [[50.0, 0.0], [None, 75.0], [None, None]]
    none = dataclasses.replace(example(), cells=((a_cell(None, None, 0, 0),) * 2,) * 3)
    assert none.overall() == [None, None]


def test_the_table_and_the_figure_have_the_numbers() -> None:
    assert example().rows() == [
        ("1.1", "2", "100 / 50", "0 / 0"),
        ("3.2", "4", "", "50 / 75"),
        ("4.1", "1", "", "n/a"),
        ("all", "7", "100 / 50", "40 / 50"),
        ("largest |ΔW| / |W|", "", "2.00%", "10.00%"),
    ]
    assert repr(example()).splitlines()[0].split("  ")[-1] == "after edit 4"
    html = example()._repr_html_()
    assert "NLL(new) &lt; NLL(true)" in html and "Meng et al. 2022" in html
    alt = re.search(r'<img alt="([^"]*)"', html)
    assert alt and "3 batches in 2 states, edits 1 to 4" in alt[1]
    assert "exact 50 % in the first of these states and 50 % in the last" in alt[1]
    assert "first batch: 50 %" in alt[1] and "at most 10.0%" in alt[1]
    assert html == example()._repr_html_()


def test_html_has_the_last_states_and_rows_has_all() -> None:
    states = tuple(range(1, 31))
    cells = tuple(
        tuple(a_cell(100.0 - row, 90.0) if state > row else None for state in states)
        for row in range(30)
    )
    names = tuple(BatchName(edit=n, batch=1, facts=2) for n in states)
    many = Retention(
        states=states, batches=names, cells=cells, weights=tuple({0: 0.01 * n} for n in states)
    )
    html = many._repr_html_()
    assert "the last 20 of 30 states" in html
    assert "after edit 11<" in html and "after edit 10<" not in html
    assert len(many.rows()[0]) == 32


def test_json_has_all_numbers(found: Retention) -> None:
    data = example().to_dict()
    assert data["exact"] == {"matrix": example().matrix(), "all": [50.0, 50.0]}
    assert data["facts"] == [[2, 2], [None, 4], [None, 0]] and data["rated"][0] == [2, 1]
    assert data["batches"][1] == {"edit": 3, "batch": 2, "facts": 4}
    assert data["weights"][1] == {"3": 0.1, "4": 0.05}
    assert all(value == value for row in found.matrix("efficacy") for value in row)


def test_cancel_stops_and_changes_nothing(session: EditSession) -> None:
    digest, stop = session.weights_digest(), threading.Event()

    def show(stage: Any, *, closed: bool) -> None:
        if stage.name == "retention" and stage.done == 1:
            stop.set()

    with pytest.raises(Canceled):
        retention(session, monitor=Monitor(show, stop))
    assert session.weights_digest() == digest


class TestCommand:
    @pytest.fixture
    def place(self, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
        return Workplace(tmp_path / "place", capsys)

    def test_a_saved_session_is_measured(self, place: Workplace) -> None:
        folder = place.folder / "s"
        place.edit(place.facts_file("a.json", TOWER, NEWTON), "--session", folder)
        place.run("edit", place.facts_file("b.json", TOKYO), "--session", folder)
        loaded = EditSession.load(folder, monitor=quiet())
        expected = retention(loaded, monitor=quiet())
        data = place.run("retention", folder, "--json").json
        assert data["exact"] == expected.to_dict()["exact"] and data["states"] == [1, 2]
        assert data["session"] == str(folder) and "retention" in data["seconds"]
        ran = place.run("retention", folder, "--states", "2")
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.splitlines()[0].split("  ")[-1].strip() == "after edit 2"
        assert "efficacy / exact" in ran.out

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--states", "3"], "there is no state 3 with facts; it has 1 edits, 1 applied"),
            (["--states", "0"], "there is no state 0"),
            (["--states", "2-1"], '"2-1" names no states'),
            (["--states", "x"], '"x" names no states; give numbers of edits'),
        ],
    )
    def test_missing_states_are_refused(
        self, place: Workplace, more: list[str], message: str
    ) -> None:
        folder = place.folder / "s"
        place.edit(place.facts_file("a.json", TOWER), "--session", folder)
        ran = place.run("retention", folder, *more)
        assert ran.code == 2 and message in ran.err and ran.err.count("\n") == 1
        assert "holds no saved session" in place.run("retention", place.folder / "none").err
