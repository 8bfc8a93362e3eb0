"""HTML report of an experiment, with the table in the paper's layout."""

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
    _WEIGHT_CHANGE,
    ExperimentResult,
    about,
    held,
    measured_drifts,
    paper_table,
    whole_table,
)


def experiment_html(result: ExperimentResult) -> str:
    """Return a self-contained page: tables, curves, retention, definitions and settings."""
    manifest = result.manifest
    model, count = manifest["model"]["name"], len(manifest["records"]["names"])
    title = f"{count} sequential edits of {portable_name(model)}"
    headings, rows = paper_table(result)
    parts = [
        f"<h1>{escape(title)}</h1><p>{escape(about(result))}</p>",
        f"<h2>In the paper's layout</h2>{scroll(html_table(headings, rows))}",
        '<p class="quiet">Mean over the records ± standard error. '
        f"Rows of the paper, where it has this model, are after {EDITS:,} edits in batches of "
        f"{BATCH}.</p>",
        f"<h2>Everything measured</h2>{scroll(html_table(*whole_table(result)))}",
        f"<h2>Over the edits</h2>{experiment_curves_html(result)}",
        f"<h2>Retention of every batch</h2>{experiment_retention_html(result, held(result))}",
        f"<h2>Metric definitions</h2>{scroll(html_table(*cards(result.metrics)))}",
        scroll(html_table(*other_cards(result))),
        "<h2>Settings</h2><details><summary>Everything that the numbers depend on</summary>"
        f"<pre>{escape(to_json(dict(manifest), indent=1))}</pre></details>",
    ]
    return page(title, parts)


def cards(names: Iterable[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows of the definitions of metrics; unknown metrics are left out."""
    known = metrics()
    rows: list[tuple[str, ...]] = [
        (name, card.formula, card.direction, card.unit, card.source, card.note)
        for name, card in ((name, known.get(name)) for name in names)
        if card is not None  # a metric of a plug-in that is not installed here
    ]
    return ("metric", "formula", "better", "unit", "source", "note"), rows


def other_cards(result: ExperimentResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows of the definitions of all other measures of an experiment."""
    rows: list[tuple[str, ...]] = []
    if any(point.perplexity is not None for point in result.points):
        rows.append(("perplexity", PERPLEXITY))
    if any(point.ability for point in result.points):
        rows += [
            (f"{name} of a task", DEFINITIONS[name].partition(" After ±")[0])
            for name in ("accuracy", "F1")
        ]
    drifts = measured_drifts(result)
    rows += [(name.replace("_", " "), definition) for name, definition in drifts.items()]
    rows.append(("|ΔW| / |W|", _WEIGHT_CHANGE))
    return ("beside the metrics", "what it is"), rows


def save_report(result: ExperimentResult) -> Path:
    """Write ``report.html`` into the experiment's folder and return its path.

    The page needs no network.

    Raises:
        OSError: if the file cannot be written.
    """
    path = result.folder / "report.html"
    write_atomic(path, experiment_html(result))
    return path
