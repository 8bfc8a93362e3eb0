"""Reports of a session: a self-contained HTML page, and Markdown for a model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from alphaedit_core._version import __version__
from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.display.escaping import escape, markdown, markdown_code
from alphaedit_core.display.html_page import page, scroll
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.editors.summary import settings_words
from alphaedit_core.editing.search_figure import trace_html
from alphaedit_core.evaluation.probes import KINDS, ProbeRow, aggregate
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.session.edits import Edit
from alphaedit_core.session.results import HEADINGS, FactResult, superseded_html
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.files import portable_name


def report_html(
    session: EditSession,
    spectra: Mapping[int, Spectrum] | None = None,
    probes: Sequence[ProbeRow] | None = None,
) -> str:
    """Return a self-contained HTML page about a session's applied edits; computes nothing.

    Args:
        session: the session.
        spectra: spectra of the edited layers; None for :attr:`.EditSession.cached_spectra`.
        probes: rows of paraphrases and neighbors; None to leave them out.

    Returns:
        HTML with the responses before and after every applied edit, the curves of the target
        search, spectra, probes, history, model and settings.
    """
    spectra = session.cached_spectra if spectra is None else spectra
    name = portable_name(session.model.name)
    title = f"Edits of {name}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(_summary(session))}</p>",
        _edits(session),
        _spectra(session, spectra or {}),
        "" if probes is None else _probes(probes),
        f"<h2>History</h2>{scroll(session.history._repr_html_())}",
        _settings(session, name),
    ]
    return page(title, parts)


def model_card(session: EditSession) -> str:
    """Return Markdown for the card of an edited model: edited facts, method and settings."""
    entries, manifest = _applied(session), session.manifest()
    hp = entries[-1].hyperparameters if entries else session.hyperparameters
    layers = ", ".join(map(str, hp.layers))
    current = _current_outcomes(session)
    written = sum(outcome.written for outcome in current)
    rows = [
        f"| {markdown(outcome.fact.text)} | {markdown(outcome.fact.target)} "
        f"| {_probabilities(outcome)} | {_status(outcome)} |"
        for outcome in current
    ]
    superseded = [
        f"- {markdown(replaced.fact.statement)} → {markdown(replaced.by.statement)}"
        for entry in entries
        for replaced in entry.result.superseded
    ]
    replaced_part = ["", "Replaced by later edits, and no longer protected:", "", *superseded]
    table = ["| prompt | new target | P(new) right after | outcome |", "|---|---|---|---|", *rows]
    made = manifest["made_with"]
    lines = [
        "## Edited facts",
        "",
        f"The MLP down-projections of blocks {layers} of "
        f"{markdown_code(portable_name(manifest['model']))} "
        f"(weights `{manifest['fingerprint']}`, {manifest['dtype']}) were changed with "
        f"{markdown(session.methods)}; all other weights are the original ones. {written} of "
        f"{len(current)} facts are written.",
        "",
        *(table if rows else ["No edit is applied."]),
        *(replaced_part if superseded else []),
        "",
        f"- Settings of the last edit: {markdown(settings_words(hp))}; seed: {hp.seed}",
        f"- Digest of the edited weights: `{_digest(session)}`",
        f"- Made with AlphaEdit workbench {__version__}, torch {made['torch']}, transformers "
        f"{made['transformers']}",
        "- Only the facts above were checked. Other statements about their subjects may have "
        "changed, and consequences of a fact are not written with it.",
    ]
    return "\n".join(lines) + "\n"


# -- parts of the page -----------------------------------------------------------------------------


def _summary(session: EditSession) -> str:
    entries = _applied(session)
    if not entries:
        return "No edit is applied: these are the original weights."
    count = sum(len(entry.facts) for entry in entries)
    written = sum(entry.result.written for entry in entries)
    edits = f"{len(entries)} edit{'' if len(entries) == 1 else 's'}"
    facts = f"{written} of {count} fact{'' if count == 1 else 's'} written"
    return f"{edits} applied with {session.methods}: {facts}."


def _edits(session: EditSession) -> str:
    parts = []
    for number, entry in enumerate(_applied(session), start=1):
        title = f": {entry.title}" if entry.title else ""
        rows = [
            (*row, _status(outcome))
            for row, outcome in zip(entry.result.rows(), entry.result.outcomes, strict=True)
        ]
        hp = entry.hyperparameters
        settings = f"{entry.created}, {hp.method}, {settings_words(hp)}"
        parts.append(
            f"<h2>Edit {number}{escape(title)}</h2>"
            f'<p class="quiet">{escape(settings)}; {escape(entry.result.summary())}</p>'
            + scroll(html_table((*HEADINGS, "outcome"), rows))
            + superseded_html(entry.result.superseded)
            + "<h3>Search for the target values</h3>"
            + trace_html([outcome.trace for outcome in entry.result.outcomes])
        )
    return "".join(parts)


def _spectra(session: EditSession, spectra: Mapping[int, Spectrum]) -> str:
    entries = _applied(session)
    hp = entries[-1].hyperparameters if entries else session.hyperparameters
    if not spectra:
        return "<h2>Null space</h2><p>The spectra were not computed in this session.</p>"
    figures = (scroll(spectra[layer].html(hp.at(layer).threshold)) for layer in sorted(spectra))
    return (
        "<h2>Null space</h2><p>Eigenvalues of the second moment of each edited layer's keys over "
        "ordinary text. With the projection on, an edit writes only into directions below the "
        "threshold.</p>" + "".join(figures)
    )


def _probes(rows: Sequence[ProbeRow]) -> str:
    counts = aggregate(rows)
    shares = [(kind, f"{counts[kind][0]} of {counts[kind][1]}") for kind in KINDS]
    cells = [
        (
            row.probe.kind,
            row.probe.prompt,
            f"{row.before.text.strip()} {row.before.probability:.2f}",
            f"{row.after.text.strip()} {row.after.probability:.2f}",
            f"{row.before.new.probability:.3f} → {row.after.new.probability:.3f}",
            row.result,
        )
        for row in rows
    ]
    headings = ("kind", "prompt", "before", "after", "P(new)", "result")
    return (
        "<h2>Paraphrases and neighbors</h2>"
        + html_table(("kind", "passed"), shares)
        + scroll(html_table(headings, cells))
    )


def _settings(session: EditSession, name: str) -> str:
    manifest = session.manifest()
    statistics = manifest["statistics"] or {}
    made = manifest["made_with"]
    rows = [
        ("model", name),
        ("fingerprint of the original weights", manifest["fingerprint"]),
        ("digest of the edited weights", _digest(session)),
        ("dtype", manifest["dtype"]),
        ("method", session.methods),
        ("text of the statistics", portable_name(str(statistics.get("text", "not computed")))),
        ("tokens of the statistics", str(statistics.get("tokens", "not computed"))),
        *((f"made with: {key}", str(value)) for key, value in made.items()),
    ]
    fields = session.hyperparameters.to_dict()
    fields["text"] = portable_name(fields["text"])
    settings = [(key, str(value)) for key, value in fields.items()]
    contexts = [(text,) for text in manifest["contexts"] or ()]
    differing = [
        (f"edit {number}", key, str(value))
        for number, entry in enumerate(_applied(session), start=1)
        for key, value in _differing(entry, fields).items()
    ]
    return (
        "<h2>Model and settings</h2>"
        + scroll(html_table(("", ""), rows))
        + "<h3>Hyperparameters</h3>"
        + scroll(html_table(("hyperparameter", "value"), settings))
        + (html_table(("edit with another value", "", "value"), differing) if differing else "")
        + (html_table(("contexts before prompts",), contexts) if contexts else "")
    )


def _differing(entry: Edit, current: Mapping[str, Any]) -> dict[str, Any]:
    fields = entry.hyperparameters.to_dict()
    fields["text"] = portable_name(fields["text"])
    return {key: value for key, value in fields.items() if value != current[key]}


# -- cells -----------------------------------------------------------------------------------------


def _applied(session: EditSession) -> list[Edit]:
    return list(session.history[: session.applied])


def _digest(session: EditSession) -> str:
    """Digest of the edited weights in the current state, from the history."""
    entries = _applied(session)
    return entries[-1].digest if entries else "none: the original weights"


def _current_outcomes(session: EditSession) -> list[FactResult]:
    """Return the result of each fact that no later fact has superseded."""
    entries = _applied(session)
    outcomes = [outcome for entry in entries for outcome in entry.result.outcomes]
    current = CurrentFacts(batch for entry in entries for batch in entry.batches)
    return [outcomes[position] for position in current.positions]


def _probabilities(outcome: FactResult) -> str:
    return f"{outcome.before.new.probability:.3f} → {outcome.after.new.probability:.3f}"


def _status(outcome: FactResult) -> str:
    return "written" if outcome.written else "not written"
