"""An experiment as one HTML page, in the layout of the paper's table, and as a table of text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from alphaedit_core.data.datasets import dataset as reader
from alphaedit_core.display.escaping import escape
from alphaedit_core.display.html_page import page, scroll
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.evaluation.metrics import metrics
from alphaedit_core.inference.scoring import PERPLEXITY
from alphaedit_core.side_effects.ability import DEFINITIONS
from alphaedit_core.side_effects.baseline import DRIFTS
from alphaedit_core.storage.files import portable_name
from alphaedit_core.storage.json_text import to_json

from .paper_results import BATCH, COLUMNS, EDITS, published

if TYPE_CHECKING:
    from .runner import Findings, Point

_MOVED = (
    "Frobenius norm of the change by that of the unedited weight, mean over the edited layers; how "
    "far, not how well"
)


def experiment_html(findings: Findings) -> str:
    """One self-contained page: the table, curves, what is left of each batch, and definitions."""
    from .figures import curves_html, retention_html

    manifest = findings.manifest
    model, count = manifest["model"]["name"], len(manifest["records"]["names"])
    title = f"{count} sequential edits of {portable_name(model)}"
    headings, rows = paper_table(findings)
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(about(findings))}</p>",
        f"<h2>In the paper's layout</h2>{scroll(html_table(headings, rows))}",
        '<p class="quiet">Mean over the records ± standard error. '
        f"Rows of the paper, where it has this model, are after {EDITS:,} edits in batches of "
        f"{BATCH}.</p>",
        f"<h2>Everything measured</h2>{scroll(html_table(*whole_table(findings)))}",
        f"<h2>Over the edits</h2>{curves_html(findings)}",
        f"<h2>What is left of every batch</h2>{retention_html(findings, held(findings))}",
        f"<h2>What the numbers are</h2>{scroll(html_table(*cards(findings.metrics)))}",
        scroll(html_table(*other_cards(findings))),
        "<h2>Settings</h2><details><summary>Everything that the numbers depend on</summary>"
        f"<pre>{escape(to_json(dict(manifest), indent=1))}</pre></details>",
    ]
    return page(title, parts)


def about(findings: Findings) -> str:
    """What was written and by whose definitions it is measured, and what there is to know of it."""
    records, plan = findings.manifest["records"], findings.plan
    left_out = len(records["left_out"])
    said = [
        f"{', '.join([records['dataset'], *(f'{n}={v}' for n, v in records['options'].items())])}, "
        f"{len(records['names'])} records in batches of {plan.batch_size}."
    ]
    if plan.compat != "paper":
        said.append("The usual metrics are those of EasyEdit.")
    if left_out:
        said.append(f"{left_out} more were about the same as one of their batch.")
    if not findings.checked:
        said.append("Kept without checksums, by an earlier version.")
    if not findings.complete:
        said.append("Not complete yet.")
    said += [
        f"{name} broke down after {broken.edits} edits: {broken.broke}."
        for name in plan.names()
        if (broken := findings.broken(name)) is not None
    ]
    return " ".join(said)


def paper_table(findings: Findings) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the paper's table, with the paper's own rows where it has the model.

    Where not all of the paper's columns were measured, whatever else was measured follows them.
    """
    dataset = findings.manifest["records"]["dataset"]
    papers = COLUMNS.get(dataset, ())
    wanted = [name for name in papers if name in findings.metrics]
    others = [name for name in findings.metrics if name not in wanted]
    columns = wanted if wanted and len(wanted) == len(papers) else wanted + others
    rows = [
        (
            _named(findings, name),
            str(point.edits if name != "unedited" else 0),
            *_cells(point, columns),
        )
        for name, point in findings.last().items()
    ]
    rows += [
        (_named(findings, name), "0", *("n/a" for _ in columns))
        for name in findings.plan.names()
        if findings.broken(name) and not findings.of(name)
    ]
    model = findings.manifest["model"].get("preset") or ""
    places = [papers.index(name) for name in wanted]
    # The paper's numbers are of the data set's usual task, and in its own columns.
    usual = bool(wanted) and findings.manifest["records"]["options"] == reader(dataset).chosen
    for method, values in (published(model, dataset) if usual else {}).items():
        rows.append(
            (
                f"{method}, as published on {model}",
                str(0 if method == "unedited" else EDITS),
                *(f"{values[place]:.2f}" for place in places),
                *("" for _ in columns[len(wanted) :]),
            )
        )
    return ("method", "edits", *columns), rows


def whole_table(findings: Findings) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of everything that was measured, a row for every point."""
    names = findings.metrics
    tasks = sorted({task for point in findings.points for task in point.ability})
    drifts = measured_drifts(findings)
    rows = []
    for method in ("unedited", *findings.plan.names()):
        for point in findings.of(method):
            weights = list(point.weights.values())
            moved = [point.drift.get(name) for name in drifts]
            rows.append(
                (
                    method,
                    str(point.edits if weights else 0),
                    *_cells(point, names),
                    "" if point.perplexity is None else f"{point.perplexity:.2f}",
                    *(
                        _number(point.ability.get(task, {}).get(measure))
                        for task in tasks
                        for measure in ("accuracy", "f1")
                    ),
                    *("" if value is None else f"{value:.3g}" for value in moved),
                    f"{sum(weights) / len(weights):.3f}" if weights else "",
                    f"{point.seconds['writing']:.0f}" if weights else "",
                    f"{point.seconds['measuring']:.0f}",
                )
            )
    ability = (f"{task}, {measure}" for task in tasks for measure in ("accuracy", "F1"))
    shifts = (name.replace("_", " ") for name in drifts)
    ends = ("|ΔW| / |W|", "seconds writing", "seconds measuring")
    return ("method", "edits", *names, "perplexity", *ability, *shifts, *ends), rows


def measured_drifts(findings: Findings) -> dict[str, str]:
    """The measures of drift that some point has, and what they are."""
    known = {name for point in findings.points for name in point.drift}
    return {name: words for name, words in DRIFTS.items() if name in known}


def _named(findings: Findings, method: str) -> str:
    """A method, and after how many edits it broke down if it did."""
    broken = findings.broken(method)
    return method if broken is None else f"{method}, broke down after {broken.edits}"


def experiment_text(findings: Findings) -> str:
    """What was written, and the paper's table, for a terminal."""
    return "\n".join([about(findings), text_table(*paper_table(findings))])


def held(findings: Findings) -> list[str]:
    """The metrics that say whether what was written is still there."""
    wanted = ("efficacy", "efficacy_accuracy", "rewrite_acc", "multi_hop")
    return [name for name in wanted if name in findings.metrics]


def cards(names: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of what metrics are."""
    known = metrics()
    rows: list[tuple[str, ...]] = [
        (name, card.formula, card.direction, card.unit, card.source, card.note)
        for name, card in ((name, known.get(name)) for name in names)
        if card is not None  # of a metric that was registered where this was measured
    ]
    return ("metric", "formula", "better", "unit", "source", "note"), rows


def other_cards(findings: Findings) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of what is measured beside the metrics."""
    rows: list[tuple[str, ...]] = []
    if any(point.perplexity is not None for point in findings.points):
        rows.append(("perplexity", PERPLEXITY))
    if any(point.ability for point in findings.points):
        rows += [
            (f"{name} of a task", DEFINITIONS[name].partition(" After ±")[0])
            for name in ("accuracy", "F1")
        ]
    rows += [(name.replace("_", " "), words) for name, words in measured_drifts(findings).items()]
    rows.append(("|ΔW| / |W|", _MOVED))
    return ("beside the metrics", "what it is"), rows


def _cells(point: Point, names: Iterable[str]) -> list[str]:
    cells = []
    for name in names:
        if name not in point.values:
            cells.append("")  # not measured there
            continue
        value, error = point.values[name], point.errors.get(name)
        cells.append(_number(value) + (f" ± {error:.1f}" if value is not None and error else ""))
    return cells


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}"
