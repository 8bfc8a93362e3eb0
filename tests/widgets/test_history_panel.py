"""The history panel without a browser: back, forth, names, comparison, clearing and saving."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tables import rows_of
from tiny import prose, tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing import batch as editing_module
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.confirm import Confirm
from alphaedit_widgets.components.inputs import script
from alphaedit_widgets.history.panel import HistoryPanel
from alphaedit_widgets.state import State

A, B, C = FACTS[:1], FACTS[1:3], FACTS[3:]
#: Corrects what A says.
CORRECTED = Fact("Eiffel  Tower", "{} is in the  city of", "Berlin")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("history")
    (folder / "probe.txt").write_text(prose(800, seed=7), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_panel(place: Path) -> HistoryPanel:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    return HistoryPanel(State(session))


def edit(panel: HistoryPanel, facts: Any, title: str = "") -> str:
    """Edit as the edit panel does, and give the digest of the weights."""
    panel.session.edit(facts, monitor=quiet())
    if title:
        panel.session.rename(panel.session.applied, title)
    panel.state.notify_weights_changed()
    return panel.session.weights_digest()


@pytest.fixture
def panel(place: Path) -> HistoryPanel:
    """Two edits, named A and B."""
    made = new_panel(place)
    edit(made, A, "A")
    edit(made, B, "B")
    return made


def listed(panel: HistoryPanel) -> list[tuple[str, str]]:
    return [(row["state"], row["edit"]) for row in rows_of(panel.table)]


def words(widget: Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", widget.value).split())


def disabled(panel: HistoryPanel) -> dict[str, bool]:
    return {
        "undo": panel.undo_button.disabled,
        "redo": panel.redo_button.disabled,
        "restore": panel.restore_button.disabled,
        "clear": panel.clear_button.disabled,
    }


# -- the list (S5.1) -----------------------------------------------------------------------------


def test_the_list_has_every_state_newest_first(panel: HistoryPanel) -> None:
    assert listed(panel) == [("current", "2 B"), ("", "1 A"), ("reference", "0 original")]
    assert panel.table.row_keys == [2, 1, 0]
    assert panel.selected == 2
    newest = rows_of(panel.table)[0]
    entry = panel.session.history[1]
    assert newest["facts"] == "2"
    assert newest["written"] == f"{entry.result.written} of 2"
    assert (newest["threshold"], newest["layers"]) == ("rank:30", "0–1")
    assert newest["time (UTC)"] == entry.created[:19].replace("T", " ")
    assert words(panel._current) == "current: 2 B · reference: 0 original"


def test_an_edit_without_a_name_goes_by_its_first_fact(place: Path) -> None:
    panel = new_panel(place)
    edit(panel, B)
    assert listed(panel)[0][1] == "1 The old mechanics of Newton is named in → Japan and 1 more"
    panel.rename(1, "two <facts>")
    assert listed(panel)[0][1] == "1 two <facts>"
    assert "two &lt;facts&gt;" in panel._current.value and "<facts>" not in panel._current.value
    assert "two &lt;facts&gt;" in panel.static_html()
    panel.rename(1, "")
    assert "Newton" in listed(panel)[0][1]
    with pytest.raises(SessionError, match="unedited model"):
        panel.rename(0, "x")


def test_the_name_box_is_of_the_selected_edit(panel: HistoryPanel) -> None:
    panel.selected = 1
    assert panel._name.value == "A"
    panel._name.value = "towers"
    panel.rename_button.click()
    assert listed(panel)[1] == ("", "1 towers")
    assert panel.selected == 1
    panel.selected = 0
    assert panel.rename_button.disabled and panel._name.value == ""
    with pytest.raises(SessionError, match="no state 7; give 0 to 2"):
        panel.selected = 7


# -- back and forth (S5.2 to S5.4, S5.6) -----------------------------------------------------------


def test_undo_and_redo_bit_for_bit(place: Path) -> None:
    panel = new_panel(place)
    original = panel.session.weights_digest()
    assert disabled(panel) == dict.fromkeys(("undo", "redo", "restore", "clear"), True)
    digests = [edit(panel, A, "A"), edit(panel, B, "B")]
    revision = panel.state.revision
    panel.undo_button.click()
    assert listed(panel) == [("undone", "2 B"), ("current", "1 A"), ("reference", "0 original")]
    assert panel.session.weights_digest() == digests[0]
    assert panel.state.revision == revision + 1, "the other panels are told"
    panel.undo_button.click()
    assert panel.session.weights_digest() == original
    assert disabled(panel) == {"undo": True, "redo": False, "restore": True, "clear": False}
    panel.redo_button.click()
    panel.redo_button.click()
    assert panel.session.weights_digest() == digests[1]
    assert disabled(panel) == {"undo": False, "redo": True, "restore": True, "clear": False}
    with pytest.raises(SessionError, match="no undone edit"):
        panel.redo()


def test_restore_is_quick_and_searches_nothing(
    panel: HistoryPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a search for target values was run")

    monkeypatch.setattr(editing_module, "find_targets", never)
    panel.selected = 0
    assert not panel.restore_button.disabled
    start = time.perf_counter()
    panel.restore_button.click()
    assert time.perf_counter() - start < 1
    assert panel.session.applied == 0 and panel.state.failure is None
    panel.restore(2)
    assert listed(panel)[0] == ("current", "2 B")
    with pytest.raises(SessionError, match="no state 3"):
        panel.restore(3)


def test_what_the_next_edit_drops_is_said_before(panel: HistoryPanel) -> None:
    assert panel._warning.value == ""
    panel.undo()
    assert words(panel._warning) == "the next edit discards 1 undone edit"
    assert 'data-testid="redo-warning"' in panel._warning.value
    assert 'role="status"' in panel._warning.value
    panel.undo()
    assert words(panel._warning) == "the next edit discards 2 undone edits"
    panel.redo()
    edit(panel, C, "C")
    assert listed(panel) == [("current", "2 C"), ("", "1 A"), ("reference", "0 original")]
    assert panel._warning.value == ""
    assert panel.redo_button.disabled


def test_while_a_job_runs_nothing_moves_and_it_is_said(panel: HistoryPanel) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work(_: Monitor) -> None:
        entered.set()
        assert leave.wait(10)

    digest, revision = panel.session.weights_digest(), panel.state.revision
    job = panel.state.start("edit", work)
    try:
        assert entered.wait(5)
        assert disabled(panel) == dict.fromkeys(("undo", "redo", "restore", "clear"), True)
        assert "edit is running: undo, redo and restore have to wait" in words(panel._current)
        for action in (panel.undo, panel.redo, panel.clear, panel.ask_to_clear,
                       lambda: panel.restore(0), lambda: panel.rename(1, "x"),
                       lambda: panel.set_reference(1)):  # fmt: skip
            with pytest.raises(SessionError, match="edit is running; wait for it, or cancel it"):
                action()
        panel.undo_button.click()
        assert panel.state.notice.startswith("cannot undo while edit is running")
        assert not panel.confirm.asking
    finally:
        leave.set()
        assert job.wait(5)
    assert (panel.session.weights_digest(), panel.state.revision) == (digest, revision)
    assert not panel.undo_button.disabled
    assert "running" not in words(panel._current)
    panel.undo()
    assert panel.session.applied == 1


# -- reference and comparison ----------------------------------------------------------------------


def test_the_reference_is_shared(panel: HistoryPanel) -> None:
    panel.selected = 1
    panel.reference_button.click()
    assert panel.state.reference == 1
    assert [state for state, _ in listed(panel)] == ["current", "reference", ""]
    panel.set_reference(2)
    assert listed(panel)[0] == ("current, reference", "2 B")
    with pytest.raises(SessionError, match="no state 3"):
        panel.set_reference(3)
    panel.undo()
    edit(panel, C)
    panel.clear()
    assert panel.state.reference == 0


def test_a_comparison_says_which_facts_each_has(panel: HistoryPanel) -> None:
    edit(panel, [CORRECTED], "C")
    panel.set_reference(1)
    panel.selected = 3
    panel.compare_button.click()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", panel._comparison.value)
    rows = [tuple(cells[i : i + 3]) for i in range(0, len(cells), 3)]
    assert rows == [
        ("Eiffel Tower is in the city of", "Rome in Italy", "Berlin"),
        ("The old mechanics of Newton is named in", "–", "Japan"),
        ("東京は", "–", "日本の都"),
    ]
    assert "1 A" in panel._comparison.value and "3 C" in panel._comparison.value
    assert "drift of edit 1 and 3 is not measured" in words(panel._comparison)
    panel.clear()
    assert panel._comparison.value == ""
    with pytest.raises(SessionError, match="no state 1"):
        panel.compare(0, 1)


def test_drift_is_shown_and_compared_where_it_is_known(panel: HistoryPanel, place: Path) -> None:
    drifts = panel.state.drifts
    newest, oldest = rows_of(panel.table)[0], rows_of(panel.table)[2]
    assert (newest["KL, nats"], newest["drift"]) == ("–", "–")
    assert (oldest["|ΔW|/|W|, %"], oldest["KL, nats"], oldest["drift"]) == (
        "0.000",
        "0.00000",
        "ok",
    )
    found = drifts.measure(2, quiet())
    panel.state.measured += 1
    newest = rows_of(panel.table)[0]
    assert float(newest["KL, nats"]) == pytest.approx(found.kl, abs=1e-5)
    assert float(newest["|ΔW|/|W|, %"]) == pytest.approx(100 * found.largest_change, abs=1e-3)
    assert newest["drift"] == found.band
    panel.compare(0, 2)
    assert 'data-testid="history-drift"' in panel._comparison.value
    shown = words(panel._comparison)
    assert f"KL, nats 0.00000 {found.kl:.5f} {found.kl:.5f}" in shown


# -- clearing (S5.5) -------------------------------------------------------------------------------


def test_clear_asks_first(panel: HistoryPanel) -> None:
    digest = panel.session.weights_digest()
    panel.clear_button.click()
    assert panel.confirm.asking and "deletes 2 edits" in panel.confirm.text
    assert (panel.confirm.yes, panel.confirm.no) == ("Clear all edits", "Keep them")
    assert panel.session.weights_digest() == digest, "nothing yet"
    panel.confirm.answer = "no"
    assert not panel.confirm.asking and panel.session.applied == 2
    panel.clear_button.click()
    assert panel.confirm.asking and panel.confirm.answer == ""
    panel.confirm.answer = "yes"
    assert listed(panel) == [("current, reference", "0 original")]
    assert panel.session.weights_digest() == new_digest(panel)
    assert disabled(panel) == dict.fromkeys(("undo", "redo", "restore", "clear"), True)


def new_digest(panel: HistoryPanel) -> str:
    with panel.session.at_state(0):
        return panel.session.weights_digest()


def test_only_an_open_question_is_answered() -> None:
    calls: list[int] = []
    confirm = Confirm("Do", "Do not", lambda: calls.append(1))
    confirm.answer = "yes"
    assert calls == []
    confirm.ask("Really?")
    assert (confirm.text, confirm.answer, confirm.asking) == ("Really?", "", True)
    confirm.answer = "yes"
    assert (calls, confirm.asking) == ([1], False)


def test_the_script_of_the_question_sets_texts_only() -> None:
    source = script("confirm")
    assert "innerHTML" not in source and "http" not in source
    assert '"Escape"' in source and "no.focus()" in source


# -- keeping (S5.7) --------------------------------------------------------------------------------


def test_save_writes_what_load_reads(panel: HistoryPanel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder given"):
        panel.save()
    panel.undo()
    panel.folder = str(tmp_path / "kept")
    panel.save(block=True)
    assert panel.state.notice == f"session saved to {tmp_path / 'kept'}"
    loaded = HistoryPanel(EditSession.load(tmp_path / "kept", tiny_model("llama")))
    assert listed(loaded) == listed(panel)
    assert loaded.session.weights_digest() == panel.session.weights_digest()
    loaded.redo()
    assert listed(loaded)[0] == ("current", "2 B")


def test_a_folder_with_something_else_is_refused(panel: HistoryPanel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is not a session"):
        panel.save(tmp_path, block=True)
    assert panel.state.failure is not None
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_memory_of_the_deltas_is_counted(place: Path) -> None:
    panel = new_panel(place)
    assert words(panel._memory) == "no edits stored"
    edit(panel, FACTS)
    batch = panel.session.history[0].batches[0]
    count = sum(
        tensor.numel() for layer in (0, 1) for tensor in (*batch.changes[layer], batch.keys[layer])
    )
    assert f"stored: {4 * count / 1e6:.2f} MB for 1 edit " in words(panel._memory)


def test_every_control_has_a_name_and_a_hook(panel: HistoryPanel) -> None:
    for hook, name in (
        ("undo", "Undo"), ("redo", "Redo"), ("restore", "Restore to here"),
        ("reference", "Set as reference"), ("rename", "Rename"), ("compare_two", "Compare two"),
        ("clear", "Clear"), ("save", "Save session"),
    ):  # fmt: skip
        attribute = "compare" if hook == "compare_two" else hook
        found = getattr(panel, f"{attribute}_button")
        assert found.description == name
        assert f"ae-{hook.replace('_', '-')}" in found._dom_classes
    assert (panel._name.description, panel._folder.description) == ("Name", "Folder")
    assert panel.table.label
    assert "ae-history" in panel._dom_classes


def test_the_static_form_has_the_same_rows(panel: HistoryPanel) -> None:
    assert panel.summary() == "HistoryPanel(edits: 2, current: 2, reference: 0)"
    html = panel.static_html()
    for row in panel.table.rows:
        assert row[1] in html
    bundle = panel._repr_mimebundle_()
    assert bundle["text/html"] == html and bundle["text/plain"] == panel.summary()
