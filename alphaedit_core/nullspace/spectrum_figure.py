"""Static figure of a spectrum: eigenvalues, threshold, kept part, massive directions."""

from __future__ import annotations

import numpy as np

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import render_svg


def spectrum_svg(
    eigenvalues: np.ndarray, *, layer: int, rank: int, edge: float, massive: int, threshold: str
) -> str:
    """Return a figure of the eigenvalues over their index, largest first.

    Args:
        eigenvalues: (d_in,), descending.
        layer: index of the block, for the title.
        rank: number of kept directions.
        edge: the threshold on the axis of eigenvalues.
        massive: number of massive directions.
        threshold: the threshold as text, for its label.
    """
    size = len(eigenvalues)
    dropped = size - rank
    # A log scale cannot show zero: smaller values are drawn at the smallest positive one.
    positive = eigenvalues[eigenvalues > 0]
    floor = float(positive.min()) if len(positive) else 1.0
    values = np.maximum(eigenvalues, floor)
    shown = fig.sample_indices(size)
    curves = [fig.Curve(tuple(shown + 1.0), tuple(values[shown]), fig.BLUE)]
    texts = []
    if massive:
        numbers = tuple(float(n) for n in range(1, massive + 1))
        largest = tuple(values[:massive])
        curves.append(fig.Curve(numbers, largest, fig.VERMILLION, width=0, marker="^", size=7))
        texts.append(fig.Text(1, values[0], f"{massive} massive", offset=(9, 0), align="left"))
    # The label goes on the side where the curve is far from the line.
    right = dropped <= size / 4
    label = f"threshold {threshold}"
    line = fig.Rule(edge, fig.VERMILLION, text=label, text_right=right, width=1.4)
    span_label = "kept" if rank > size / 8 else ""
    panel = fig.Panel(
        fig.Axis("direction, largest eigenvalue first", limits=(0.5 - size * 0.01, size + 0.5)),
        fig.Axis("eigenvalue", log=True),
        f"layer {layer}: {rank:,} of {size:,} directions kept",
        tuple(curves),
        rules=(line,),
        spans=(fig.Span(dropped + 0.5, size + 0.5, fig.GREEN, span_label),),
        texts=tuple(texts),
    )
    return render_svg(fig.Figure(7.0, 2.8, (panel,)))
