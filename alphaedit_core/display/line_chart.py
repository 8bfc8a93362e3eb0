"""Curves over a common axis as a static figure with alternative text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaedit_core.errors import InputError

from . import figure_data as fig
from .svg import figure_html, render_svg

#: Maximum of points in a curve with markers.
_MAX_MARKERS = 20


def curves_html(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    alt: str,
    *,
    log: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """Return a figure of curves as an HTML image.

    Args:
        curves: x values and y values by name, equally many; 1 to 6 curves.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        alt: a sentence about the figure, for its alternative text; the curves' first and last
            points are added.
        log: logarithmic axes: ``"x"``, ``"y"`` or ``"xy"``. Values that are not above zero are not
            drawn on such an axis.
        mark: position and label of a vertical line.

    Raises:
        InputError: if there are no curves or too many, or a curve's x and y differ in length.
    """
    if not 0 < len(curves) <= len(fig.STROKES):
        raise InputError(f"{len(curves)} curves cannot be drawn; give 1 to {len(fig.STROKES)}")
    for name, (xs, ys) in curves.items():
        if len(xs) != len(ys) or not len(xs):
            raise InputError(
                f'curve "{name}" has {len(xs)} x values and {len(ys)} y values; give equally many, '
                "at least 1"
            )
    panel = fig.Panel(
        fig.Axis(x, log="x" in log),
        fig.Axis(y, log="y" in log),
        curves=tuple(
            fig.Curve(
                tuple(xs), tuple(ys), color, name, dashes=dashes,
                marker="o" if len(xs) <= _MAX_MARKERS else "", size=4,
            )
            for (name, (xs, ys)), (color, dashes) in zip(
                curves.items(), fig.STROKES, strict=False
            )
        ),
        rules=(fig.Rule(mark[0], fig.GRAY, upright=True, text=mark[1]),) if mark else (),
    )  # fmt: skip
    legend = fig.Legend("outside right upper") if len(curves) > 1 else None
    ends = "; ".join(
        f"{name}: {ys[0]:.3g} at {xs[0]:.3g}, {ys[-1]:.3g} at {xs[-1]:.3g}"
        for name, (xs, ys) in curves.items()
    )
    svg = render_svg(fig.Figure(7.5, 2.8, (panel,), legend=legend))
    return figure_html(svg, f"{alt} {y} against {x}. {ends}.")
