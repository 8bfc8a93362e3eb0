"""What is done to a session in a cell, or in another workbench, shows on the screen."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tables import rows_of
from tiny import prose, tiny_model
from traitlets import TraitError

from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.state import State
from alphaedit_widgets.workbench import Workbench


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("following")
    (folder / "probe.txt").write_text(prose(800, seed=7), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_session(place: Path) -> EditSession:
    return EditSession(
        tiny_model("llama"), hyperparameters=small(place, target_steps=2), contexts=CONTEXTS[:1]
    )


def screen(wb: Workbench) -> dict[str, Any]:
    """What a person reads of the state of the session."""
    header = re.sub(r"<[^>]+>", "", wb.header._session_line.value)
    found = re.search(r"edits: (\d+) · (\S+)", header)
    assert found
    return {
        "edits": int(found[1]),
        "status": found[2].removesuffix("memory:"),
        "history": [(row["state"], row["edit"]) for row in rows_of(wb.history.table)],
        "facts": wb.facts_panel.editor.rows[0]["status"],
        "written": re.findall(r'data-testid="run-summary">(\d of \d)', wb.edit._outcome.value),
        "undo": wb.history.undo_button.disabled,
    }


def settle(*states: State) -> None:
    for _ in range(20):  # what one has ended may let another begin
        for state in states:
            assert state.job is None or state.job.wait(20)


def test_what_a_cell_does_is_shown_by_every_workbench(place: Path) -> None:
    session = new_session(place)
    one, other = Workbench(session), Workbench(session)
    for wb in (one, other):
        wb.facts = FACTS[:1]
        wb.compare.on_first_show()

    def both() -> dict[str, Any]:
        settle(one.state, other.state)
        assert screen(one) == screen(other)
        return screen(one)

    before = both()
    assert before["edits"] == 0 and before["facts"] == "ready" and before["undo"]

    session.edit(FACTS[:1], monitor=quiet())
    shown = both()
    assert shown["edits"] == 1 and not shown["undo"] and shown["written"]
    assert shown["history"][0][0] == "current" and len(shown["history"]) == 2
    assert shown["facts"] != "ready"
    for wb in (one, other):
        assert wb.compare.comparison is not None
        assert wb.compare.comparison.after.number == 1
    session.rename(1, "mine")
    assert both()["history"][0][1].endswith("mine")
    session.undo()
    assert both() | {"history": 0} == before | {"history": 0}
    session.redo()
    assert both()["edits"] == 1
    session.restore(0)
    assert both()["edits"] == 0
    session.reset()
    assert both() == before
    assert one.state.failure is None and other.state.failure is None


def test_what_one_workbench_does_is_shown_by_the_other(place: Path) -> None:
    session = new_session(place)
    one, other = Workbench(session), Workbench(session)
    one.facts = other.facts = FACTS[:1]
    one.edit.run(block=True)
    settle(one.state, other.state)
    assert screen(one) == screen(other) and screen(other)["edits"] == 1
    other.history.undo()
    assert screen(one) == screen(other) and screen(one)["edits"] == 0
    one.spectrum.threshold = "rank:20"
    assert "rank:20" in other.edit._preflight.value
    assert str(other.spectrum._threshold) == "rank:20"


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda hp: hp.replace(threshold="rank:20"), lambda wb: wb.edit._preflight.value),
        (lambda hp: hp.replace(projection=False), lambda wb: wb.header._session_line.value),
        (lambda hp: hp.replace(projection=False), lambda wb: wb.edit.method.projection.value),
        (lambda hp: hp.replace(layers=(1, 2)), lambda wb: wb.spectrum._layer.options),
    ],
)
def test_settings_that_a_cell_changes_are_shown(
    place: Path, change: Callable[[Any], Any], seen: Callable[[Workbench], object]
) -> None:
    session = new_session(place)
    wb = Workbench(session)
    wb.facts = FACTS[:1]
    before = seen(wb)
    session.hyperparameters = change(session.hyperparameters)
    after = seen(wb)
    assert after != before


def test_spectra_that_a_cell_makes_are_shown(place: Path) -> None:
    session = new_session(place)
    wb = Workbench(session)
    assert "not collected" in wb.spectrum._source.value
    session.spectra(quiet())
    assert "not collected" not in wb.spectrum._source.value and wb.spectrum._layers.value


def test_a_session_that_is_closed_says_so(place: Path) -> None:
    session = new_session(place)
    wb = Workbench(session)
    wb.facts = FACTS[:1]
    wb.compare.on_first_show()
    wb.drift.on_first_show()
    session.edit(FACTS[:1], monitor=quiet())
    settle(wb.state)
    session.close()
    assert screen(wb)["status"] == "closed" and not wb.state.busy
    assert wb.state.failure is None
    # Another session on the same model closes one without edits, too.
    free = EditSession(session.model, hyperparameters=session.hyperparameters)
    wb = Workbench(free)
    assert screen(wb)["status"] == "ready"
    EditSession(session.model, hyperparameters=session.hyperparameters)
    assert screen(wb)["status"] == "closed"


def test_a_view_that_fails_or_is_gone_ends_nothing(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = new_session(place)

    class View:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def follow(self, change: str) -> None:
            self.seen.append(change)

    class Broken(View):
        def follow(self, change: str) -> None:
            raise RuntimeError("the screen is broken")

    broken, view, gone = Broken(), View(), View()
    for one in (broken, view, gone):
        session.watch(one.follow)
    del one, gone
    gc.collect()
    session.edit(FACTS[:1], monitor=quiet())
    assert view.seen == ["spectra", "history"] and session.applied == 1
    assert "could not follow" in caplog.text
    assert len(session._watchers) == 2


def test_numbers_of_numpy_are_numbers(place: Path) -> None:
    session = new_session(place)
    wb = Workbench(session)
    wb.facts = FACTS[:2]
    session.edit(FACTS[:1], monitor=quiet())
    wb.selected = np.int64(1)
    wb.facts_panel.select(np.int32(0))
    wb.spectrum.layer = np.int64(1)
    wb.history.selected = np.int64(1)
    wb.history.set_reference(np.int64(1))
    assert (wb.selected, wb.spectrum.layer, wb.history.selected, wb.state.reference) == (0, 1, 1, 1)
    assert type(wb.state.reference) is int
    for number in (np.int64(0), np.int64(1)):
        session.restore(number)
        assert type(session.applied) is int and session.applied == number
    session.edit(FACTS[1:2], np.int64(1), monitor=quiet())
    session.save(place / "numpy")
    with pytest.raises(TraitError):
        wb.selected = 0.5  # type: ignore[assignment]
