"""General ability before and after edits, and the command ``alphaedit ability``."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ability_task_files import LONG
from commands import Workplace
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.ability import ability_of_states, measure_ability
from alphaedit_core.side_effects.ability_tasks import read_tasks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ability")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def test_each_state_is_measured_with_its_own_weights(place: Path, folder: Path) -> None:
    hp = small(place, ridge=0.01, target_steps=12, clamp_norm_factor=3.0)
    session = EditSession(tiny_model(seed=1, **LONG), hyperparameters=hp, contexts=CONTEXTS[:1])
    tasks = read_tasks(folder, 6, 1)
    before = measure_ability(session.model, tasks, quiet())
    session.edit(FACTS[:2], monitor=quiet())
    after = measure_ability(session.model, tasks, quiet())
    session.undo()
    digest = session.weights_digest()
    found = ability_of_states(session, tasks, [0, 1], quiet())
    assert found == {0: before, 1: after} and before != after
    assert session.weights_digest() == digest
    with pytest.raises(SessionError, match="no state 2; give 0 to 1"):
        ability_of_states(session, tasks, [0, 2], quiet())
    stop = threading.Event()

    def show(stage: Any, *, closed: bool) -> None:
        if stage.name == "states" and stage.done == 1:
            stop.set()

    with pytest.raises(Canceled):
        ability_of_states(session, tasks, [1, 0], Monitor(show, stop))
    assert session.weights_digest() == digest


class TestCommand:
    @pytest.fixture
    def work(self, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
        return Workplace(tmp_path / "work", capsys)

    def test_of_a_model_and_of_a_session(self, work: Workplace, folder: Path) -> None:
        how = ("--tasks", "rte, sst2", "--limit", 6, "--shots", 1)
        report = work.run("ability", folder, "--model", work.model, *how, "--json").json
        [state] = report["states"]
        assert (state["edits"], list(state["tasks"])) == (0, ["sst2", "rte"])
        assert (report["limit"], report["shots"], report["session"]) == (6, 1, None)
        kept = work.folder / "s"
        work.edit(work.facts, "--session", kept)
        both = work.run("ability", folder, "--session", kept, *how, "--json").json["states"]
        assert [one["edits"] for one in both] == [0, 1]
        assert both[0] == state
        ran = work.run("ability", folder, "--session", kept, *how, "--states", "1")
        assert (ran.code, ran.err) == (0, "")
        rows = [line.split()[:2] for line in ran.out.splitlines()[2:5]]
        assert rows == [["1", "SST-2"], ["1", "RTE"], ["1", "mean"]]

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--tasks", ","], '--tasks "," names none; give for example sst2,mmlu'),
            (["--tasks", "glue"], 'task "glue" is not known'),
            (["--states", "1"], "--states needs a session; add --session"),
            (["--shots", "-1"], '"-1" is not a whole number'),
            (["--limit", "0"], '"0" is not a whole number above 0'),
            (["--shots", "12"], "too few for 12 examples"),
        ],
    )
    def test_invalid_arguments_are_refused_in_one_line(
        self, work: Workplace, folder: Path, more: list[str], message: str
    ) -> None:
        ran = work.run("ability", folder, "--model", work.folder / "no model", *more)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err and ran.err.count("\n") == 1
