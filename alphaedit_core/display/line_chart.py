"""Curves over a common axis, as a static figure with a text that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaedit_core.errors import InputError

from . import figure_data as fig
from .svg import figure_html, render_svg

#: Points of a curve that are marked one by one at most.
_MARKED = 20


def curves_html(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    said: str,
    *,
    log: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """A figure of some curves.

    Args:
        curves: by name, the places on the axis and the values there, equally many; 1 to 6 curves.
        x: what the axis is.
        y: what the values are.
        said: what the figure shows, in a sentence; the curves' ends are added to it.
        log: the axes that are logarithmic: ``"x"``, ``"y"`` or ``"xy"``. What is not above zero has
            no place on such an axis and is not drawn.
        mark: a place on the axis to draw a line at, and what stands beside it.

    Raises:
        InputError: if there are no curves or too many, or one has not as many places as values.
    """
    if not 0 < len(curves) <= len(fig.STROKES):
        raise InputError(f"{len(curves)} curves cannot be drawn; give 1 to {len(fig.STROKES)}")
    for name, (places, values) in curves.items():
        if len(places) != len(values) or not len(places):
            raise InputError(
                f'curve "{name}" has {len(places)} places and {len(values)} values; give as many '
                "of the one as of the other, at least 1"
            )
    panel = fig.Panel(
        fig.Axis(x, log="x" in log),
        fig.Axis(y, log="y" in log),
        curves=tuple(
            fig.Curve(
                tuple(places), tuple(values), color, name, dashes=dashes,
                marker="o" if len(places) <= _MARKED else "", size=4,
            )
            for (name, (places, values)), (color, dashes) in zip(
                curves.items(), fig.STROKES, strict=False
            )
        ),
        rules=(fig.Rule(mark[0], fig.GRAY, upright=True, text=mark[1]),) if mark else (),
    )  # fmt: skip
    legend = fig.Legend("outside right upper") if len(curves) > 1 else None
    ends = "; ".join(
        f"{name}: {values[0]:.3g} at {places[0]:.3g}, {values[-1]:.3g} at {places[-1]:.3g}"
        for name, (places, values) in curves.items()
    )
    svg = render_svg(fig.Figure(7.5, 2.8, (panel,), legend=legend))
    return figure_html(svg, f"{said} {y} against {x}. {ends}.")
