"""The sentences and numbers of the spectrum screen, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alphaedit_core.display.escaping import escape
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_widgets.components.panel import text
from alphaedit_widgets.jobs import Job


def job_html(job: Job[Any]) -> str:
    """Render a job's progress (units done, rate, time left), or its error if it failed."""
    if job.state == "failed" and job.failure is not None:
        message = f"{job.name} failed: {job.failure.message}"
        return f'<p class="ae-warning" data-testid="failed">{escape(message)}</p>'
    if job.state != "running":
        return ""
    stage = job.stage
    if stage is None:
        return text("collecting", f"{job.name} …")
    rate = f"{stage.rate:,.0f} {stage.unit}s/s" if stage.unit == "token" and stage.rate else ""
    message = ", ".join(part for part in (stage.name, job.where, rate, job.time_left) if part)
    share = f' value="{stage.done / stage.total:.3f}"' if stage.total else ""
    bar = f'<progress aria-label="{escape(job.name)}" max="1"{share}></progress>'
    return f'<div>{bar} <span data-testid="collecting">{escape(message)}</span></div>'


def numbers_html(spectrum: Spectrum, threshold: Threshold) -> str:
    """Render rank, leakage, effective rank and error, each with its meaning."""
    rank, size, error = (
        spectrum.rank(threshold),
        spectrum.size,
        spectrum.orthogonality_error,
    )
    if np.isnan(error):
        verdict = "not measured"
    else:
        verdict = "good" if error < 1e-3 else "poor: the projection is not exact"
    numbers = (
        ("share", f"{rank / size:.1%}", "of all directions"),
        ("leakage", f"leakage {spectrum.leakage(threshold):.4f}",
         "share of ordinary text's energy in the kept space"),
        ("effective-rank", f"effective rank {spectrum.effective_rank:.0f}",
         "directions that ordinary text uses"),
        ("health", f"‖UᵀU − I‖ {error:.1e}", f"numerical error: {verdict}"),
    )  # fmt: skip
    rank_html = text("rank", f"null-space rank {rank} / {size}", tag="span")
    others_html = "".join(
        f'<p><span class="ae-number" data-testid="{name}">{escape(number)}</span> '
        f'<span class="ae-quiet">{escape(meaning)}</span></p>'
        for name, number, meaning in numbers
    )
    return f'<div class="ae-stats"><p class="ae-big ae-number">{rank_html}</p>{others_html}</div>'


def massive_words(spectrum: Spectrum) -> str:
    """Explain massive directions, if the layer has any."""
    count = spectrum.num_massive_directions
    if not count:
        return f"Layer {spectrum.layer} has no massive direction."
    values = spectrum.eigenvalues
    times = values[count - 1] / values[count] if values[count] > 0 else float("inf")
    if count == 1:
        first = f"The first direction is massive: its eigenvalue, {values[0]:.3g}, is"
    else:
        first = f"The first {count} directions are massive: the last one's eigenvalue is"
    return (
        f"{first} {times:.0f} times the next. Such directions usually come from one kind of "
        "token with a key far longer than all others. They are excluded from all shares, and "
        "marked at the top edge of the figure."
    )


def warnings_html(warnings: Sequence[str]) -> str:
    """Render each non-empty warning as a paragraph announced at once by screen readers."""
    return "".join(
        f'<p aria-live="assertive" class="ae-warning" data-testid="warning">{escape(warning)}</p>'
        for warning in warnings
        if warning
    )


def source_html(spectra: Mapping[int, Spectrum] | None, source: str) -> str:
    """Name the text behind the spectra, or report that there are none yet."""
    message = "not collected yet: runs text through the model once and caches the result"
    if spectra:
        message = f"{source}, {max(spectrum.tokens for spectrum in spectra.values()):,} tokens"
    return text("source", message, tag="span")
