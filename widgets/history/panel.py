"""The history panel: all edits, the current state, undo, redo and restore."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.display.escaping import escape
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.weight_updates import tensors_of
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.session.edits import Edit
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.drift import Drift
from alphaedit_core.side_effects.drift_figure import drift_columns
from alphaedit_widgets.components.confirm import Confirm
from alphaedit_widgets.components.inputs import Table
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

_HEADINGS = (
    "state", "edit", "facts", "written", "method", "threshold", "layers", "time (UTC)",
    "|ΔW|/|W|, %", "KL, nats", "drift",
)  # fmt: skip
#: Maximum number of facts listed in a comparison.
_COMPARED = 200


class HistoryPanel(Panel):
    """List of edits, newest first, to undo, redo, restore, name, compare, clear or save.

    Attributes:
        table: the list, keyed by state number; 0 is the unedited model.
        confirm: the confirmation dialog of Clear.
    """

    name = "history"
    title = "History"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self.table = Table(
            columns=list(_HEADINGS), label="History of edits, newest first", testid="history-table"
        )
        self._current, self._warning, self._memory, self._comparison = (W.HTML() for _ in range(4))
        self._compared: tuple[int, int] | None = None
        self._shape = (-1, -1)
        self._make_controls()
        self.confirm = Confirm(
            "Clear all edits", "Keep them", self.with_errors_shown("clear", self.clear)
        )
        self.show(
            W.HTML(
                "<h3>History</h3><p class='ae-quiet'>Undo and redo edits bit for bit, without "
                "running them again. Select a row, then restore it.</p>"
            ),
            self._current,
            row(self.undo_button, self.redo_button, self.restore_button, self.reference_button,
                self.compare_button, self.clear_button),
            self.confirm,
            self._warning,
            self.table,
            row(self._name, self.rename_button),
            self._comparison,
            row(self._folder, self.save_button),
            self._memory,
        )  # fmt: skip
        self.table.observe(lambda _: self._show_selected(), "selected")
        self.state.observe(self._refresh, ["revision", "reference", "measured"])
        self.state.observe(self._job_moved, ["job_updates"])
        self._was_busy = self.state.foreground_busy
        self._refresh()

    def _make_controls(self) -> None:
        def make(label: str, hook: str, action: Callable[[], object], help: str) -> W.Button:
            return button(label, hook, self.with_errors_shown(label.lower(), action), help=help)

        self.undo_button = make("Undo", "undo", self.undo, "undo the last applied edit")
        self.redo_button = make("Redo", "redo", self.redo, "redo the next undone edit")
        self.restore_button = make(
            "Restore to here", "restore", self.restore, "go to the selected state"
        )
        self.reference_button = make(
            "Set as reference", "reference", self.set_reference,
            "show the selected state's answers as Before",
        )  # fmt: skip
        self.compare_button = make(
            "Compare two",
            "compare-two",
            self.compare,
            "compare the selected state with the reference",
        )
        self.clear_button = make(
            "Clear", "clear", self.ask_to_clear, "delete all edits, after confirmation"
        )
        self.rename_button = make(
            "Rename", "rename", lambda: self.rename(self.selected, self._name.value),
            "rename the selected edit",
        )  # fmt: skip
        self.save_button = make("Save session", "save", self.save, "save all edits to the folder")
        wide = {"description_width": "initial"}
        self._name = W.Text(description="Name", placeholder="name of the selected edit", style=wide)
        self._folder = W.Text(
            description="Folder", placeholder="folder for the session", style=wide
        )

    # -- from Python -----------------------------------------------------------------------------

    @property
    def selected(self) -> int:
        """Number of the selected state, 0 for the unedited model."""
        return int(self.table.selected)

    @selected.setter
    def selected(self, number: int) -> None:
        self._require(number)
        self.table.selected = int(number)

    @property
    def folder(self) -> str:
        """Target folder of :meth:`save`."""
        return str(self._folder.value)

    @folder.setter
    def folder(self, value: str) -> None:
        self._folder.value = str(value)

    def undo(self) -> None:
        """Undo the last applied edit, bit for bit.

        Raises:
            SessionError: if there is none, or a job runs.
        """
        self._change_state("undo", self.session.undo)

    def redo(self) -> None:
        """Redo the next undone edit.

        Raises:
            SessionError: if there is none, or a job runs.
        """
        self._change_state("redo", self.session.redo)

    def restore(self, number: int | None = None) -> None:
        """Restore a state; None for the selected one.

        Raises:
            SessionError: if there is no such state, or a job runs.
        """
        where = self.selected if number is None else number
        self._change_state("restore", lambda: self.session.restore(where))

    def clear(self) -> None:
        """Restore the unedited weights and delete all edits, without confirmation.

        Raises:
            SessionError: if a job runs.
        """
        self._change_state("clear", self.session.reset)

    def ask_to_clear(self) -> None:
        """Ask for confirmation, as the Clear button does; answer with ``confirm.answer``."""
        self._require_free("clear")
        count = len(self.session.history)
        self.confirm.ask(
            f"This restores the original weights and deletes {_edits(count)} permanently. "
            "Saved sessions are kept."
        )

    def rename(self, number: int, title: str) -> None:
        """Name an edit; "" removes the name.

        Raises:
            SessionError: if there is no such edit, or a job runs.
        """
        self._change_state("rename", lambda: self.session.rename(number, title))

    def set_reference(self, number: int | None = None) -> None:
        """Set the state that "before" refers to in all panels; None for the selected one.

        Raises:
            SessionError: if there is no such state, or a job runs.
        """
        where = self.selected if number is None else number
        self._require(where)
        self._require_free("set as reference")
        self.state.reference = where

    def compare(self, one: int | None = None, other: int | None = None) -> None:
        """Show the facts of two states and the difference in drift.

        Args:
            one: number of a state; None for the reference.
            other: number of another state; None for the selected one.

        Raises:
            SessionError: if there is no such state.
        """
        pair = (
            self.state.reference if one is None else one,
            self.selected if other is None else other,
        )
        for number in pair:
            self._require(number)
        self._compared = pair
        self._show_comparison()

    def save(self, folder: str | Path | None = None, block: bool = False) -> Job[None]:
        """Save the session to a folder, in the worker thread.

        Args:
            folder: the target folder; None for the one entered on the screen.
            block: wait until the job has ended and raise its exception, if any.

        Raises:
            InputError: if no folder is given.
            SessionError: if another job runs.
        """
        name = str(self.folder if folder is None else folder).strip()
        if not name:
            raise InputError("no folder given; enter one for the session")
        target, session = Path(name).expanduser(), self.session

        def work(monitor: Any) -> None:
            with monitor.stage("save", 1, "folder"):
                session.save(target)

        def done(_: None) -> None:
            self.state.notice = f"session saved to {target}"

        return self.state.start("save", work, done, block=block)

    # -- doing -----------------------------------------------------------------------------------

    def _require(self, number: int) -> None:
        if not 0 <= number <= len(self.session.history):
            raise SessionError(f"there is no state {number}; give 0 to {len(self.session.history)}")

    def _require_free(self, doing: str) -> None:
        """Raise SessionError if a job runs; stop a background job instead."""
        self.state.preempt_background_job()
        if self.state.busy:
            running = self.state.job.name if self.state.job else "other work"
            raise SessionError(
                f"cannot {doing} while {running} is running; wait for it, or cancel it"
            )

    def _change_state(self, doing: str, action: Callable[[], None]) -> None:
        self._require_free(doing)
        action()

    # -- showing ---------------------------------------------------------------------------------

    def _refresh(self, *_: Any) -> None:
        history = self.session.history
        if self._compared and max(self._compared) > len(history):
            self._compared = None
        self.table.fill(self._rows(), list(range(len(history), -1, -1)))
        shape = (len(history), history.applied)
        if shape != self._shape:  # select the new current state
            self._shape = shape
            self.table.selected = history.applied
        undone = len(history) - history.applied
        self._current.value = text("history-state", self._state_text(), tag="p")
        self._warning.value = (
            '<p class="ae-warning" role="status" data-testid="redo-warning">'
            f"the next edit discards {undone} undone {'edit' if undone == 1 else 'edits'}</p>"
            if undone
            else ""
        )
        self._memory.value = (
            f'<p class="ae-quiet" data-testid="history-memory">{escape(self._size_text())}</p>'
        )
        self._update_buttons()
        self._show_comparison()

    def _job_moved(self, *_: Any) -> None:
        if self.state.foreground_busy != self._was_busy:
            self._was_busy = self.state.foreground_busy
            self._current.value = text("history-state", self._state_text(), tag="p")
            self._update_buttons()

    def _show_selected(self) -> None:
        number, entries = self.selected, self.session.history.entries
        self._name.value = entries[number - 1].title if 0 < number <= len(entries) else ""
        self._update_buttons()

    def _update_buttons(self) -> None:
        history, busy, selected = self.session.history, self.state.foreground_busy, self.selected
        edits = len(history)
        self.undo_button.disabled = busy or history.applied == 0
        self.redo_button.disabled = busy or history.applied == edits
        self.restore_button.disabled = busy or selected == history.applied
        self.reference_button.disabled = busy or selected == self.state.reference
        self.compare_button.disabled = selected == self.state.reference
        self.clear_button.disabled = busy or edits == 0
        self.rename_button.disabled = self._name.disabled = busy or selected < 1
        self.save_button.disabled = busy

    def _state_text(self) -> str:
        history = self.session.history
        words = f"current: {self._label(history.applied)}"
        undone = len(history) - history.applied
        words += f" · {undone} undone" if undone else ""
        words += f" · reference: {self._label(self.state.reference)}"
        if self.state.foreground_busy and self.state.job is not None:
            words += f" · {self.state.job.name} is running: undo, redo and restore have to wait"
        return words

    def _size_text(self) -> str:
        entries = self.session.history.entries
        if not entries:
            return "no edits stored"
        size = sum(_bytes(entry) for entry in entries) / 1e6
        return f"stored: {size:.2f} MB for {_edits(len(entries))} (updates and keys)"

    def _label(self, number: int) -> str:
        return label(self.session, number)

    def _rows(self) -> list[list[str]]:
        """One row per state, newest first."""
        history, reference = self.session.history, self.state.reference
        rows = []
        for number in range(len(history), -1, -1):
            marks = ["current"] if number == history.applied else []
            marks += ["undone"] if number > history.applied else []
            marks += ["reference"] if number == reference else []
            entry = history.entries[number - 1] if number else None
            drift = _drift_cells(self.state.drifts.known(number))
            rows.append([", ".join(marks), self._label(number), *_cells(entry), *drift])
        return rows

    def _show_comparison(self) -> None:
        self._comparison.value = "" if self._compared is None else self._pair_html(*self._compared)

    def _pair_html(self, one: int, other: int) -> str:
        entries = self.session.history.entries
        first, second = current_facts(entries[:one]), current_facts(entries[:other])
        rows = [
            (
                (first.get(slot) or second[slot])[0].text,
                " · ".join(fact.target for fact in first.get(slot, ())) or "–",
                " · ".join(fact.target for fact in second.get(slot, ())) or "–",
            )
            for slot in dict.fromkeys([*first, *second])
        ]
        names = (self._label(one), self._label(other))
        left_out = len(rows) - _COMPARED
        omitted_html = f"<p>… and {left_out} more facts</p>" if left_out > 0 else ""
        facts_html = table(
            ("prompt", *names), rows[:_COMPARED], "history-facts",
            "Targets in each state",
        )  # fmt: skip
        drifts_html = self._drifts(one, other)
        return f'<div data-testid="history-compare">{facts_html}{omitted_html}{drifts_html}</div>'

    def _drifts(self, one: int, other: int) -> str:
        first, second = (self.state.drifts.known(number) for number in (one, other))
        if first is None or second is None:
            missing = [str(n) for n, d in ((one, first), (other, second)) if d is None]
            return text(
                "history-drift",
                f"drift of edit {' and '.join(missing)} is not measured; measure it under Drift",
                role="", tag="p",
            )  # fmt: skip
        rows = []
        for column in drift_columns(sorted({*first.weights, *second.weights})):
            a, b = column.value(first), column.value(second)
            difference = "n/a" if a is None or b is None else column.written(b - a)
            rows.append((column.heading, column.text(first), column.text(second), difference))
        headings = ("drift", self._label(one), self._label(other), "difference")
        return table(headings, rows, "history-drift", "Drift from the original")

    @override
    def summary(self) -> str:
        history = self.session.history
        return (
            f"HistoryPanel(edits: {len(history)}, current: {history.applied}, "
            f"reference: {self.state.reference})"
        )

    @override
    def static_html(self) -> str:
        return html_table(_HEADINGS, self._rows())


def label(session: EditSession, number: int) -> str:
    """Return the label of a state: ``0 original``, or its edit's number and name."""
    if number == 0:
        return "0 original"
    entry = session.history.entries[number - 1]
    if entry.title:
        return f"{number} {entry.title}"
    facts = entry.facts
    more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
    return f"{number} {facts[0].text} → {facts[0].target}{more}"


def current_facts(entries: Sequence[Edit]) -> dict[tuple[str, str], list[Fact]]:
    """Return the facts per subject and prompt, without superseded ones."""
    facts: dict[tuple[str, str], list[Fact]] = {}
    for fact in CurrentFacts(batch for entry in entries for batch in entry.batches).facts:
        facts.setdefault(fact.slot, []).append(fact)
    return facts


def _cells(entry: Edit | None) -> tuple[str, ...]:
    """Return the table cells of an edit: facts, written, method, threshold, layers, time."""
    if entry is None:
        return ("",) * 6
    count, hp = len(entry.facts), entry.hyperparameters
    first, last = hp.layers[0], hp.layers[-1]
    consecutive = last - first + 1 == len(hp.layers) > 1
    return (
        str(count),
        f"{entry.result.written} of {count}",
        hp.method,
        hp.threshold_words,
        f"{first}–{last}" if consecutive else ", ".join(map(str, hp.layers)),
        entry.created.replace("+00:00", "").replace("T", " "),
    )


def _drift_cells(drift: Drift | None) -> tuple[str, ...]:
    """Return the drift cells: largest change of a layer, KL and band, if measured."""
    if drift is None:
        return ("–",) * 3
    return f"{100 * drift.largest_change:.3f}", f"{drift.kl:.5f}", drift.band


def _bytes(entry: Edit) -> int:
    """Return the stored size of an edit in bytes: weight updates and the facts' keys."""
    return sum(
        tensor.nbytes
        for batch in entry.batches
        for layer, change in batch.changes.items()
        for tensor in (*tensors_of(change).values(), batch.keys[layer])
    )


def _edits(count: int) -> str:
    return "1 edit" if count == 1 else f"{count} edits"
