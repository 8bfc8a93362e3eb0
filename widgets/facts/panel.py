"""The facts table: type, paste, load or upload facts, and see what each of them still needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.fact_files import example_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.components.upload import Upload
from alphaedit_widgets.fact_drafts import DRAFT, Draft
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

from .paste import drafts_from_file, drafts_from_text
from .rows_editor import FactsEditor
from .status import count_text, incomplete_rows, rows, statuses
from .table import FIELDS, FactRows
from .tokenized_rows import TokenizedRows, encodable
from .true_targets import open_prompt, true_targets

#: Maximum number of rows shown; more would make the page slow.
_SHOWN = 500


class FactsPanel(Panel):
    """The rows of all facts, each with what it needs, and what an edit made of it.

    Example:
        >>> panel = FactsPanel(session)  # doctest: +SKIP
        >>> panel.add("Eiffel Tower", "{} is in the city of", "Rome")  # doctest: +SKIP
        0
        >>> panel.statuses  # doctest: +SKIP
        ['ready']

    Rows count from 0 here, as Python counts; on the screen they are numbered from 1.
    """

    name = "facts"
    title = "Facts"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self._rows = FactRows(self.state)
        self._tokenized = TokenizedRows(self.session.model.tokenizer)
        self._message_text = ""
        self.editor = FactsEditor(self._handle_request)
        self._count, self._choice, self._message = W.HTML(), W.HTML(), W.HTML()
        self.show(
            W.HTML(
                "<h3>Facts</h3><p class='ae-quiet'>Each fact is a prompt, with <code>{}</code> in "
                "place of the subject, and the new target that the model should continue it with. "
                "Type into the last row, or load facts.</p>"
            ),
            self._make_buttons(),
            self._make_paste_box(),
            row(self._count, self._choice),
            self._message,
            self.editor,
        )
        self.state.observe(self._redraw, ["drafts", "revision"])
        self.state.observe(self._session_changed, ["session"])
        self.state.observe(self._show_selected, ["selected"])
        self.state.observe(self._lock_buttons, ["job_updates"])
        self._redraw()

    # Everything above the table stays in place when rows are added, so that a click right after
    # typing still hits its button.

    def _make_buttons(self) -> W.Widget:
        self.add_button = button(
            "Add", "add", self._wrap("add", self._next_row), help="go to the empty row"
        )
        self.examples_button = button(
            "Load examples", "examples", self._wrap("load examples", self.load_examples),
            help="load the facts included in the package",
        )  # fmt: skip
        self.paste_button = button(
            "Paste", "paste", lambda *_: self._toggle_paste(), help="paste rows or JSON"
        )
        self.upload_button = Upload(
            "Upload", "upload", self._add_uploaded, lambda error: self._say(str(error), wrong=True),
            accept=".json,.jsonl,.ndjson,.csv,.tsv,.txt",
            help="facts as JSON, JSON lines, CSV or tab-separated lines",
            too_large=(
                "copy it to the kernel's machine and read it in a cell: "
                'wb.facts = read_facts("facts.json")'
            ),
        )  # fmt: skip
        self.fill_button = button(
            "Fill true targets", "fill", self._wrap("true targets", self.fill_true_targets),
            help="take the unedited model's answers",
        )  # fmt: skip
        self.clear_button = button("Clear", "clear", self._wrap("clear", self.clear))
        self.back_button = button(
            "Restore rows", "bring-back", self._wrap("bring back", self.bring_back),
            help="restore the rows deleted last",
        )  # fmt: skip
        return row(
            self.add_button, self.examples_button, self.paste_button, self.upload_button,
            self.fill_button, self.clear_button, self.back_button,
        )  # fmt: skip

    def _make_paste_box(self) -> W.Widget:
        self.paste_area = W.Textarea(
            description="Rows to add",
            placeholder=(
                "one fact per line: subject, prompt, target and optionally true target, separated "
                "by tabs; or JSON"
            ),
            continuous_update=True,
            style={"description_width": "initial"},
            layout=W.Layout(width="min(100%, 640px)"),
        )
        self.paste_rows_button = button(
            "Add rows", "add-pasted", self._wrap("paste", self._add_pasted), style="primary"
        )
        self._paste_row = row(self.paste_area, self.paste_rows_button, hook="paste-box")
        self._paste_row.layout.display = "none"
        return self._paste_row

    # -- from Python -----------------------------------------------------------------------------

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """All rows as typed, ready or not."""
        return tuple(self.state.drafts)

    @drafts.setter
    def drafts(self, drafts: Sequence[Draft]) -> None:
        self.state.drafts = tuple(drafts)
        if self.selected == -1 and drafts:
            self.select(0)

    @property
    def facts(self) -> list[Fact]:
        """The facts of all rows that are ready."""
        return self.state.facts

    @facts.setter
    def facts(self, facts: Sequence[Fact]) -> None:
        self.state.facts = facts

    @property
    def selected(self) -> int:
        """The selected row, from 0; -1 for none."""
        return int(self.state.selected)

    @selected.setter
    def selected(self, index: int) -> None:
        self.select(index)

    @property
    def message(self) -> str:
        """The last message about the table."""
        return self._message_text

    @property
    def statuses(self) -> list[str]:
        """One for each row: ``draft``, ``needs: …``, ``ready``, ``applied`` or ``failed``.

        The last two are about the edits that are in the model now.
        """
        return statuses(self.state.drafts, self.session)

    def add(
        self,
        subject: str,
        prompt: str,
        target: str,
        target_true: str = "",
        group: str = "",
        paraphrases: Sequence[str] = (),
        neighbors: Sequence[str] = (),
    ) -> int:
        """Add a row; it may be incomplete.

        Returns:
            Its index, from 0.
        """
        draft = Draft(
            subject, prompt, target, target_true, group, tuple(paraphrases), tuple(neighbors)
        )
        return self._rows.extend([draft])

    def change(self, index: int, **fields: Any) -> None:
        """Set fields of a row, as typing does.

        Raises:
            InputError: if there is no such row or field.
        """
        self._rows.change(index, **fields)

    def paste(self, text: str) -> int:
        """Add the facts of a text: lines with tabs, or JSON; see :mod:`.paste`.

        Returns:
            How many rows were added.

        Raises:
            InputError: if a line cannot be used; names it. No row is added then.
        """
        return self._append(drafts_from_text(text))

    def upload(self, name: str, content: bytes) -> int:
        """Add the facts of a file: JSON, JSON lines, CSV, or lines with tabs.

        Args:
            name: what the file is called; its suffix tells the format.
            content: what it holds, in UTF-8.

        Returns:
            How many rows were added.

        Raises:
            InputError: if the file cannot be used; names it and the place. No row is added then.
        """
        drafts, ignored = drafts_from_file(name, content)
        added = self._append(drafts)
        if ignored:
            self._say("; ".join([f"{rows(added)} added", *ignored]))
        return added

    def load_examples(self) -> int:
        """Add the packaged facts, but for those about what a row is about already.

        Returns:
            How many rows were added.
        """
        existing = {draft.fact().slot for draft in self.state.drafts if not draft.need}
        new = [Draft.of(fact) for fact in example_facts() if fact.slot not in existing]
        if not new:
            self._say("all examples are already in the table")
            return 0
        return self._append(new)

    def duplicate(self, index: int) -> int:
        """Put a copy of a row under it, and select it; it needs another subject or prompt.

        Returns:
            Index of the copy.

        Raises:
            InputError: if there is no such row.
        """
        self._rows.duplicate(index)
        self._say(f"row {index + 2} is a copy of row {index + 1}; change its subject or prompt")
        return index + 1

    def delete(self, index: int) -> None:
        """Take a row out; :meth:`bring_back` puts it back. A fact that was written stays written.

        Raises:
            InputError: if there is no such row.
        """
        self._rows.delete(index)
        self._say(f"row {index + 1} deleted; Restore rows undoes this")

    def clear(self) -> None:
        """Take all rows out; :meth:`bring_back` puts them back."""
        count = self._rows.clear()
        message = f"{rows(count)} deleted; Restore rows undoes this"
        self._say(message if count else "no rows to delete")

    def bring_back(self) -> int:
        """Restore the rows that were deleted last.

        Returns:
            How many.
        """
        count = self._rows.bring_back()
        self._say(f"{rows(count)} restored" if count else "nothing was deleted")
        return count

    def select(self, index: int) -> None:
        """Select a row for all panels; -1 for none.

        Raises:
            InputError: if there is no such row.
        """
        if index != -1:
            self._rows.require(index)
        self.state.selected = index

    def tokens(self, index: int) -> list[str]:
        """Return the tokens of a row's target, spaces as ``·``, line ends as ``↵``; [] without one.

        Raises:
            InputError: if there is no such row.
        """
        self._rows.require(index)
        return list(self._tokenized.target(self.state.drafts[index]).texts)

    def fill_true_targets(self, block: bool = False) -> Job[list[str]] | None:
        """Ask the unedited model for the true target of every row that has none.

        It is the first word, or the whole name, of what the model says; see
        :func:`.true_targets.first_words`. A row stays empty where the model says no word, or says
        the new target already. Typing may go on meanwhile.

        Args:
            block: wait until it is done, and raise what it raised.

        Returns:
            The job; None if no row needs it.

        Raises:
            SessionError: if another job runs.
        """
        prompts = list(dict.fromkeys(filter(None, map(open_prompt, self.state.drafts))))
        if not prompts:
            self._say("every row with a subject and a prompt has a true target")
            return None
        session = self.session
        return self.state.start(
            "true targets",
            lambda monitor: true_targets(session, prompts, monitor),
            lambda words: self._fill_targets(dict(zip(prompts, words, strict=True))),
            block=block,
        )

    @override
    def summary(self) -> str:
        count, selected = rows(len(self._rows)), self._subject()
        return f"FactsPanel({count}, {len(self.facts)} ready, selected: {selected})"

    @override
    def static_html(self) -> str:
        headings = ("", "subject", "prompt", "target", "true target", "group", "status")
        cells = [
            (str(number), *(encodable(getattr(draft, name)) for name in FIELDS), status)
            for number, (draft, status) in enumerate(
                zip(self.state.drafts, self.statuses, strict=True), 1
            )
        ]
        return table(headings, cells, "facts", f"Facts, selected: {self._subject()}")

    # -- from the browser ------------------------------------------------------------------------

    def _handle_request(self, request: Mapping[str, Any]) -> None:
        """Handle a row's request from the browser; ignore malformed requests."""
        self._wrap("facts", lambda: self._run_request(request))()

    def _run_request(self, request: Mapping[str, Any]) -> None:
        action, key = request.get("do"), request.get("key")
        field, value = request.get("field"), request.get("value")
        row_actions: dict[Any, Callable[[int], object]] = {
            "select": self.select,
            "duplicate": self.duplicate,
            "delete": self.delete,
        }
        if action == "paste" and isinstance(request.get("text"), str):
            self.paste(request["text"])
        elif action == "type" and field in FIELDS and isinstance(value, str):
            self._rows.type(key, str(field), encodable(value))
        elif action in row_actions:
            row_actions[action](self._rows.index(key))

    def _next_row(self) -> None:
        empty = f"row {len(self._rows) + 1} is empty; type the next fact there"
        self._say(incomplete_rows(self.statuses) or empty)
        self.editor.focus(self._rows.keys(self.state.drafts)[-1])

    def _toggle_paste(self) -> None:
        hidden = self._paste_row.layout.display == "none"
        self._paste_row.layout.display = "" if hidden else "none"

    def _add_pasted(self) -> None:
        self.paste(self.paste_area.value)
        self.paste_area.value = ""

    def _add_uploaded(self, name: str, content: bytes) -> None:
        self._wrap("upload", lambda: self.upload(name, content))()

    def _wrap(self, doing: str, action: Callable[[], object]) -> Callable[..., None]:
        """Wrap a callback so that its errors appear on this panel."""

        def act() -> None:
            try:
                action()
            except AlphaEditError as error:
                self._say(str(error), wrong=True)

        return self.with_errors_shown(doing, act)

    def _append(self, new: Sequence[Draft]) -> int:
        self._rows.extend(new)
        self._say(f"{rows(len(new))} added")
        return len(new)

    def _fill_targets(self, answers: Mapping[str, str]) -> None:
        self._say(self._rows.fill(answers).message())

    # -- what is shown ---------------------------------------------------------------------------

    def _say(self, message: str, wrong: bool = False) -> None:
        self._message_text = message
        role, css_class = ("alert", "ae-warning") if wrong else ("status", "ae-quiet")
        html = text("facts-message", message, role=role, tag="p")
        self._message.value = f'<div class="{css_class}">{html}</div>'

    def _session_changed(self, *_: Any) -> None:
        self._tokenized = TokenizedRows(self.session.model.tokenizer)
        self._redraw()

    def _redraw(self, *_: Any) -> None:
        # No lock: this may run in a job's thread while another panel, notified of the same change,
        # waits for that job to end. Changes made meanwhile are drawn in a second round.
        drafts: object = None
        while drafts is not self.state.drafts:
            self._draw(drafts := self.state.drafts)
        self._lock_buttons()

    def _draw(self, drafts: Sequence[Draft]) -> None:
        keys, states = self._rows.keys(drafts), statuses(drafts, self.session)
        shown = [self._row(*parts) for parts in zip(keys[:_SHOWN], drafts, states, strict=False)]
        empty = self._row(keys[-1], Draft(), DRAFT) | {"new": True}
        with self.editor.hold_sync():
            self.editor.rows = [*shown, empty]
            self._show_selected()
        note = f"; the first {_SHOWN} are shown, all are edited" if len(drafts) > _SHOWN else ""
        self._count.value = text("facts-count", count_text(states) + note, tag="span")

    def _row(self, key: int, draft: Draft, status: str) -> dict[str, Any]:
        return {"key": key, "status": status, **self._tokenized.cells(draft)}

    def _show_selected(self, *_: Any) -> None:
        index = self.state.selected
        keys = self._rows.keys(self.state.drafts)
        self.editor.selected = keys[index] if 0 <= index < len(keys) - 1 else -1
        name = escape(self._subject())
        self._choice.value = f'<span data-testid="selected" role="status">selected: {name}</span>'

    def _subject(self) -> str:
        if not 0 <= self.selected < len(self.state.drafts):
            return "none"
        subject = encodable(self.state.drafts[self.selected].subject).strip()
        return subject or f"row {self.selected + 1}"

    def _lock_buttons(self, *_: Any) -> None:
        self.clear_button.disabled = empty = not self.state.drafts
        self.back_button.disabled = not self._rows.removed
        self.fill_button.disabled = self.state.busy or empty
