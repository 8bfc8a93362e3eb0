"""What the rows of the facts table are, in words, by what the model holds now."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.session import EditSession

from .drafts import APPLIED, DRAFT, FAILED, READY, Draft, needs


def statuses(drafts: Sequence[Draft], session: EditSession) -> list[str]:
    """One for each draft: ``draft``, ``needs: …``, ``ready``, ``applied`` or ``failed``.

    The last two are about the edits that are in the model now, and of facts about the same thing
    about the one written last.
    """
    latest: dict[tuple[str, str], tuple[str, str]] = {}
    for entry in session.history[: session.applied]:
        for outcome in entry.result.outcomes:
            fact = outcome.fact
            latest[fact.slot] = fact.id, APPLIED if outcome.written else FAILED
    found = []
    for draft, need in zip(drafts, needs(drafts), strict=True):
        if draft.blank:
            found.append(DRAFT)
        elif need:
            found.append(f"needs: {need}")
        else:
            fact = draft.fact()
            identity, word = latest.get(fact.slot, ("", ""))
            found.append(word if identity == fact.id else READY)
    return found


def counted(found: Sequence[str]) -> str:
    """How many rows are in which state: ``3 rows: 2 ready, 1 needs something``."""
    if not found:
        return "no facts yet"
    words = [
        f"{number} {word}"
        for word in (READY, APPLIED, FAILED)
        if (number := sum(status == word for status in found))
    ]
    if wanting := sum(status.startswith("needs") for status in found):
        words.append(f"{wanting} {'needs' if wanting == 1 else 'need'} something")
    return f"{rows(len(found))}: {', '.join(words) or 'empty'}"


def rows(number: int) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number} row" if number == 1 else f"{number} rows"
