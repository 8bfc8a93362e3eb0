"""A benchmark's report as Markdown, and the file that stores it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from alphaedit_core.errors import AlphaEditError
from alphaedit_core.storage.files import write_atomic

from .machine import Machine


class CheckFailed(AlphaEditError):
    """The two sides of a benchmark do not compute the same thing, so times mean nothing."""


@dataclass(frozen=True)
class Ratio:
    """How many times better the library is.

    Attributes:
        what: of what.
        value: the plain way's figure over the library's.
        wanted: the least it should be; None where it is given for information.
    """

    what: str
    value: float
    wanted: float | None = None

    def __str__(self) -> str:
        text = f"{self.what}: {figure(self.value)} ×"
        if self.wanted is None:
            return text
        verdict = "met" if self.value >= self.wanted else "missed"
        return f"{text} (target {figure(self.wanted)} ×: {verdict})"


@dataclass
class Report:
    """One benchmark's result.

    Attributes:
        name: of the benchmark; its section in a file is found by it.
        title: heading of the section.
        checks: what was compared to be sure that both sides do the same, and how close they are.
        columns: headings of the table.
        rows: cells of the table.
        ratios: what it comes down to.
        notes: what one has to know to read the table.
    """

    name: str
    title: str
    checks: list[str] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, what: str, difference: float, allowed: float) -> None:
        """Note how far two results that should be equal are apart.

        Raises:
            CheckFailed: if that is more than ``allowed``, or not a number.
        """
        if not difference <= allowed:
            raise CheckFailed(
                f"benchmark {self.name}: {what} differ by {difference:.1e}, allowed is "
                f"{allowed:.0e}; times would mean nothing: run the tests first"
            )
        self.checks.append(f"{what}: differ by {difference:.1e} (allowed {allowed:.0e})")

    def markdown(self, machine: Machine) -> str:
        """Return the section with the machine and the date."""
        lines = [f"## {self.title}", ""]
        lines += [f"- **{ratio}**" for ratio in self.ratios]
        lines += ["", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows]
        lines += ["", *(f"- {note}" for note in self.notes)]
        lines += [f"- Checked: {check}." for check in self.checks]
        date = datetime.now(UTC).date().isoformat()
        return "\n".join([*lines, f"- Measured {date} on {machine}.", ""])


def keep(report: Report, machine: Machine, path: Path) -> None:
    """Write a report into a Markdown file, in the place of the same benchmark's last one."""
    begin, end = f"<!-- begin {report.name} -->", f"<!-- end {report.name} -->"
    text = path.read_text(encoding="utf-8") if path.exists() else "# Results\n"
    section = f"{begin}\n{report.markdown(machine)}{end}"
    head, found, rest = text.partition(begin)
    if found and end in rest:
        text = head + section + rest.partition(end)[2]
    else:
        text = text.rstrip("\n") + f"\n\n{section}\n"
    write_atomic(path, text)


def figure(value: float) -> str:
    """Three significant digits, thousands by commas: 0.0123, 4.56, 78.9, 1,230."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
