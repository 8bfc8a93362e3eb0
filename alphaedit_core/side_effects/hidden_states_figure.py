"""Hidden states before and after as a picture: two clouds of points, and how they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphaedit_core.display.svg import BLUE, GREY, VERMILLION, _image, _svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .hidden_states import HiddenDrift, Point


def hidden_drift_html(drift: HiddenDrift) -> str:
    """The picture with a text that says the same."""
    return _image(hidden_drift_svg(drift), words(drift))


def words(drift: HiddenDrift) -> str:
    """What the picture shows, in two sentences."""
    first, second = axis_titles(drift)
    return (
        f"Outputs of block {drift.layer} at the last token of {len(drift.prompts)} unrelated "
        f"prompts, unedited and after edit {drift.number}, along the {first} and the {second} of "
        f"the unedited ones. Their mean has moved by {drift.mean_shift:.2%} of their mean length, "
        f"each prompt's by {drift.prompt_shift:.2%} on average; mean cosine {drift.cosine:.4f}."
    )


def axis_titles(drift: HiddenDrift) -> tuple[str, str]:
    """What stands at the two axes."""
    first, second = drift.explained
    return f"1st component ({first:.0%} of variance)", f"2nd component ({second:.0%} of variance)"


def mean_of(points: Sequence[Point]) -> Point:
    """The middle of some points."""
    count = len(points)
    return sum(x for x, _ in points) / count, sum(y for _, y in points) / count


def hidden_drift_svg(drift: HiddenDrift) -> str:
    """The two clouds one over the other, their means, and an arrow from one to the other."""
    clouds = (
        ("unedited", drift.before, BLUE, "o", "none"),
        (f"after edit {drift.number}", drift.after, VERMILLION, "x", "full"),
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, points, colour, mark, filled in clouds:
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, mark, color=colour, fillstyle=filled, markersize=4, alpha=0.7, label=name
            )
        start, end = mean_of(drift.before), mean_of(drift.after)
        axes.annotate(
            "", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1.8, "color": GREY}
        )
        axes.plot(*start, "o", color=BLUE, markersize=9, label="mean, unedited")
        axes.plot(*end, "X", color=VERMILLION, markersize=9, label="mean, edited")
        first, second = axis_titles(drift)
        axes.set_xlabel(first)
        axes.set_ylabel(second)
        axes.set_title(f"unrelated prompts, output of block {drift.layer}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return _svg(7.0, 3.6, draw)
