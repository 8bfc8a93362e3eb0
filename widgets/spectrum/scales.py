"""Numbers behind the Spectrum tab: plotted values of a spectrum, and thresholds as positions.

A threshold has a position on its slider: log10 of the eigenvalue for an absolute one, the share
for an energy one, the number of directions for a rank.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Rule, Threshold

#: AlphaEdit's threshold, in all its published settings (Fang et al. 2025, section 3.2).
DEFAULT = 0.02

#: Maximum number of points of a curve sent to the browser.
MOST_POINTS = 2000
#: Step of the slider of absolute thresholds, in log10: 2.3 %.
LOG_STEP = 0.01
_BARS = 60
#: Eigenvalues below this share of the largest ordinary one are rounding errors; shown at it.
_NOISE = 1e-12


# -------------------------------------------------------------------------------- thresholds


def from_log(position: float) -> Threshold:
    """Return the absolute threshold at a log10 eigenvalue, rounded to seven digits."""
    return Threshold("absolute", float(f"{10 ** min(max(position, -30.0), 30.0):.7g}"))


def converted(spectrum: Spectrum, threshold: Threshold, rule: Rule) -> Threshold:
    """Return the threshold of another rule that keeps the same directions, in few digits."""
    exact = spectrum.convert(threshold, rule)
    if rule == "rank":
        return exact
    rank = spectrum.rank(exact)
    for digits in range(2, 17):
        short = Threshold(rule, float(f"{exact.value:.{digits}g}"))
        if (rule == "absolute" or short.value <= 1) and spectrum.rank(short) == rank:
            return short
    return exact


def log_threshold(spectrum: Spectrum, threshold: Threshold) -> float:
    """Return log10 of the eigenvalue below which a threshold keeps directions.

    The result is at most a factor of ten outside all eigenvalues: beyond, nothing changes, and a
    distant line would flatten the curve.
    """
    value = threshold.value
    if threshold.rule != "absolute":
        value = spectrum.convert(threshold, "absolute").value
    logs = log_eigenvalues(spectrum)
    low, high = float(logs.min()) - 1.0, float(logs.max()) + 1.0
    return min(max(float(np.log10(value)), low), high) if value > 0 else low


def slider_ends(spectra: Iterable[Spectrum], line: float) -> tuple[float, float]:
    """Return the slider's ends for absolute thresholds: all eigenvalues, and the line.

    The default lies on the slider's grid, so that arrow keys can come back to it.
    """
    logs = [log_eigenvalues(spectrum) for spectrum in spectra]
    start = float(np.log10(DEFAULT))
    low = min(line, start - 1.0, *(float(values.min()) - 0.1 for values in logs))
    high = max(line, start + 1.0, *(float(values.max()) + 0.1 for values in logs))
    return (
        start - float(np.ceil((start - low) / LOG_STEP)) * LOG_STEP,
        start + float(np.ceil((high - start) / LOG_STEP)) * LOG_STEP,
    )


# ----------------------------------------------------------------------------------- curves


def log_eigenvalues(spectrum: Spectrum) -> np.ndarray:
    """Return log10 of the eigenvalues, (d_in,); zeros and rounding errors are at the bottom."""
    values = np.maximum(spectrum.eigenvalues, 0.0)
    ordinary = values[spectrum.num_massive_directions :]
    top = float(ordinary.max(initial=0.0))
    positive = ordinary[ordinary > top * _NOISE]
    floor = float(positive.min()) if len(positive) else DEFAULT
    return np.asarray(np.log10(np.maximum(values, floor)))


def visible_range(spectrum: Spectrum, line: float | None = None) -> tuple[float, float]:
    """Return the visible range of log10 eigenvalues: ordinary ones, the default, the line."""
    ordinary = log_eigenvalues(spectrum)[spectrum.num_massive_directions :]
    included = [float(np.log10(DEFAULT)), *([] if line is None else [line])]
    low, high = min(*included, ordinary.min()), max(*included, ordinary.max())
    margin = 0.06 * max(high - low, 0.5)
    return float(low - margin), float(high + margin)


def cumulative_energy(spectrum: Spectrum) -> np.ndarray:
    """Return ordinary text's cumulative energy share per direction, without massive ones."""
    values = np.maximum(spectrum.eigenvalues, 0.0)
    values[: spectrum.num_massive_directions] = 0.0
    return np.cumsum(values) / (spectrum.trace or 1.0)


def histogram(spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """Return bin centers on the axis of log10 eigenvalues and the number of directions per bin."""
    logs = log_eigenvalues(spectrum)[spectrum.num_massive_directions :]
    counts, edges = np.histogram(logs, bins=_BARS)
    return (edges[:-1] + edges[1:]) / 2, counts


def decimated(size: int, most: int = MOST_POINTS) -> np.ndarray:
    """Return indices of at most ``most`` of ``size`` descending values that draw the same curve.

    First and last of every bin, which are its largest and smallest value. The bins are as narrow
    as a linear index and as a logarithmic one want them.
    """
    if size <= most:
        return np.arange(size)
    bins = most // 4
    edges = np.union1d(
        np.geomspace(1, size, bins).round().astype(int) - 1,
        np.linspace(0, size, bins).round().astype(int),
    )
    first, last = edges[:-1], edges[1:] - 1
    return np.union1d(first, last)
