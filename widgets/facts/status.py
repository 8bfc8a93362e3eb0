"""Statuses of the facts table's rows, for the present state of the model."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.fact_drafts import APPLIED, DRAFT, FAILED, READY, Draft, needs


def statuses(drafts: Sequence[Draft], session: EditSession) -> list[str]:
    """Return a status per draft: ``draft``, ``needs: …``, ``ready``, ``applied`` or ``failed``.

    The last two are about the edits that are in the model now, and of these about the facts that
    no later one has superseded.
    """
    entries = session.history[: session.applied]
    outcomes = [outcome for entry in entries for outcome in entry.result.outcomes]
    current = CurrentFacts(batch for entry in entries for batch in entry.batches)
    latest = {
        (outcomes[at].fact.slot, outcomes[at].fact.id): APPLIED if outcomes[at].written else FAILED
        for at in current.positions
    }
    result = []
    for draft, need in zip(drafts, needs(drafts), strict=True):
        if draft.blank:
            result.append(DRAFT)
        elif need:
            result.append(f"needs: {need}")
        else:
            fact = draft.fact()
            result.append(latest.get((fact.slot, fact.id), READY))
    return result


def count_text(row_statuses: Sequence[str]) -> str:
    """Count the rows by status: ``3 rows: 2 ready, 1 incomplete``."""
    if not row_statuses:
        return "no facts yet"
    parts = [
        f"{number} {word}"
        for word in (READY, APPLIED, FAILED)
        if (number := sum(status == word for status in row_statuses))
    ]
    if incomplete := sum(status.startswith("needs") for status in row_statuses):
        parts.append(f"{incomplete} incomplete")
    return f"{rows(len(row_statuses))}: {', '.join(parts) or 'empty'}"


def rows(number: int) -> str:
    """Format a count of rows: ``1 row``, ``2 rows``."""
    return f"{number} row" if number == 1 else f"{number} rows"


def incomplete_rows(row_statuses: Sequence[str]) -> str:
    """Describe the first three incomplete rows; "" if there are none."""
    needs = [f"row {n} {status}" for n, status in enumerate(row_statuses, 1) if ":" in status]
    return "; ".join(needs[:3])
