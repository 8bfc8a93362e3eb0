"""Retention: what is left of every earlier batch of facts after each later edit.

Every batch is asked again in every state from its own edit on, by its facts' own prompts. A fact
that a later batch supersedes (the rule by which a session lets go of its keys) no longer counts
from then on. States are those of the
history, so that of an edit of several batches all are first asked when it is whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Written
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
    "facts": "facts of the batch that count: those that no later batch has corrected",
    "|ΔW| / |W|": "Frobenius norm of all changes of a layer's weight together, as a share of the "
    "original's, %",
}
"""Metric definitions, by their names."""

#: States that the HTML form shows at most, the last ones: a notebook keeps what it shows.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BatchRetention:
    """What is left of one batch in one state.

    Attributes:
        facts: facts of the batch that count.
        rated: those of them that name a true target.
        efficacy: share of these whose new target is the likelier one, %; None for none.
        exact: share of the facts that the model says token by token, %; None for none.
    """

    facts: int
    rated: int
    efficacy: float | None
    exact: float | None


@dataclass(frozen=True, slots=True)
class BatchName:
    """Which batch it is.

    Attributes:
        edit: number of the edit, from 1.
        batch: its number within the edit, from 1.
        facts: facts that it wrote.
    """

    edit: int
    batch: int
    facts: int

    def __str__(self) -> str:
        return f"{self.edit}.{self.batch}"


@dataclass(frozen=True)
class Retention:
    """What is left of every batch in every state.

    Attributes:
        states: numbers of edits, ascending.
        batches: all batches up to the last state, in order.
        cells: by batch, then by state; None in states before the batch.
        weights: ``|dW| / |W|`` by layer, for each state.
    """

    states: tuple[int, ...]
    batches: tuple[BatchName, ...]
    cells: tuple[tuple[BatchRetention | None, ...], ...]
    weights: tuple[Mapping[int, float], ...]

    def matrix(self, measure: str = "exact") -> list[list[float | None]]:
        """``efficacy`` or ``exact`` by batch, then by state, %; None where nothing counts."""
        return [
            [None if cell is None else getattr(cell, measure) for cell in row] for row in self.cells
        ]

    def overall(self, measure: str = "exact") -> list[float | None]:
        """The share over all facts that count, for each state, %."""
        found = []
        for at in range(len(self.states)):
            weighed = [
                (getattr(cell, measure), cell.rated if measure == "efficacy" else cell.facts)
                for row in self.cells
                if (cell := row[at]) is not None
            ]
            known = [(value, count) for value, count in weighed if value is not None]
            total = sum(count for _, count in known)
            found.append(sum(v * count for v, count in known) / total if total else None)
        return found

    def headings(self, states: Sequence[int] | None = None) -> tuple[str, ...]:
        """What stands over the columns of :meth:`rows`."""
        shown = self.states if states is None else states
        return ("batch", "facts", *(f"after edit {number}" for number in shown))

    def rows(self, states: Sequence[int] | None = None) -> list[tuple[str, ...]]:
        """The table: a row for each batch, then all facts, then the weights.

        A cell has efficacy and exact: ``100 / 90``; "n/a" for what no fact has, "" before the
        batch. In weights it has the largest change of a layer.

        Args:
            states: those that are shown; None for all.
        """
        shown = self.states if states is None else states
        places = [self.states.index(number) for number in shown]
        rows = []
        for name, row in zip(self.batches, self.cells, strict=True):
            cells = [row[at] for at in places]
            rows.append(
                (
                    str(name), str(name.facts),
                    *("" if one is None else _both(one.efficacy, one.exact) for one in cells),
                )
            )  # fmt: skip
        efficacy, exact = self.overall("efficacy"), self.overall("exact")
        facts = sum(name.facts for name in self.batches)
        rows.append(("all", str(facts), *(_both(efficacy[at], exact[at]) for at in places)))
        largest = (max(self.weights[at].values(), default=0.0) for at in places)
        rows.append(("largest |ΔW| / |W|", "", *(f"{share:.2%}" for share in largest)))
        return rows

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
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
            "weights": [{str(n): share for n, share in own.items()} for own in self.weights],
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
        for at, (state, weights) in enumerate(zip(self.states, self.weights, strict=True)):
            largest = max(weights.values(), default=0.0)
            for name, cells in zip(self.batches, self.cells, strict=True):
                if (cell := cells[at]) is not None:
                    rows.append(
                        (state, name.edit, name.batch, cell.facts, cell.rated, cell.efficacy,
                         cell.exact, largest)
                    )  # fmt: skip
        return data_frame(columns, rows)

    def __repr__(self) -> str:
        return text_table(self.headings(), self.rows())

    def figure(self) -> str:
        """Every batch in every state as a picture, with a text that says the same."""
        return retention_html(
            self.states,
            [str(batch) for batch in self.batches],
            matrix=self.matrix("exact"),
            efficacy=self.overall("efficacy"),
            exact=self.overall("exact"),
            weights=self.weights,
        )

    def _repr_html_(self) -> str:
        last = self.states[-_SHOWN:]
        table = html_table(self.headings(last), self.rows(last))
        if len(last) < len(self.states):
            table += f"<p>the last {len(last)} of {len(self.states)} states; all are in rows()</p>"
        meanings = html_table(("number", "what it is"), list(DEFINITIONS.items()))
        return f"<p>each cell: efficacy / exact, %</p>{table}{self.figure()}{meanings}"


def retention(
    session: EditSession,
    states: Sequence[int] | None = None,
    monitor: Monitor | None = None,
) -> Retention:
    """Ask every batch again in every state; the weights are as before afterwards.

    In each state all prompts go through the model together, each fact's once.

    Args:
        session: the session.
        states: numbers of edits, undone ones too; None for all that are applied.
        monitor: what to report to.

    Raises:
        InputError: if no state is asked for.
        SessionError: if there are no edits, or not so many, or another thread uses the model.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    entries = session.history.entries
    if not entries or (states is None and session.applied == 0):
        raise SessionError("there is no edit whose facts could be kept; edit first, or redo")
    asked = range(1, session.applied + 1) if states is None else states
    wanted = sorted({as_integer(number) or 0 for number in asked})
    if not wanted:
        raise InputError("no state is asked for; give numbers of edits, or none for all")
    for number in wanted:
        if not 1 <= number <= len(entries):
            raise SessionError(f"there is no state {number} with facts; give 1 to {len(entries)}")
    batches = [
        (BatchName(edit, place, len(batch.facts)), batch)
        for edit, entry in enumerate(entries[: wanted[-1]], start=1)
        for place, batch in enumerate(entry.batches, start=1)
    ]
    columns: list[list[BatchRetention | None]] = []
    with session.model.exclusive(), monitor.stage("retention", len(wanted), "state"):
        for number in wanted:
            counting = surviving_facts([batch for name, batch in batches if name.edit <= number])
            with session.at_state(number):
                column: list[BatchRetention | None] = [*_asked(session.model, counting, monitor)]
            columns.append(column + [None] * (len(batches) - len(column)))
            monitor.advance()
    return Retention(
        tuple(wanted),
        tuple(name for name, _ in batches),
        tuple(zip(*columns, strict=True)),
        tuple(weight_changes(entries[:number]) for number in wanted),
    )


def surviving_facts(batches: Sequence[Written]) -> list[list[Fact]]:
    """Of each batch the facts that no later one has superseded."""
    gone = {position for batch in batches for position in batch.superseded}
    found, position = [], count()
    for batch in batches:
        found.append([fact for fact in batch.facts if next(position) not in gone])
    return found


def _asked(
    model: EditableModel, batches: Sequence[Sequence[Fact]], monitor: Monitor
) -> Iterator[BatchRetention]:
    """What a model, as it stands, has of each batch; all prompts in one pass."""
    pairs = [
        (fact.text, target)
        for facts in batches
        for fact in facts
        for target in (fact.target, fact.target_true)
        if target is not None
    ]
    scores = iter(target_logprobs(model, pairs, monitor=monitor))
    for facts in batches:
        asked = [(next(scores), next(scores) if fact.target_true else None) for fact in facts]
        yield _kept(asked)


def _kept(asked: Sequence[tuple[Score, Score | None]]) -> BatchRetention:
    rated = [new.nll < true.nll for new, true in asked if true is not None]
    return BatchRetention(
        len(asked),
        len(rated),
        100 * sum(rated) / len(rated) if rated else None,
        100 * sum(new.exact for new, _ in asked) / len(asked) if asked else None,
    )


def _both(efficacy: float | None, exact: float | None) -> str:
    if efficacy is None and exact is None:
        return "n/a"
    return " / ".join("n/a" if value is None else f"{value:.0f}" for value in (efficacy, exact))
