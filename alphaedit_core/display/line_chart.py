"""Curves over a common axis, as a static picture with a text that says the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from alphaedit_core.errors import InputError

from .svg import _STROKES, GRAY, _image, _svg, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Sequence[float], Sequence[float]]

#: Points of a curve that are marked one by one at most.
_MARKED = 20


def curves_html(
    curves: Mapping[str, Curve],
    x: str,
    y: str,
    said: str,
    *,
    log: str = "",
    mark: tuple[float, str] | None = None,
) -> str:
    """A picture of some curves.

    Args:
        curves: by name, the places on the axis and the values there, equally many; 1 to 6 curves.
        x: what the axis is.
        y: what the values are.
        said: what the picture shows, in a sentence; the curves' ends are added to it.
        log: the axes that are logarithmic: ``"x"``, ``"y"`` or ``"xy"``. What is not above zero has
            no place on such an axis and is not drawn.
        mark: a place on the axis to draw a line at, and what stands beside it.

    Raises:
        InputError: if there are no curves or too many, or one has not as many places as values.
    """
    if not 0 < len(curves) <= len(_STROKES):
        raise InputError(f"{len(curves)} curves cannot be drawn; give 1 to {len(_STROKES)}")
    for name, (places, values) in curves.items():
        if len(places) != len(values) or not len(places):
            raise InputError(
                f'curve "{name}" has {len(places)} places and {len(values)} values; give as many '
                "of the one as of the other, at least 1"
            )

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        if "x" in log:
            axes.set_xscale("log", nonpositive="mask")
        if "y" in log:
            axes.set_yscale("log", nonpositive="mask")
        for (name, (places, values)), (color, dashes) in zip(
            curves.items(), _STROKES, strict=False
        ):
            dot = "o" if len(places) <= _MARKED else None
            axes.plot(
                places,
                values,
                color=color,
                linestyle=dashes,
                marker=dot,
                markersize=4,
                label=plain(name),
            )
        if mark is not None:
            at, word = mark
            axes.axvline(at, color=GRAY, linestyle=(0, (5, 2)), linewidth=1.2)
            axes.annotate(
                word, (at, 1), xycoords=("data", "axes fraction"), xytext=(4, 2),
                textcoords="offset points", va="bottom",
            )  # fmt: skip
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        if len(curves) > 1:
            figure.legend(loc="outside right upper")

    ends = "; ".join(
        f"{name}: {values[0]:.3g} at {places[0]:.3g}, {values[-1]:.3g} at {places[-1]:.3g}"
        for name, (places, values) in curves.items()
    )
    return _image(_svg(7.5, 2.8, draw), f"{said} {y} against {x}. {ends}.")
