"""An experiment as one HTML page, in the layout of the paper's table, and as a table of text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from alphaedit_core.display.escaping import escape
from alphaedit_core.display.html_page import page, scroll
from alphaedit_core.display.tables import html_table
from alphaedit_core.evaluation.metrics.registry import metrics
from alphaedit_core.inference.scoring import PERPLEXITY
from alphaedit_core.side_effects.ability import DEFINITIONS
from alphaedit_core.storage.files import portable_name, write_atomic
from alphaedit_core.storage.json_text import to_json

from .figures import experiment_curves_html, experiment_retention_html
from .paper_results import BATCH, EDITS
from .results import (
    _MOVED,
    ExperimentResult,
    about,
    held,
    measured_drifts,
    paper_table,
    whole_table,
)


def experiment_html(findings: ExperimentResult) -> str:
    """One self-contained page: the table, curves, what is left of each batch, and definitions."""
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
        f"<h2>Over the edits</h2>{experiment_curves_html(findings)}",
        "<h2>What is left of every batch</h2>"
        f"{experiment_retention_html(findings, held(findings))}",
        f"<h2>Metric definitions</h2>{scroll(html_table(*cards(findings.metrics)))}",
        scroll(html_table(*other_cards(findings))),
        "<h2>Settings</h2><details><summary>Everything that the numbers depend on</summary>"
        f"<pre>{escape(to_json(dict(manifest), indent=1))}</pre></details>",
    ]
    return page(title, parts)


def cards(names: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of what metrics are."""
    known = metrics()
    rows: list[tuple[str, ...]] = [
        (name, card.formula, card.direction, card.unit, card.source, card.note)
        for name, card in ((name, known.get(name)) for name in names)
        if card is not None  # of a metric that was registered where this was measured
    ]
    return ("metric", "formula", "better", "unit", "source", "note"), rows


def other_cards(findings: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
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


def save_report(findings: ExperimentResult) -> Path:
    """Write ``report.html`` into the experiment's folder, one page that needs no network."""
    place = findings.folder / "report.html"
    write_atomic(place, experiment_html(findings))
    return place
