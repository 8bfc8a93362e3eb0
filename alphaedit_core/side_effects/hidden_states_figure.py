"""Figure of hidden states before and after edits: two point clouds and the shift of their mean."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

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
    """Return a figure of two point clouds, their means and the shift of the mean, as HTML.

    Args:
        before: each prompt's state in the unedited model, along two principal components.
        after: each prompt's state in the edited model, along the same components.
        explained: share of the variance of ``before`` along each component.
        layer: index of the block.
        number: number of edits in the edited model.
        shifts: a sentence with the numbers, for the text alternative.
    """
    first, second = _axis_titles(explained)
    alt = (
        f"Outputs of block {layer} at the last token of {len(before)} unrelated prompts, unedited "
        f"and after edit {number}, along the {first} and the {second} of the unedited ones. "
        f"{shifts}"
    )
    return figure_html(_svg(before, after, (first, second), layer, number), alt)


def _axis_titles(explained: tuple[float, float]) -> tuple[str, str]:
    first, second = explained
    return f"1st component ({first:.0%} of variance)", f"2nd component ({second:.0%} of variance)"


def mean_of(points: Sequence[Point]) -> Point:
    """Return the mean of points."""
    count = len(points)
    return sum(x for x, _ in points) / count, sum(y for _, y in points) / count


def _svg(
    before: Sequence[Point],
    after: Sequence[Point],
    titles: tuple[str, str],
    layer: int,
    number: int,
) -> str:
    start, end = mean_of(before), mean_of(after)
    clouds = (
        ("unedited", before, fig.BLUE, "o", 4, True, 0.7),
        (f"after edit {number}", after, fig.VERMILLION, "x", 4, False, 0.7),
        ("mean, unedited", [start], fig.BLUE, "o", 9, False, 1.0),
        ("mean, edited", [end], fig.VERMILLION, "X", 9, False, 1.0),
    )
    curves = []
    for name, points, color, mark, size, hollow, opacity in clouds:
        x, y = fig.coordinates(points)
        curves.append(
            fig.Curve(x, y, color, name, 0, marker=mark, size=size, hollow=hollow, opacity=opacity)
        )
    axes = fig.Axis(titles[0]), fig.Axis(titles[1])
    title = f"unrelated prompts, output of block {layer}"
    arrow = fig.Arrow(start, end, width=1.8)
    panel = fig.Panel(*axes, title, tuple(curves), arrows=(arrow,))
    return render_svg(fig.Figure(7.0, 3.6, (panel,), legend=fig.Legend("outside right center")))
