"""Retention: how much of every earlier batch of facts is kept after each later edit.

Every batch is queried with its facts' own prompts in every state from its own edit on. A fact that
a later batch supersedes, and whose keys the session drops for that reason, no longer counts from
then on. States are those of the history, so all batches of one edit are queried after the edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import FactBatch
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.integers import as_integer
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession

from .drift import weight_changes
from .retention_figure import retention_html

if TYPE_CHECKING:
    import pandas

DEFINITIONS: Mapping[str, str] = {
    "efficacy": "share of a batch's facts whose new target is likelier than the true one after the "
    "fact's prompt, NLL(new) < NLL(true) (Meng et al. 2022, section 3.4), %; of the facts that "
    "name a true target; higher is better",
    "exact": "share whose new target is the model's first choice token by token, %; higher is "
    "better",
    "facts": "facts of the batch that no later batch has superseded",
    "|ΔW| / |W|": "Frobenius norm of the sum of a layer's updates, as a share of the norm of the "
    "original weight, %",
}
"""Metric definitions, by their names."""

#: Number of states in the HTML form, the last ones. Notebooks store their outputs.
_MAX_HTML_STATES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRetention:
    """Retention of one batch in one state.

    Attributes:
        facts: number of facts that no later batch has superseded.
        rated: number of these facts that name a true target.
        efficacy: share of the rated facts whose new target is likelier than the true one, %; None
            without rated facts.
        exact: share of the facts whose target is the model's first choice token by token, %; None
            without facts.
    """

    facts: int
    rated: int
    efficacy: float | None
    exact: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchName:
    """Identifies a batch.

    Attributes:
        edit: number of the edit, from 1.
        batch: number of the batch within the edit, from 1.
        facts: number of facts written.
    """

    edit: int
    batch: int
    facts: int

    def __str__(self) -> str:
        return f"{self.edit}.{self.batch}"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Retention of every batch in every state.

    Attributes:
        states: numbers of edits, ascending.
        batches: all batches up to the last state, in order.
        cells: retention by batch, then by state; None in states before the batch's edit.
        weights: ``|dW| / |W|`` by layer, for each state.
    """

    states: tuple[int, ...]
    batches: tuple[BatchName, ...]
    cells: tuple[tuple[BatchRetention | None, ...], ...]
    weights: tuple[Mapping[int, float], ...]

    def matrix(self, measure: str = "exact") -> list[list[float | None]]:
        """Return a measure by batch, then by state, %; None without facts to measure.

        Args:
            measure: ``efficacy`` or ``exact``.
        """
        return [
            [None if cell is None else getattr(cell, measure) for cell in row] for row in self.cells
        ]

    def overall(self, measure: str = "exact") -> list[float | None]:
        """Return a measure over the facts of all batches, for each state, %.

        Args:
            measure: ``efficacy`` or ``exact``.
        """
        shares = []
        for column in range(len(self.states)):
            weighted = [
                (getattr(cell, measure), cell.rated if measure == "efficacy" else cell.facts)
                for row in self.cells
                if (cell := row[column]) is not None
            ]
            known = [(value, count) for value, count in weighted if value is not None]
            total = sum(count for _, count in known)
            shares.append(sum(v * count for v, count in known) / total if total else None)
        return shares

    def headings(self, states: Sequence[int] | None = None) -> tuple[str, ...]:
        """Return the headings of :meth:`rows`."""
        shown = self.states if states is None else states
        return ("batch", "facts", *(f"after edit {number}" for number in shown))

    def rows(self, states: Sequence[int] | None = None) -> list[tuple[str, ...]]:
        """Return the table: a row per batch, a row for all facts, and a row for the weights.

        A cell holds efficacy and exact match, such as ``100 / 90``; "n/a" without facts, "" before
        the batch's edit. The row of the weights holds the largest change of a layer.

        Args:
            states: states to show; None for all.
        """
        shown = self.states if states is None else states
        columns = [self.states.index(number) for number in shown]
        rows = []
        for name, row in zip(self.batches, self.cells, strict=True):
            cells = [row[column] for column in columns]
            rows.append(
                (
                    str(name), str(name.facts),
                    *("" if cell is None else _both(cell.efficacy, cell.exact) for cell in cells),
                )
            )  # fmt: skip
        efficacy, exact = self.overall("efficacy"), self.overall("exact")
        facts = sum(name.facts for name in self.batches)
        rows.append(("all", str(facts), *(_both(efficacy[i], exact[i]) for i in columns)))
        largest = (max(self.weights[column].values(), default=0.0) for column in columns)
        rows.append(("largest |ΔW| / |W|", "", *(f"{share:.2%}" for share in largest)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as JSON-serializable values."""
        return {
            "states": list(self.states),
            "batches": [
                {"edit": name.edit, "batch": name.batch, "facts": name.facts}
                for name in self.batches
            ],
            "facts": [[cell and cell.facts for cell in row] for row in self.cells],
            "rated": [[cell and cell.rated for cell in row] for row in self.cells],
            **{
                measure: {"matrix": self.matrix(measure), "all": self.overall(measure)}
                for measure in ("efficacy", "exact")
            },
            "weights": [
                {str(layer): share for layer, share in shares.items()} for shares in self.weights
            ],
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per state and batch; no rows before a batch's edit.

        Columns:

        - ``state``: number of edits in the model.
        - ``edit``, ``batch``: of the batch, from 1.
        - ``facts``: facts of the batch that no later batch has superseded.
        - ``facts_with_true_target``: those that ``efficacy`` is measured on.
        - ``efficacy``, ``exact_match``: %, see :data:`DEFINITIONS`.
        - ``max_weight_change``: largest ``|dW| / |W|`` of a layer in this state.

        Raises:
            InputError: if pandas is not installed.
        """
        columns = {
            "state": int, "edit": int, "batch": int, "facts": int, "facts_with_true_target": int,
            "efficacy": float, "exact_match": float, "max_weight_change": float,
        }  # fmt: skip
        rows = []
        for column, (state, weights) in enumerate(zip(self.states, self.weights, strict=True)):
            largest = max(weights.values(), default=0.0)
            for name, cells in zip(self.batches, self.cells, strict=True):
                if (cell := cells[column]) is not None:
                    rows.append(
                        (state, name.edit, name.batch, cell.facts, cell.rated, cell.efficacy,
                         cell.exact, largest)
                    )  # fmt: skip
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        return text_table(self.headings(), self.rows())

    def figure(self) -> str:
        """Return a figure of every batch in every state as HTML, with an equivalent text."""
        return retention_html(
            self.states,
            [str(batch) for batch in self.batches],
            matrix=self.matrix("exact"),
            efficacy=self.overall("efficacy"),
            exact=self.overall("exact"),
            weights=self.weights,
        )

    def _repr_html_(self) -> str:
        last = self.states[-_MAX_HTML_STATES:]
        table = html_table(self.headings(last), self.rows(last))
        if len(last) < len(self.states):
            table += f"<p>the last {len(last)} of {len(self.states)} states; all are in rows()</p>"
        definitions = html_table(("number", "definition"), list(DEFINITIONS.items()))
        return f"<p>each cell: efficacy / exact, %</p>{table}{self.figure()}{definitions}"


def retention(
    session: EditSession,
    states: Sequence[int] | None = None,
    monitor: Monitor | None = None,
) -> Retention:
    """Measure every batch in every state; the weights are restored afterwards.

    Args:
        session: the session.
        states: numbers of edits, including undone ones; None for all applied edits.
        monitor: receives progress.

    Raises:
        InputError: if ``states`` is empty.
        SessionError: if the session has no edits, a state does not exist, or another thread uses
            the model.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    entries = session.history.entries
    if not entries or (states is None and session.applied == 0):
        raise SessionError("the session has no applied edits; edit first, or redo")
    requested = range(1, session.applied + 1) if states is None else states
    numbers = sorted({as_integer(number) or 0 for number in requested})
    if not numbers:
        raise InputError("states is empty; give numbers of edits, or None for all")
    for number in numbers:
        if not 1 <= number <= len(entries):
            raise SessionError(f"there is no state {number} with facts; give 1 to {len(entries)}")
    batches = [
        (BatchName(edit=edit, batch=index, facts=len(batch.facts)), batch)
        for edit, entry in enumerate(entries[: numbers[-1]], start=1)
        for index, batch in enumerate(entry.batches, start=1)
    ]
    columns: list[list[BatchRetention | None]] = []
    with session.model.exclusive(), monitor.stage("retention", len(numbers), "state"):
        for number in numbers:
            facts = surviving_facts([batch for name, batch in batches if name.edit <= number])
            with session.at_state(number):
                column: list[BatchRetention | None] = [*_measure(session.model, facts, monitor)]
            columns.append(column + [None] * (len(batches) - len(column)))
            monitor.advance()
    return Retention(
        states=tuple(numbers),
        batches=tuple(name for name, _ in batches),
        cells=tuple(zip(*columns, strict=True)),
        weights=tuple(weight_changes(entries[:number]) for number in numbers),
    )


def surviving_facts(batches: Sequence[FactBatch]) -> list[list[Fact]]:
    """Return the facts of each batch that no later batch has superseded."""
    superseded = {position for batch in batches for position in batch.superseded}
    surviving, position = [], count()
    for batch in batches:
        surviving.append([fact for fact in batch.facts if next(position) not in superseded])
    return surviving


def _measure(
    model: EditableModel, batches: Sequence[Sequence[Fact]], monitor: Monitor
) -> Iterator[BatchRetention]:
    """Measure each batch in the current model, with all prompts in one pass."""
    pairs = [
        (fact.text, target)
        for facts in batches
        for fact in facts
        for target in (fact.target, fact.target_true)
        if target is not None
    ]
    scores = iter(target_logprobs(model, pairs, monitor=monitor))
    for facts in batches:
        pair = [(next(scores), next(scores) if fact.target_true else None) for fact in facts]
        yield _batch_retention(pair)


def _batch_retention(scores: Sequence[tuple[Score, Score | None]]) -> BatchRetention:
    rated = [new.nll < true.nll for new, true in scores if true is not None]
    return BatchRetention(
        facts=len(scores),
        rated=len(rated),
        efficacy=100 * sum(rated) / len(rated) if rated else None,
        exact=100 * sum(new.exact for new, _ in scores) / len(scores) if scores else None,
    )


def _both(efficacy: float | None, exact: float | None) -> str:
    if efficacy is None and exact is None:
        return "n/a"
    return " / ".join("n/a" if value is None else f"{value:.0f}" for value in (efficacy, exact))
