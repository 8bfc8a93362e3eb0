"""A spectrum as a static picture: eigenvalues, threshold, kept part, massive directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from alphaedit_core.display.svg import BLUE, GREEN, VERMILLION, _ends_and_between, _svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def spectrum_svg(
    eigenvalues: np.ndarray, *, layer: int, rank: int, edge: float, massive: int, threshold: str
) -> str:
    """Eigenvalues against their index, largest first; threshold, kept part and massive ones.

    Args:
        eigenvalues: (d_in,), descending.
        layer: index of the block, for the title.
        rank: how many of the smallest are kept.
        edge: where the threshold lies on the axis of eigenvalues.
        num_massive_directions: how many of the largest are massive.
        threshold: the threshold as its label says it.
    """
    size = len(eigenvalues)
    dropped = size - rank
    # A log scale has no place for zero; what is under the smallest positive one lies on the floor.
    positive = eigenvalues[eigenvalues > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    values = np.maximum(eigenvalues, floor)
    index = np.arange(1, size + 1)
    shown = _ends_and_between(size)

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        axes.set_yscale("log")
        axes.axvspan(dropped + 0.5, size + 0.5, color=GREEN, alpha=0.15, linewidth=0)
        axes.plot(index[shown], values[shown], color=BLUE)
        axes.axhline(edge, color=VERMILLION, linestyle=(0, (5, 2)), linewidth=1.4)
        # There is room under the line where the curve is still over it, or has long crossed it.
        left = dropped > size / 4
        axes.annotate(
            f"threshold {threshold}",
            (0.01 if left else 0.99, edge),
            xycoords=("axes fraction", "data"),
            xytext=(0, -4),
            textcoords="offset points",
            ha="left" if left else "right",
            va="top",
        )
        if rank > size / 8:
            middle = (dropped + size) / 2
            axes.text(middle, 0.84, "kept", transform=axes.get_xaxis_transform(), ha="center")
        if massive:
            first = slice(0, massive)
            axes.plot(index[first], values[first], "^", color=VERMILLION, markersize=7)
            axes.annotate(
                f"{massive} massive",
                (1, values[0]),
                xytext=(9, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_xlim(0.5 - size * 0.01, size + 0.5)
        axes.set_xlabel("direction, largest eigenvalue first")
        axes.set_ylabel("eigenvalue")
        axes.set_title(f"layer {layer}: {rank:,} of {size:,} directions kept")

    return _svg(7.0, 2.8, draw)
