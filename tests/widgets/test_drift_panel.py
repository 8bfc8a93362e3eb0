"""The drift panel without a browser: a point for every edit, the table, the bands, giving way."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model

from alphaedit_core.errors import InputError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects import drift as drift_module
from alphaedit_core.side_effects.drift import Drift, DriftTracker
from alphaedit_widgets.drift.figure import span
from alphaedit_widgets.drift.panel import DriftPanel
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.history.panel import HistoryPanel
from alphaedit_widgets.state import State

A = FACTS[0].changed(neighbors=["Tokyo is in", "Rome is the capital of"])
B, C = FACTS[1], FACTS[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("drift")
    (folder / "probe.txt").write_text(prose(500, seed=7), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture
def panel(place: Path) -> DriftPanel:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    return DriftPanel(State(session), probe=place / "probe.txt")


def edit(panel: DriftPanel, *facts: Any) -> None:
    """Edit as the edit panel does, and wait for what measures by itself."""
    panel.session.edit(facts, monitor=quiet())
    panel.state.notify_weights_changed()
    settle(panel)


def settle(panel: DriftPanel) -> None:
    """Wait until nothing runs any more."""
    while panel.state.busy:
        assert panel.state.job is not None and panel.state.job.wait(20)


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def table(panel: DriftPanel) -> list[dict[str, str]]:
    html = panel._table.value
    headings = re.findall(r"<th[^>]*>([^<]*)</th>", html)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    width = len(headings)
    rows = [cells[i : i + width] for i in range(0, len(cells), width)]
    return [dict(zip(headings, row, strict=True)) for row in rows]


def curves(panel: DriftPanel) -> list[Any]:
    assert panel.figure is not None
    return list(panel.figure.figure.data)


def test_nothing_is_built_or_measured_before_it_is_opened(panel: DriftPanel) -> None:
    edit(panel, A)
    assert panel.figure is None and list(panel.drifts) == [0]
    assert table(panel)[0]["band"] == "not measured"
    assert words(panel._band_text.value) == "edit 1 is not measured"
    panel.on_first_show()
    figure = panel.figure
    settle(panel)
    assert list(panel.drifts) == [0, 1]
    panel.on_first_show()
    assert panel.figure is figure is not None


def test_each_edit_is_one_more_point_and_undone_ones_are_gray(panel: DriftPanel) -> None:
    panel.on_first_show()
    assert [list(line.x) for line in curves(panel)] == [[0]] * 6
    for count, fact in enumerate((A, B), start=1):
        edit(panel, fact)
        assert [list(line.x) for line in curves(panel)] == [list(range(count + 1))] * 6
    assert panel.figure is not None
    axis = panel.figure.figure.layout.xaxis5
    assert (list(axis.tickvals), list(axis.ticktext)) == ([0, 1, 2], ["0", "1", "2"])
    panel.session.undo()
    panel.state.notify_weights_changed()
    for line in curves(panel):
        assert list(line.x) == [0, 1, 2]
        assert list(line.marker.symbol) == ["circle", "circle", "circle-open"]
        opacity = list(line.marker.opacity)
        assert opacity[0] == opacity[1] == 1 and opacity[2] < 1
    assert [row["state"] for row in table(panel)] == ["undone", "current", ""]
    panel.session.redo()
    panel.state.notify_weights_changed()
    assert list(curves(panel)[0].marker.symbol) == ["circle"] * 3


def test_without_an_edit_every_number_is_zero(panel: DriftPanel) -> None:
    panel.on_first_show()
    [row] = table(panel)
    shown = {name: cell for name, cell in row.items() if name not in ("edit", "state", "band")}
    assert shown.pop("perplexity") == "–"
    assert len(shown) == 7 and all(float(cell) == 0 for cell in shown.values())
    assert [list(line.y) for line in curves(panel)] == [[0.0]] * 6
    assert (row["edit"], row["band"], panel.band) == ("0 original", "ok", "ok")
    assert words(panel._band_text.value) == "Drift is ok: no edits"


def test_the_table_has_the_numbers_of_the_charts(panel: DriftPanel) -> None:
    panel.on_first_show()
    edit(panel, A)
    edit(panel, B)
    rows = {int(row["edit"].split()[0]): row for row in table(panel)}
    assert panel.figure is not None
    seen = 0
    for line, column in zip(curves(panel), panel.figure.columns, strict=True):
        for number, value in zip(line.x, line.y, strict=True):
            cell = rows[number][column.heading]
            digits = len(cell.partition(".")[2])
            assert digits == column.digits
            assert float(cell) == pytest.approx(value, abs=0.5000001 * 10**-digits)
            seen += number > 0 and value > 0
    assert seen >= 6, "numbers must not all be zero"
    names = [line.name for line in curves(panel)]
    assert names[:3] == ["layer 0", "layer 1", "KL"]
    assert 'data-testid="drift-table"' in panel._table.value


def test_numbers_are_those_of_the_core(panel: DriftPanel, place: Path) -> None:
    panel.on_first_show()
    edit(panel, A)
    assert panel.drifts[1] == drift_module.measure(panel.session, 1, quiet(), place / "probe.txt")


def a_drift(**fields: Any) -> Drift:
    plain = Drift(
        weights={0: 0.01, 1: 0.02},
        kl=0.001,
        disagreement=0.01,
        perplexity_before=40.0,
        perplexity_after=40.4,
        neighbors=10,
        neighbors_changed=0.0,
        outside=0.0,
    )
    return dataclasses.replace(plain, **fields)


def test_a_change_of_the_band_is_announced_in_words(
    panel: DriftPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = {1: a_drift(), 2: a_drift(perplexity_after=44.0), 3: a_drift(kl=0.5)}
    monkeypatch.setattr(DriftTracker, "_measure", lambda _, number, __: states[number])
    panel.on_first_show()
    announcements = []
    for fact in (A, B, C):
        edit(panel, fact)
        assert 'role="status"' in panel._band_text.value
        assert 'data-testid="drift-band"' in panel._band_text.value
        announcements.append(words(panel._band_text.value))
    assert announcements == [
        "Drift is ok (edit 1)",
        "Drift was ok, now watch: perplexity change (edit 2)",
        "Drift was watch, now bad: KL(before ‖ after), per token (edit 3)",
    ]
    assert [row["band"].partition(":")[0] for row in table(panel)] == ["bad", "watch", "ok", "ok"]
    panel.session.restore(1)
    panel.state.notify_weights_changed()
    assert words(panel._band_text.value) == "Drift was bad, now ok (edit 1)"


def test_undo_and_redo_measure_nothing_again(
    panel: DriftPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.on_first_show()
    edit(panel, A)
    known = panel.drifts[1]

    def never(*_: Any) -> Drift:
        raise AssertionError("measured again")

    monkeypatch.setattr(DriftTracker, "_measure", never)
    for move in (panel.session.undo, panel.session.redo):
        move()
        panel.state.notify_weights_changed()
        settle(panel)
    assert panel.drifts[1] is known and panel.state.failure is None
    assert panel.measure(block=True) is None


def test_without_the_tick_only_the_button_measures(panel: DriftPanel) -> None:
    panel.on_first_show()
    panel.auto = False
    edit(panel, A)
    edit(panel, B)
    panel.session.undo()
    panel.state.notify_weights_changed()
    assert list(panel.drifts) == [0]
    panel.measure_button.click()
    job = panel.state.job
    assert job is not None and job.wait(20) and job.state == "done"
    assert list(panel.drifts) == [0, 1, 2], "undone ones too"
    assert len(curves(panel)[0].x) == 3
    panel.session.redo()
    edit(panel, C)
    panel.auto = True
    settle(panel)
    assert list(panel.drifts) == [0, 1, 2, 3]


def test_a_point_follows_the_edit_of_the_edit_panel(panel: DriftPanel) -> None:
    run = EditPanel(panel.state)
    panel.on_first_show()
    panel.state.facts = [A]
    run.run(block=True)
    settle(panel)
    assert list(panel.drifts) == [0, 1]
    assert panel.state.failure is None and not panel.state.busy


def test_measuring_gives_way_and_is_done_later(
    panel: DriftPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, original = threading.Event(), drift_module.last_block_outputs
    held = [True]

    def slow(model: Any, windows: Any, monitor: Monitor) -> Any:
        entered.set()
        while held:
            monitor.check()
        return original(model, windows, monitor)

    monkeypatch.setattr(drift_module, "last_block_outputs", slow)
    for fact in (A, B):
        panel.session.edit([fact], monitor=quiet())
    digest = panel.session.weights_digest()
    history = HistoryPanel(panel.state)
    panel.on_first_show()
    assert entered.wait(5)
    assert panel.state.busy and not panel.measure_button.disabled
    assert not history.undo_button.disabled
    entered.clear()
    panel.session.undo()  # as a cell does: it does not wait for the measurement
    assert panel.session.applied == 1
    assert entered.wait(5)  # now of the state that the cell went to
    assert list(panel.drifts) == [0] and panel.state.notice == ""
    history.redo_button.click()
    assert panel.session.applied == 2 and panel.state.notice == ""
    held.clear()
    panel.state.start("other", lambda _: None, block=True)
    settle(panel)
    assert list(panel.drifts) == [0, 1, 2]
    assert panel.session.weights_digest() == digest
    assert panel.state.failure is None and panel.auto


def test_it_waits_for_other_work_to_end(panel: DriftPanel) -> None:
    panel.session.edit([A], monitor=quiet())
    entered, leave = threading.Event(), threading.Event()

    def work(_: Monitor) -> None:
        entered.set()
        assert leave.wait(10)

    job = panel.state.start("other", work)
    assert entered.wait(5)
    panel.on_first_show()
    assert panel.state.job is job and list(panel.drifts) == [0]
    assert panel.measure_button.disabled
    leave.set()
    assert job.wait(5)
    settle(panel)
    assert list(panel.drifts) == [0, 1] and not panel.measure_button.disabled


def test_a_cell_that_has_the_model_is_not_disturbed(panel: DriftPanel) -> None:
    panel.session.edit([A], monitor=quiet())
    with panel.session.model.exclusive():
        panel.on_first_show()
        settle(panel)
    assert panel.state.failure is None and panel.auto and list(panel.drifts) == [0]
    panel.state.notify_weights_changed()
    settle(panel)
    assert list(panel.drifts) == [0, 1]


def test_what_cannot_be_measured_is_said_once(panel: DriftPanel, place: Path) -> None:
    short = place / "short.txt"
    short.write_text("Rome is old.", encoding="utf-8")
    panel.state.drifts = DriftTracker(panel.session, short)
    panel.on_first_show()
    edit(panel, A)
    assert panel.state.failure is not None and not panel.auto
    assert "shorter than one window" in panel.state.failure.message
    panel.state.failure = None
    edit(panel, B)
    assert panel.state.failure is None
    with pytest.raises(InputError, match="shorter than one window"):
        panel.measure(block=True)


def test_an_exception_is_kept_for_the_header(
    panel: DriftPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Drift:
        raise ZeroDivisionError("of no use")

    monkeypatch.setattr(DriftTracker, "_measure", failing)
    panel.on_first_show()
    edit(panel, A)
    assert panel.state.failure is not None
    assert panel.state.failure.kind == "ZeroDivisionError" and not panel.auto
    panel.session.undo()


def test_other_layers_get_curves_of_their_own(panel: DriftPanel) -> None:
    panel.on_first_show()
    old = panel.figure
    panel.session.hyperparameters = panel.session.hyperparameters.replace(layers=(2,))
    edit(panel, A)
    assert panel.figure is not old
    assert [line.name for line in curves(panel)][:2] == ["layer 2", "KL"]
    assert "|ΔW|/|W| layer 2, %" in table(panel)[0]


def test_the_page_has_the_figure_as_it_is(panel: DriftPanel) -> None:
    """A page that is loaded again is sent what plotly keeps for it."""
    panel.on_first_show()
    edit(panel, A)
    assert panel.figure is not None
    kept = panel.figure.figure._widget_data
    assert [len(line["x"]) for line in kept] == [2] * 6
    assert "the last is 1" in panel.figure.label.value


def test_the_meaning_of_the_numbers_is_said(panel: DriftPanel, place: Path) -> None:
    html = panel._definitions_html()
    assert "probe.txt" in html and "<details>" in html
    assert "20 %" in html and "0.05 nats" in html
    titled = panel.session
    panel.on_first_show()
    edit(panel, A)
    titled.rename(1, "<b>one</b>")
    panel.state.notify_weights_changed()
    assert "1 &lt;b&gt;one&lt;/b&gt;" in panel._table.value


def test_the_static_form_has_a_table_and_a_picture(panel: DriftPanel) -> None:
    edit(panel, A)
    panel.measure(block=True)
    band = panel.drifts[1].band
    assert panel.summary() == f"DriftPanel(edits: 1, measured: 1, now: {band})"
    html = panel.static_html()
    assert html.count("<img alt=") == 1 and f"{panel.drifts[1].kl:.5f}" in html
    assert panel._auto.description and panel.measure_button.description == "Measure"
    assert "ae-measure" in panel.measure_button._dom_classes


def test_small_drifts_are_seen_and_near_limits_too(panel: DriftPanel) -> None:
    low, high = span([0.0, 1.0], 20, 50)
    assert low < 0 and 1 < high < 2
    assert 20 < span([0.0, 11.0], 20, 50)[1] < 30
    assert span([0.0, 60.0, float("inf")], 20, 50)[1] > 60
    assert span([-3.0, 0.0], 5, 20)[0] < -3
    panel.on_first_show()
    edit(panel, A)
    assert panel.figure is not None
    layout = panel.figure.figure.layout
    assert sorted(shape.y0 for shape in layout.shapes if shape.yref == "y") == [20, 50]
    assert len(layout.shapes) == 10
    for line in curves(panel):
        low, high = layout["yaxis" + line.yaxis[1:]].range
        assert all(low < value < high for value in line.y)
