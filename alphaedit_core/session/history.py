"""The history of a session as a sequence and a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alphaedit_core.display.data_frames import as_utc, data_frame
from alphaedit_core.display.tables import html_table, text_table

from .edits import Edit

if TYPE_CHECKING:
    import pandas

_HEADINGS = ("", "edit", "time (UTC)", "facts", "written", "method", "first fact")
_COLUMNS: dict[str, type] = {
    "edit": int,
    "applied": bool,
    "created": str,
    "title": str,
    "editor": str,
    "method": str,
    "batches": int,
    "facts": int,
    "written": int,
    "superseded": int,
    "seconds": float,
    "subject": str,
    "prompt": str,
    "target": str,
}


@dataclass(frozen=True)
class History(Sequence[Edit]):
    """All edits of a session in order.

    Attributes:
        entries: edits, including undone ones that can be redone.
        applied: number of applied edits.
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
        """Return one row per state, newest first, with the current state marked."""
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

    def to_pandas(self) -> pandas.DataFrame:
        """Return a data frame with one row per edit, the first edit first.

        Columns:

        - ``edit``: its number, from 1; the number of the state after it.
        - ``applied``: False if it was undone.
        - ``created``: time, as a datetime in UTC.
        - ``title``, ``editor``, and ``method``, the editor with its switches.
        - ``batches``, ``facts``: how many.
        - ``written``: facts whose target was the model's first choice token by token afterwards.
        - ``superseded``: earlier facts that it replaced.
        - ``seconds``: duration of all stages.
        - ``subject``, ``prompt``, ``target``: of the first fact.

        Raises:
            InputError: if pandas is not installed.
        """
        frame = data_frame(
            _COLUMNS,
            [
                (
                    number,
                    number <= self.applied,
                    entry.created,
                    entry.title,
                    entry.hyperparameters.editor,
                    entry.hyperparameters.method,
                    len(entry.batches),
                    len(entry.facts),
                    entry.result.written,
                    len(entry.result.superseded),
                    sum(entry.result.seconds.values()),
                    entry.facts[0].subject,
                    entry.facts[0].text,
                    entry.facts[0].target,
                )
                for number, entry in enumerate(self.entries, start=1)
            ],
        )
        return frame.assign(created=as_utc(frame["created"]))

    def __repr__(self) -> str:
        return text_table(_HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        return html_table(_HEADINGS, self.rows())
