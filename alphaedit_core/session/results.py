"""Results of an edit: responses before and after, and what was written to each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Superseded
from alphaedit_core.display.data_frames import data_frame
from alphaedit_core.display.escaping import escape
from alphaedit_core.display.tables import _one_line, html_table, text_table
from alphaedit_core.editing.layer_write import LayerWrite
from alphaedit_core.editing.search_trace import Trace
from alphaedit_core.inference.scores import Score
from alphaedit_core.storage.typed_records import read_record

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class ModelResponse:
    """Response of a model to the prompt of one fact.

    Attributes:
        completion: greedy continuation of the prompt.
        new: score of the new target.
        true: score of the true target; None if the fact has none.
    """

    completion: str
    new: Score
    true: Score | None


@dataclass(frozen=True, kw_only=True)
class FactResult:
    """One fact of an edit, before and after.

    Attributes:
        fact: the fact.
        tokens: text of each token of the new target.
        before: response before the edit.
        after: response after the whole edit.
        trace: trace of the target search.
        residual_left: share of the target change of the hidden state that was not written. None
            without a target change: the editor has no target search, or the model already
            predicted the fact at the first evaluation.
        note: a remark about the tokenization of the fact, or "".
    """

    fact: Fact
    tokens: tuple[str, ...]
    before: ModelResponse
    after: ModelResponse
    trace: Trace
    residual_left: float | None
    note: str = ""

    @property
    def written(self) -> bool:
        """Whether every token of the new target is the model's first choice after the edit."""
        return self.after.new.exact


@dataclass(frozen=True, kw_only=True)
class EditResult:
    """Result of one edit.

    Attributes:
        outcomes: one result per fact, in the order of the call.
        writes: what was written, per batch and layer.
        batches: index of the batch of each fact.
        plans: tokens per forward pass, per batch.
        seconds: wall-clock seconds per stage.
        superseded: earlier facts that the edit replaced; they are no longer protected.
    """

    outcomes: list[FactResult]
    writes: list[list[LayerWrite]]
    batches: list[int]
    plans: list[int]
    seconds: dict[str, float] = field(default_factory=dict)
    superseded: list[Superseded] = field(default_factory=list)

    @property
    def written(self) -> int:
        """Number of written facts; see :attr:`FactResult.written`."""
        return sum(outcome.written for outcome in self.outcomes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-serializable values."""
        return {
            "outcomes": [
                asdict(outcome) | {"fact": outcome.fact.to_dict(), "tokens": list(outcome.tokens)}
                for outcome in self.outcomes
            ],
            "writes": [[asdict(write) for write in batch] for batch in self.writes],
            "batches": self.batches,
            "plans": self.plans,
            "seconds": self.seconds,
            "superseded": [replaced.to_dict() for replaced in self.superseded],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> EditResult:
        """Read what :meth:`to_dict` returns.

        Raises:
            InputError: if a field is missing, unknown or invalid; names the first.
        """
        result = read_record(cls, stored)
        outcomes = [
            replace(outcome, residual_left=_share(outcome.residual_left))
            for outcome in result.outcomes
        ]
        return replace(result, outcomes=outcomes)

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row per fact: prompt, completion before and after, P(new), P(true)."""
        return [_row(outcome) for outcome in self.outcomes]

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per fact.

        Columns, with ``_before`` and ``_after`` the edit where marked †:

        - ``fact``, ``batch``: their numbers, from 1.
        - ``subject``, ``prompt`` (with the subject filled in), ``target``, ``true_target``.
        - ``completion`` †: greedy continuation of the prompt.
        - ``target_probability`` †, ``true_target_probability`` †: exp of minus the mean negative
          log-likelihood of the tokens.
        - ``target_nll`` †, ``true_target_nll`` †: that mean, in nats.
        - ``target_rank`` †: rank of the target's first token, 1 for the most likely.
        - ``exact_match`` †: whether every target token is the most likely one at its place.
        - ``residual``: share of the intended change of the hidden state that was not written.

        Raises:
            InputError: if pandas is not installed.
        """
        rows = [
            (number, batch + 1, *_fact_cells(outcome))
            for number, (outcome, batch) in enumerate(
                zip(self.outcomes, self.batches, strict=True), start=1
            )
        ]
        return data_frame(_COLUMNS, rows)

    def summary(self) -> str:
        """Return one line with the number of written facts and the seconds."""
        count = len(self.outcomes)
        seconds = sum(self.seconds.values())
        return f"{self.written} of {count} facts written, {seconds:.1f} s"

    def __repr__(self) -> str:
        lines = [f"EditResult: {self.summary()}", text_table(HEADINGS, self.rows())]
        lines += [_one_line(str(replaced), 300) for replaced in self.superseded[:_HTML_ROWS]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from alphaedit_core.editing.search_figure import trace_html

        rows = [(str(number), *row) for number, row in enumerate(self.rows(), start=1)]
        shown = html_table(("fact", *HEADINGS), rows[:_HTML_ROWS])
        if len(rows) > _HTML_ROWS:
            shown += f"<p>… and {len(rows) - _HTML_ROWS} more, in rows()</p>"
        notes = [
            f"fact {number}: {outcome.note}"
            for number, outcome in enumerate(self.outcomes, start=1)
            if outcome.note
        ]
        writes = [
            _write_row(number, write)
            for number, batch in enumerate(self.writes[:_HTML_ROWS], start=1)
            for write in batch
        ]
        return (
            f"<p>{escape(self.summary())}</p>{shown}"
            + "".join(f"<p>{escape(note)}</p>" for note in notes[:_HTML_ROWS])
            + superseded_html(self.superseded)
            + trace_html([outcome.trace for outcome in self.outcomes])
            + "<details><summary>Update per layer</summary>"
            + html_table(_WRITE_HEADINGS, writes)
            + "</details>"
        )


def superseded_html(superseded: Sequence[Superseded]) -> str:
    """Return an HTML list of the facts that an edit replaced; "" for none."""
    shown = [str(replaced) for replaced in superseded[:_HTML_ROWS]]
    if len(superseded) > _HTML_ROWS:
        shown.append(f"… and {len(superseded) - _HTML_ROWS} more, in superseded")
    items = "".join(f"<li>{escape(one)}</li>" for one in shown)
    return f'<ul data-testid="superseded">{items}</ul>' if items else ""


_COLUMNS: dict[str, type] = {
    "fact": int,
    "batch": int,
    "subject": str,
    "prompt": str,
    "target": str,
    "true_target": str,
    "completion_before": str,
    "completion_after": str,
    "target_probability_before": float,
    "target_probability_after": float,
    "true_target_probability_before": float,
    "true_target_probability_after": float,
    "target_nll_before": float,
    "target_nll_after": float,
    "true_target_nll_before": float,
    "true_target_nll_after": float,
    "target_rank_before": int,
    "target_rank_after": int,
    "exact_match_before": bool,
    "exact_match_after": bool,
    "residual": float,
}


def _fact_cells(outcome: FactResult) -> tuple[object, ...]:
    """Return the cells of one fact in :meth:`EditResult.to_pandas`, without the first two."""
    fact, states = outcome.fact, (outcome.before, outcome.after)
    return (
        fact.subject,
        fact.text,
        fact.target,
        fact.target_true,
        *(state.completion for state in states),
        *(state.new.probability for state in states),
        *(state.true and state.true.probability for state in states),
        *(state.new.nll for state in states),
        *(state.true and state.true.nll for state in states),
        *(state.new.rank for state in states),
        *(state.new.exact for state in states),
        outcome.residual_left,
    )


HEADINGS = ("prompt", "before", "after", "P(new)", "P(true)")
_WRITE_HEADINGS = ("batch", "layer", "change", "without projection", "key kept", "residual before")


def _share(stored: float | None) -> float | None:
    """Read ``residual_left``; earlier versions divided a target change of zero by 1e-38."""
    return None if stored is None or not stored < 1e30 else stored


#: Maximum number of facts, notes and batches in HTML. Notebooks store their outputs.
_HTML_ROWS = 100


def _write_row(number: int, write: LayerWrite) -> tuple[str, ...]:
    return (
        str(number),
        str(write.layer),
        f"{write.relative:.2%} of |W|",
        f"{write.unprojected_relative:.2%} of |W|",
        f"{sum(write.kept) / len(write.kept):.1%} of |k|²",
        f"{sum(write.residual) / len(write.residual):.2f}" if write.residual else "n/a",
    )


def _row(outcome: FactResult) -> tuple[str, ...]:
    before, after = outcome.before, outcome.after
    true = "–"
    if before.true is not None and after.true is not None:
        true = f"{before.true.probability:.3f} → {after.true.probability:.3f}"
    return (
        outcome.fact.text,
        _one_line(before.completion),
        _one_line(after.completion),
        f"{before.new.probability:.3f} → {after.new.probability:.3f}",
        true,
    )
