"""Hidden states before and after as a picture: two clouds of points, and how they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphaedit_core.display.svg import BLUE, GRAY, VERMILLION, _image, _svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = tuple[float, float]


def hidden_drift_html(
    before: Sequence[Point],
    after: Sequence[Point],
    *,
    explained: tuple[float, float],
    layer: int,
    number: int,
    shifts: str,
) -> str:
    """The two clouds one over the other, their means, and an arrow from one to the other.

    Args:
        before: each prompt's state in the unedited model, along two components.
        after: the same in the edited model.
        explained: share of the variance of ``before`` along each component.
        layer: index of the block.
        number: edits that are in the edited model.
        shifts: the numbers in words, for the text that says the same as the picture.
    """
    first, second = _axis_titles(explained)
    told = (
        f"Outputs of block {layer} at the last token of {len(before)} unrelated prompts, unedited "
        f"and after edit {number}, along the {first} and the {second} of the unedited ones. "
        f"{shifts}"
    )
    return _image(_drawn(before, after, (first, second), layer, number), told)


def _axis_titles(explained: tuple[float, float]) -> tuple[str, str]:
    first, second = explained
    return f"1st component ({first:.0%} of variance)", f"2nd component ({second:.0%} of variance)"


def mean_of(points: Sequence[Point]) -> Point:
    """The middle of some points."""
    count = len(points)
    return sum(x for x, _ in points) / count, sum(y for _, y in points) / count


def _drawn(
    before: Sequence[Point],
    after: Sequence[Point],
    titles: tuple[str, str],
    layer: int,
    number: int,
) -> str:
    clouds = (
        ("unedited", before, BLUE, "o", "none"),
        (f"after edit {number}", after, VERMILLION, "x", "full"),
    )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name, points, color, mark, filled in clouds:
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, mark, color=color, fillstyle=filled, markersize=4, alpha=0.7, label=name
            )
        start, end = mean_of(before), mean_of(after)
        axes.annotate(
            "", end, start, arrowprops={"arrowstyle": "->", "linewidth": 1.8, "color": GRAY}
        )
        axes.plot(*start, "o", color=BLUE, markersize=9, label="mean, unedited")
        axes.plot(*end, "X", color=VERMILLION, markersize=9, label="mean, edited")
        axes.set_xlabel(titles[0])
        axes.set_ylabel(titles[1])
        axes.set_title(f"unrelated prompts, output of block {layer}")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))

    return _svg(7.0, 3.6, draw)
