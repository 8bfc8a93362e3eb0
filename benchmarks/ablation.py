"""What projection, previous keys and the ridge each do in sequential editing, one at a time.

    python -m benchmarks.ablation RECORDS.json --text TEXT.txt --results benchmarks/ablation.jsonl

Every setting edits the unedited model with the same facts in the same batches, and is measured
after 40 and after all of them. A line is written as soon as it is known, so a run that was stopped
goes on where it was; settings that stand in the file already are left out. ``--only`` names some,
and ``--output`` makes the table of what the file holds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alphaedit_core import EditableModel, EditSession, Fact, Monitor, load_model, read_facts
from alphaedit_core.hyperparameters import HyperParameters
from alphaedit_core.measures import measure
from alphaedit_core.session import default_hyperparameters
from alphaedit_core.targets import Targets

from .machine import this_machine
from .report import Report, keep

#: Facts after which a setting is measured for the first time.
EARLY = 40
BATCH = 20


def settings(model: EditableModel) -> Iterator[HyperParameters]:
    """All settings, those first that answer most: as published, then one switch at a time."""
    alphaedit = default_hyperparameters(model)
    memit = default_hyperparameters(model, "memit")
    switches = ((True, True), (False, True), (True, False), (False, False))
    for projection, previous in switches:
        yield alphaedit.replace(projection=projection, previous_keys=previous)
    for projection, previous in reversed(switches):
        yield memit.replace(projection=projection, previous_keys=previous)
    for ridge in (1.0, 100.0):
        for projection, previous in switches:
            yield alphaedit.replace(projection=projection, previous_keys=previous, ridge=ridge)


def named(hp: HyperParameters) -> str:
    """A setting in words."""
    number = f"ridge {hp.ridge:g}" if hp.editor == "alphaedit" else f"λ {hp.covariance_weight:g}"
    return f"{hp.method}, {number}, threshold {hp.threshold}"


def run(
    model: EditableModel,
    hp: HyperParameters,
    facts: list[Fact],
    text: str,
    shared: dict[str, Targets],
) -> dict[str, Any]:
    """One setting: measures after the first ``EARLY`` facts, and after all on all of them."""
    session = EditSession(model, hyperparameters=hp, targets=shared)
    found: dict[str, Any] = {"setting": named(hp), "hyperparameters": hp.to_dict(), "after": {}}
    start, quiet = time.perf_counter(), Monitor(None)
    try:
        for first in range(0, len(facts), BATCH):
            session.edit(facts[first : first + BATCH], BATCH, quiet)
            done = min(first + BATCH, len(facts))
            if done in (EARLY, len(facts)):
                found["after"][str(done)] = asdict(measure(model, facts[:done], text, quiet)) | {
                    "first": asdict(measure(model, facts[:EARLY], None, quiet))
                }
            # Of the first batch only: later ones begin on weights that no other setting has.
            while len(shared) > 1:
                shared.popitem()
        found["seconds"] = time.perf_counter() - start
    finally:
        session.close()
    return found


def table(lines: Sequence[dict[str, Any]]) -> Report:
    """What a file of results holds, as a report."""
    measured = ("efficacy", "generalisation", "specificity", "exact", "perplexity")
    counts = sorted({int(count) for line in lines for count in line["after"]})
    report = Report("ablation", "Projection, previous keys and λ in sequence")
    report.columns = (
        "setting", "edits", *measured[:3], "rewrite exact", "perplexity", "exact, first 40",
    )  # fmt: skip
    for line in lines:
        hp = HyperParameters.from_dict(line["hyperparameters"])
        for count in counts:
            found = line["after"][str(count)]
            numbers = [f"{found[name]:.1f}" for name in measured[:4]]
            cells = (*numbers, f"{found['perplexity']:.2f}", f"{found['first']['exact']:.1f}")
            report.rows.append((named(hp), str(count), *cells))
    report.notes = [
        f"Batches of {BATCH} CounterFact records, one after another; measured on all facts written "
        "so far, the last column on the first 40 alone.",
        "Settings that are not here have not been run yet.",
    ]
    return report


def main() -> None:
    """Run what is not in the file of results yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", help="CounterFact records, or a facts file")
    parser.add_argument("--text", required=True, help="running text for the perplexity")
    parser.add_argument("--results", type=Path, required=True, help="file of JSON lines")
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--only", help="settings whose words contain this; none to run nothing")
    parser.add_argument("--output", type=Path, help="Markdown file to keep the table in")
    arguments = parser.parse_args()
    model, text = load_model(), Path(arguments.text).read_text("utf-8")
    facts = read_facts(arguments.records, limit=arguments.edits)
    known = set()
    if arguments.results.exists():
        lines = arguments.results.read_text("utf-8").splitlines()
        known = {json.loads(line)["setting"] for line in lines}
    shared: dict[str, Targets] = {}
    for hp in settings(model):
        if named(hp) in known or (arguments.only and arguments.only not in named(hp)):
            continue
        print(named(hp), flush=True)
        line = json.dumps(run(model, hp, facts, text, shared), ensure_ascii=False)
        with arguments.results.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    if arguments.output is not None:
        lines = arguments.results.read_text("utf-8").splitlines()
        keep(table([json.loads(line) for line in lines]), this_machine(), arguments.output)


if __name__ == "__main__":
    main()
