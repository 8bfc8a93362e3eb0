"""Paraphrases and neighbors of the selected fact, before and after, each with a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ipywidgets as W
from typing_extensions import override

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.evaluation.probes import (
    GENERALIZATION,
    KINDS,
    LOCALITY,
    RELIABILITY,
    ProbePrompt,
    ProbeResponse,
    ProbeRow,
    ProbeRunner,
    aggregate,
    probes_of,
)
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.inputs import Table
from alphaedit_widgets.components.panel import Panel, button, row, table, text
from alphaedit_widgets.components.token_chips import chance, visible
from alphaedit_widgets.jobs import Job
from alphaedit_widgets.state import State

_JOB = "probes"
_COLUMNS = ("kind", "prompt", "before", "after", "P(new)", "P(true)", "change", "result")
_CHANGE = "change"
#: Description of each kind of probe.
_ASKS = {
    RELIABILITY: "the prompt gives the new target",
    GENERALIZATION: "paraphrases give it too",
    LOCALITY: "neighbors are unchanged",
}
_NAMED = {"style": {"description_width": "initial"}}


class ProbesPanel(Panel):
    """Reliability, generalization and locality of the selected fact, row by row and counted.

    "Before" is the reference state, "after" the present one. Rows are measured by the button, and
    by themselves after an edit once the panel has been shown; each is measured once for the
    weights of a state. Paraphrases and neighbors that are added become part of the fact's draft.
    """

    name = "probes"
    title = "Probes"

    def __init__(self, source: EditSession | State) -> None:
        super().__init__(source)
        self._probes = ProbeRunner(self.session)
        self._was_shown = self._pending = False
        self._applied = self.session.applied
        self._question: tuple[Any, ...] = ()
        self._message = ""
        self._states, self._counts, self._status = (W.HTML() for _ in range(3))
        self.table = Table(
            columns=list(_COLUMNS), label="Probes of the selected fact", testid="probes",
            sortable=True,
        )  # fmt: skip
        self._prompt = W.Text(
            description="New prompt", placeholder="a paraphrase, or a prompt about a neighbor",
            layout=W.Layout(width="420px"), **_NAMED,
        )  # fmt: skip
        self._kind = W.Dropdown(
            description="Kind",
            options=[
                ("generalization: a paraphrase", GENERALIZATION),
                ("locality: a neighbor", LOCALITY),
            ],
            **_NAMED,
        )
        self.measure_button = button(
            "Measure", "measure-probes", self.with_errors_shown(_JOB, self.measure), style="primary"
        )
        self.sort_button = button("Sort by most changed", "sort-probes", self._sort_pressed)
        self.add_button = button(
            "Add row", "add-probe", self.with_errors_shown(_JOB, self._add_pressed)
        )
        self.show(
            W.HTML(
                "<h3>Probes</h3><p class='ae-quiet'>Does the edit hold for its own prompt, "
                "generalize to paraphrases, and leave neighbors unchanged? Select a row to see its "
                "prompt in Compare. Change is after minus before, of P(new) or P(true), whichever "
                "moved further.</p>"
            ),
            self._states,
            self._counts,
            row(self.measure_button, self.sort_button, self._status),
            self.table,
            row(self._prompt, self._kind, self.add_button),
        )
        self.table.observe(self._sorting_changed, ["sorted_by", "descending"])
        self.table.observe(self._row_selected, ["selected"])
        self.state.observe(self._question_changed, ["drafts", "selected", "reference"])
        self.state.observe(self._weights_changed, ["revision"])
        self.state.observe(self._job_moved, ["job_updates"])
        self._draw()

    # -- from Python -----------------------------------------------------------------------------

    @property
    def probes(self) -> list[ProbePrompt]:
        """All probes of the selected fact; none if no fact is selected."""
        fact = self.state.fact
        return probes_of(fact) if fact else []

    @property
    def rows(self) -> list[ProbeRow]:
        """The measured probes, for the reference and the present state."""
        return [row for row in self._rows() if row is not None]

    @property
    def missing(self) -> list[ProbePrompt]:
        """The probes not measured yet."""
        pairs = zip(self.probes, self._rows(), strict=True)
        return [probe for probe, row in pairs if row is None]

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """Passed and total number of measured rows per kind."""
        return aggregate(self.rows)

    @property
    def selected(self) -> int:
        """Index of the selected row in ``probes``; -1 for none."""
        return int(self.table.selected)

    @selected.setter
    def selected(self, index: int) -> None:
        self.table.selected = int(index)

    def measure(self, block: bool = False) -> Job[list[ProbeRow]] | None:
        """Measure the unmeasured rows; None if there are none.

        Args:
            block: wait until it is done, and raise what it raised.

        Raises:
            InputError: if no fact is selected.
            SessionError: if another job runs.
        """
        return self._measure(self._fact(), self.missing, block=block)

    def add(
        self, prompt: str, kind: str = GENERALIZATION, block: bool = False
    ) -> Job[list[ProbeRow]] | None:
        """Add a paraphrase or neighbor to the selected fact and measure only that row.

        Args:
            prompt: the complete text; ``{}`` in a paraphrase stands for the subject.
            kind: ``generalization`` or ``locality``.
            block: wait until it is measured.

        Raises:
            InputError: if no fact is selected, or the row cannot be used or is there already.
            SessionError: if a job runs; nothing is added.
        """
        fact, existing = self._fact(), self.probes
        if self.state.foreground_busy:
            raise SessionError(
                "wait until the running job has ended, or cancel it; then add the row"
            )
        field = {GENERALIZATION: "paraphrases", LOCALITY: "neighbors"}.get(kind)
        if field is None:
            raise InputError(f"kind {kind!r} cannot be added; give {GENERALIZATION} or {LOCALITY}")
        state = self.state
        draft = state.drafts[state.selected]
        changed = replace(draft, **{field: (*getattr(draft, field), prompt)})
        new = [probe for probe in probes_of(changed.fact()) if probe not in existing]
        if not new:
            raise InputError(f"the prompt {prompt.strip()!r} is already there; enter another")
        drafts = list(state.drafts)
        drafts[state.selected] = changed
        state.drafts = tuple(drafts)
        return self._measure(fact, new, block=block)

    def sort_by_change(self) -> None:
        """Sort the rows by absolute change, largest first."""
        with self.table.hold_trait_notifications():
            self.table.descending = True
            self.table.sorted_by = _CHANGE

    @override
    def on_first_show(self) -> None:
        self._was_shown = True
        self._measure_if_due()

    @override
    def summary(self) -> str:
        fact = self.state.fact
        if fact is None:
            return "ProbesPanel(no fact is selected)"
        counts = ", ".join(f"{kind} {_share(*self.counts[kind])}" for kind in KINDS)
        return f"ProbesPanel({fact.subject}: {counts})"

    @override
    def static_html(self) -> str:
        if not self.rows:
            return super().static_html()
        counts = [[kind, _ASKS[kind], _share(*self.counts[kind])] for kind in KINDS]
        cells = [_cells(measured.probe, measured) for measured in self.rows]
        return table(("kind", "asks whether", "passed"), counts, "probe-counts") + table(
            _COLUMNS, cells, "probes", self._compared()
        )

    # -- measuring -------------------------------------------------------------------------------

    def _fact(self) -> Fact:
        fact = self.state.fact
        if fact is None:
            raise InputError("no ready fact is selected; select one under Facts")
        return fact

    def _rows(self) -> list[ProbeRow | None]:
        """One entry per probe; None for unmeasured probes."""
        fact, states = self.state.fact, (self.state.reference, self.session.applied)
        return [self._probes.known(fact, probe, *states) for probe in self.probes] if fact else []

    def _measure(
        self,
        fact: Fact,
        probes: Sequence[ProbePrompt],
        *,
        block: bool = False,
        background: bool = False,
    ) -> Job[list[ProbeRow]] | None:
        self._pending = False
        if not probes:
            self._message = "all rows are measured"
            self._draw()
            return None
        states = (self.state.reference, self.session.applied)
        count = f"{len(probes)} row{'' if len(probes) == 1 else 's'}"

        def work(monitor: Monitor) -> list[ProbeRow]:
            self._say(f"measuring {count}")
            return self._probes.measure(fact, probes, *states, monitor)

        def ended(job: Job[list[ProbeRow]]) -> None:
            # A measurement preempted by other work is due again when that work ends.
            self._pending = self._pending or (background and job.state == "canceled")
            self._message = f"measured {count}" if job.state == "done" else job.state
            self._draw()

        return self.state.start(_JOB, work, block=block, ended=ended, background=background)

    def _measure_if_due(self) -> None:
        """Measure after an edit if the panel has been shown and the model is free."""
        if (
            not self._pending
            or not self._was_shown
            or not self.state.idle
            or self.state.fact is None
        ):
            return
        try:
            self._measure(self.state.fact, self.missing, background=True)
        except SessionError:
            self._pending = True  # other work started first; retry when it ends

    # -- what happens ----------------------------------------------------------------------------

    def _question_changed(self, *_: Any) -> None:
        fact = self.state.fact
        question = (fact.slot if fact else None, self.state.reference)
        if question[:1] != self._question[:1]:
            self.table.selected = -1
        if question != self._question:
            self._question, self._message = question, ""
        self._draw()

    def _weights_changed(self, *_: Any) -> None:
        applied = self.session.applied
        if applied > self._applied:
            self._pending = True
        self._applied, self._message = applied, ""
        self._draw()
        self._measure_if_due()

    def _job_moved(self, *_: Any) -> None:
        self._lock()
        self._measure_if_due()

    def _row_selected(self, change: Any) -> None:
        if 0 <= change["new"] < len(self.probes):
            self.state.prompt = self.probes[change["new"]].prompt

    def _add_pressed(self) -> None:
        self.add(self._prompt.value, self._kind.value)
        self._prompt.value = ""

    def _sort_pressed(self, *_: Any) -> None:
        self.sort_by_change()

    # -- what is shown ---------------------------------------------------------------------------

    def _sorting_changed(self, *_: Any) -> None:
        self._fill()

    def _draw(self) -> None:
        self._states.value = text("probe-states", self._state_text(), tag="p")
        self._counts.value = self._counts_html()
        self._fill()
        self._say("; ".join(words for words in (self._message, self._unmeasured_text()) if words))
        self._lock()

    def _lock(self) -> None:
        none = self.state.fact is None
        self.measure_button.disabled = none or self.state.foreground_busy
        self.add_button.disabled = self._prompt.disabled = none or self.state.foreground_busy
        self.sort_button.disabled = none

    def _state_text(self) -> str:
        """Return a sentence on what is compared, or why nothing is."""
        fact = self.state.fact
        if fact is None:
            return "No fact is selected; enter or select one under Facts."
        message = f"{fact.text} → {fact.target}. {self._compared()}."
        if self.state.reference == self.session.applied:
            message += " Both have the same weights, so nothing differs; run an edit first."
        if not fact.paraphrases and not fact.neighbors:
            message += " The fact has no paraphrases or neighbors yet; add some below."
        return message

    def _compared(self) -> str:
        states = (self.state.reference, self.session.applied)
        before, after = (f"{n} original" if n == 0 else f"edit {n}" for n in states)
        return f"Before: {before}; after: {after}"

    def _unmeasured_text(self) -> str:
        unmeasured, total = len(self.missing), len(self.probes)
        if not total or not unmeasured:
            return ""
        subject = "the rows are" if unmeasured == total else f"{unmeasured} of {total} rows are"
        return f"{subject} not measured for these weights yet; press Measure"

    def _say(self, words: str) -> None:
        self._status.value = text("probes-state", words, tag="span")

    def _counts_html(self) -> str:
        counts = self.counts
        cells = "".join(
            f'<tr><th scope="row">{kind}</th><td>{_ASKS[kind]}</td><td class="ae-number ae-big">'
            f'<span data-testid="agg-{kind}">{_share(*counts[kind])}</span></td></tr>'
            for kind in KINDS
        )
        return f'<table class="ae-table"><tbody>{cells}</tbody></table>'

    def _fill(self) -> None:
        """Fill the table in the order set by its headings; unmeasured rows come last."""
        pairs = list(enumerate(zip(self.probes, self._rows(), strict=True)))
        column = self.table.sorted_by
        if column:
            sortable = [
                pair for pair in pairs if pair[1][1] is not None or column in ("kind", "prompt")
            ]
            unmeasured = [pair for pair in pairs if pair not in sortable]
            sortable.sort(
                key=lambda pair: _sort_key(column, *pair[1]), reverse=self.table.descending
            )
            pairs = [*sortable, *unmeasured]
        cells = [_cells(probe, measured) for _, (probe, measured) in pairs]
        self.table.fill(cells, [index for index, _ in pairs])


def _cells(probe: ProbePrompt, row: ProbeRow | None) -> list[str]:
    if row is None:
        return [probe.kind, probe.prompt, *["–"] * 5, "not measured"]
    before, after = row.before, row.after
    new = f"{chance(before.new.probability, 3)} → {chance(after.new.probability, 3)}"
    true = "–"
    if before.true is not None and after.true is not None:
        true = f"{chance(before.true.probability, 3)} → {chance(after.true.probability, 3)}"
    return [
        probe.kind,
        probe.prompt,
        _answer_text(before),
        _answer_text(after),
        new,
        true,
        f"{row.change:+.3f}",
        row.result,
    ]


def _answer_text(response: ProbeResponse) -> str:
    return f"{visible(response.text)} {chance(response.probability)}"


def _share(passed: int, count: int) -> str:
    return f"{passed} of {count}"


def _sort_key(column: str, probe: ProbePrompt, row: ProbeRow | None) -> Any:
    if column == "kind":
        return KINDS.index(probe.kind)
    if column == "prompt" or row is None:
        return probe.prompt.casefold()
    after = row.after
    return {
        "before": row.before.probability,
        "after": after.probability,
        "P(new)": after.new.probability,
        "P(true)": after.true.probability if after.true else -1.0,
        "result": row.result,
    }.get(column, abs(row.change))
