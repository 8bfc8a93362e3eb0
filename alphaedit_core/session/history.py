"""The edits of a session, as something to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alphaedit_core.display.tables import html_table, text_table

from .edits import Edit

_HEADINGS = ("", "edit", "time (UTC)", "facts", "written", "method", "first fact")


@dataclass(frozen=True)
class History(Sequence[Edit]):
    """All edits of a session in order.

    Attributes:
        entries: the edits, also undone ones that can be redone.
        applied: how many of them are applied.
    """

    entries: Sequence[Edit]
    applied: int

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self.entries[index]

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.entries)

    def rows(self) -> list[tuple[str, ...]]:
        """One row per state, newest first, the present one marked."""
        rows: list[tuple[str, ...]] = [
            ("current" if self.applied == 0 else "", "0", "", "", "", "", "original")
        ]
        for number, entry in enumerate(self.entries, start=1):
            mark = "current" if number == self.applied else ""
            facts = entry.facts
            first = f"{facts[0].text} → {facts[0].target}"
            more = f" and {len(facts) - 1} more" if len(facts) > 1 else ""
            rows.append(
                (
                    mark or ("undone" if number > self.applied else ""),
                    str(number),
                    entry.created.replace("+00:00", "").replace("T", " "),
                    str(len(facts)),
                    f"{entry.result.written} of {len(facts)}",
                    entry.hyperparameters.method,
                    first + more,
                )
            )
        return rows[::-1]

    def __repr__(self) -> str:
        return text_table(_HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADINGS, self.rows())
