"""Every editor on the same facts in one batch, as published, and with its projection switched.

python -m benchmarks.editors RECORDS.json --text TEXT.txt --output benchmarks/RESULTS.md
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from alphaedit_core import EditSession, Monitor, load_model, read_facts
from alphaedit_core.editors import editor_class, editors
from alphaedit_core.facts import Fact
from alphaedit_core.hyperparameters import HyperParameters
from alphaedit_core.measures import Measures
from alphaedit_core.models import EditableModel
from alphaedit_core.rivals import compare_editors
from alphaedit_core.session import default_hyperparameters

from .machine import Machine, this_machine
from .report import Report, keep

_COLUMNS = (
    "editor", "projection", "layers", "efficacy", "generalisation", "specificity", "rewrite exact",
    "perplexity", "seconds",
)  # fmt: skip


def methods(model: EditableModel, names: Sequence[str]) -> list[HyperParameters]:
    """Every editor with and without the projection, as published first."""
    found = []
    for name in names:
        hp = default_hyperparameters(model, name)
        found += [hp, hp.replace(projection=not hp.projection)]
    return found


def benchmark(
    model: EditableModel,
    facts: Sequence[Fact],
    text: str | None,
    names: Sequence[str],
    session: EditSession | None = None,
) -> Report:
    """The table.

    Args:
        model: the model, unedited.
        facts: the facts, all in one batch.
        text: for the perplexity; None for none.
        names: of the editors.
        session: whose model and contexts are used; None for a new one.
    """
    session = session or EditSession(model)
    wanted = methods(model, names)
    contest = compare_editors(session, facts, wanted, len(facts), text, Monitor(None))
    report = Report("editors", "Editors", columns=_COLUMNS)
    report.rows.append(("unedited", "", "", *_cells(contest.before), ""))
    for rival in contest.rivals:
        hp = rival.hyperparameters
        published = hp.projection is editor_class(hp.editor).projection
        switched = f"{'on' if hp.projection else 'off'}{' (as published)' if published else ''}"
        layers = f"{hp.layers[0]}–{hp.layers[-1]}" if len(hp.layers) > 1 else str(hp.layers[0])
        cells = _cells(rival.after)
        report.rows.append((hp.editor, switched, layers, *cells, f"{rival.seconds:.1f}"))
    report.notes = [
        f"{len(facts)} facts in one batch (ROME: one at a time), each row from the unedited model; "
        "all × 100 but the perplexity and the seconds.",
        "A search is made once for editors that search alike, by the first of them: the seconds of "
        "the others are those of the rest.",
        "Settings as published, scaled to this model where they are per model; layers of editors "
        "with a single one: the middle of the preset's, and two thirds of the depth for training.",
    ]
    return report


def _cells(found: Measures) -> tuple[str, ...]:
    shares = (found.efficacy, found.generalisation, found.specificity, found.exact)
    read = "" if found.perplexity is None else f"{found.perplexity:.2f}"
    return (*("n/a" if share is None else f"{share:.1f}" for share in shares), read)


def main() -> None:
    """Run, show, and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", help="CounterFact records, or a facts file")
    parser.add_argument("--text", help="running text for the perplexity")
    parser.add_argument("--facts", type=int, default=40)
    parser.add_argument("--editors", default=",".join(editors()), help="separated by commas")
    parser.add_argument("--output", type=Path, help="Markdown file to keep the table in")
    arguments = parser.parse_args()
    text = Path(arguments.text).read_text("utf-8") if arguments.text else None
    facts = read_facts(arguments.records, limit=arguments.facts)
    report = benchmark(load_model(), facts, text, arguments.editors.split(","))
    machine: Machine = this_machine()
    print(report.markdown(machine))
    if arguments.output is not None:
        keep(report, machine, arguments.output)


if __name__ == "__main__":
    main()
