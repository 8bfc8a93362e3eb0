"""All edited layers at a glance: one small curve each, on one scale, with threshold and rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_widgets.components.panel import table

from .scales import decimated, log_eigenvalues, log_threshold, visible_range

_WIDTH, _HEIGHT, _POINTS = 180.0, 64.0, 120


def layers_html(
    spectra: Mapping[int, Spectrum], threshold_at: Callable[[int], Threshold], shown: int
) -> str:
    """Small multiples as HTML; massive directions are cut off at the top and named in words.

    Args:
        spectra: by layer.
        threshold_at: gives where the kept space of a layer ends.
        shown: the layer that is shown large.
    """
    ranges = [visible_range(spectrum) for spectrum in spectra.values()]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    small = "".join(
        _small(spectra[n], Threshold.parse(threshold_at(n)), low, high, n == shown)
        for n in sorted(spectra)
    )
    return f'<div class="ae-minis" data-testid="layers">{small}</div>'


def layers_table(spectra: Mapping[int, Spectrum], threshold_at: Callable[[int], Threshold]) -> str:
    """Return the same data as a table of plain text."""
    rows = []
    for layer in sorted(spectra):
        s, threshold = spectra[layer], threshold_at(layer)
        kept = f"{s.rank(threshold)} / {s.size}"
        leak, effective = f"{s.leakage(threshold):.4f}", f"{s.effective_rank:.0f}"
        rows.append(
            (str(layer), kept, leak, effective, str(s.num_massive_directions), f"{s.tokens:,}")
        )
    headings = ("layer", "null-space rank", "leakage", "effective rank", "massive", "tokens")
    used = ", ".join(dict.fromkeys(str(threshold_at(layer)) for layer in sorted(spectra)))
    return table(headings, rows, "layer-table", f"All edited layers at threshold {used}")


def _small(s: Spectrum, threshold: Threshold, low: float, high: float, shown: bool) -> str:
    try:
        rank, leakage = s.rank(threshold), s.leakage(threshold)
        line: float | None = log_threshold(s, threshold)
    except AlphaEditError:  # a rank larger than this layer's dimension
        rank, leakage, line = 0, 0.0, None
    index = decimated(s.size, _POINTS)
    x = (index + 0.5) / s.size * _WIDTH
    y = _down(log_eigenvalues(s)[index], low, high)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    kept = rank / s.size * _WIDTH
    line_y = "" if line is None else f"{float(_down(np.array(line), low, high)):.1f}"
    line_html = (
        f'<line class="ae-threshold" x1="0" x2="{_WIDTH:.0f}" y1="{line_y}" y2="{line_y}"/>'
        if line_y
        else ""
    )
    numbers = f"rank {rank} / {s.size}, leakage {leakage:.1%}"
    massive = f" ▲ {s.num_massive_directions} massive" if s.num_massive_directions else ""
    label = f"Layer {s.layer}: {numbers}. Massive directions: {s.num_massive_directions}."
    return (
        f'<figure class="ae-mini" data-layer="{s.layer}"{" aria-current=true" if shown else ""}>'
        f"<figcaption><strong>Layer {s.layer}</strong>{' (shown)' if shown else ''}"
        f'<span class="ae-quiet">{massive}</span></figcaption>'
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" '
        'preserveAspectRatio="none">'
        f'<rect class="ae-kept" x="{_WIDTH - kept:.1f}" y="0" width="{kept:.1f}" '
        f'height="{_HEIGHT:.0f}"/><polyline points="{points}"/>{line_html}</svg>'
        f'<figcaption class="ae-number ae-quiet">{escape(numbers)}</figcaption></figure>'
    )


def _down(logs: np.ndarray, low: float, high: float) -> np.ndarray:
    """Heights in a picture whose y axis points down, cut off at its edges."""
    return _HEIGHT * np.clip((high - logs) / (high - low), 0.0, 1.0)
