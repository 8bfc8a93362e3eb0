"""Probabilities of the new and the true target in every state of the history, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

from .before_after import HistoryPoint

#: Longest name in the legend, in characters.
_LONGEST = 28

if TYPE_CHECKING:
    from alphaedit_core.inference.scores import Score


def history_html(points: Sequence[HistoryPoint], new: str, true: str | None = None) -> str:
    """Return the figure with a text alternative for the first and the last state.

    Args:
        points: one per state, in order; at least one.
        new: text of the new target.
        true: text of the true target, if any.
    """
    descriptions = []
    for name, scores in _curves(points, new, true):
        first, last = scores[0].probability, scores[-1].probability
        descriptions.append(f"{name}, {first:.3f} at first and {last:.3f} now")
    return figure_html(
        history_svg(points, new, true),
        f"Probability of the targets in states 0 to {points[-1].number} of the history: "
        f"{'; '.join(descriptions)}.",
    )


def history_svg(points: Sequence[HistoryPoint], new: str, true: str | None = None) -> str:
    """Return probability against the number of edits, one line per target, as SVG."""
    numbers = tuple(point.number for point in points)
    strokes: tuple[tuple[str, fig.Dashes, str], ...] = (
        (fig.VERMILLION, (), "o"), (fig.BLUE, (5, 1.5), "s"),
    )  # fmt: skip
    curves = []
    targets = _curves(points, new, true)
    for (name, scores), (color, dashes, mark) in zip(targets, strokes, strict=False):
        values = tuple(score.probability for score in scores)
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        curves.append(fig.Curve(numbers, values, color, short, dashes=dashes, marker=mark, size=5))
    x = fig.Axis(
        "state of the history (0 is the unedited model)",
        limits=(-0.3, max(numbers) + 0.3), integer=True,
    )  # fmt: skip
    y = fig.Axis(limits=(-0.03, 1.03))
    panel = fig.Panel(x, y, "probability of the targets", tuple(curves))
    return render_svg(fig.Figure(7.0, 2.4, (panel,), legend=fig.Legend("outside right center")))


def _curves(
    points: Sequence[HistoryPoint], new: str, true: str | None
) -> list[tuple[str, list[Score]]]:
    """Return names and scores of the scored targets, the new one first."""
    curves = []
    for name, scores in (
        (f"new: {new}", [point.new for point in points if point.new]),
        (f"true: {true}", [point.true for point in points if point.true]),
    ):
        if scores:
            curves.append((name, scores))
    return curves
