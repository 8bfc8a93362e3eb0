"""How likely the new and the old target are in every state of the history, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from alphaedit_core.display.svg import BLUE, VERMILLION, _image, _svg

from .before_after import HistoryPoint

#: Characters of a name that the picture has room for.
_LONGEST = 28

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from alphaedit_core.inference.scoring import Score


def history_html(points: Sequence[HistoryPoint], new: str, old: str | None = None) -> str:
    """The picture with a text that says the same of the first and the last state.

    Args:
        points: one for every state, in order; at least one.
        new, old: the targets in words.
    """
    said = []
    for name, scores in _curves(points, new, old):
        first, last = scores[0].probability, scores[-1].probability
        said.append(f"{name}, {first:.3f} at first and {last:.3f} now")
    return _image(
        history_svg(points, new, old),
        f"Probability of the targets in states 0 to {points[-1].number} of the history: "
        f"{'; '.join(said)}.",
    )


def history_svg(points: Sequence[HistoryPoint], new: str, old: str | None = None) -> str:
    """Probability against the number of edits, a line for each target."""
    strokes = ((VERMILLION, "-", "o"), (BLUE, (0, (5, 1.5)), "s"))

    def draw(figure: Figure) -> None:
        axes: Any = figure.subplots()
        numbers = [point.number for point in points]
        curves = _curves(points, new, old)
        for (name, scores), (color, dashes, mark) in zip(curves, strokes, strict=False):
            values = [one.probability for one in scores]
            # Names come from people: a "$" in one would be read as mathematics.
            short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
            label = short.replace("$", r"\$")
            axes.plot(
                numbers, values, color=color, linestyle=dashes, marker=mark, markersize=5,
                label=label,
            )  # fmt: skip
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlim(-0.3, max(numbers) + 0.3)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.set_xlabel("state of the history (0 is the unedited model)")
        axes.set_title("probability of the targets")
        if curves:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return _svg(7.0, 2.4, draw)


def _curves(
    points: Sequence[HistoryPoint], new: str, old: str | None
) -> list[tuple[str, list[Score]]]:
    """Names and scores of the targets that were rated, the new one first."""
    found = []
    for name, scores in (
        (f"new: {new}", [point.new for point in points if point.new]),
        (f"old: {old}", [point.old for point in points if point.old]),
    ):
        if scores:
            found.append((name, scores))
    return found
