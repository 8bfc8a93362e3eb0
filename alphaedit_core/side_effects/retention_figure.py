"""Retention as a picture: every batch in every state, all facts together, and the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from alphaedit_core.display.svg import _STROKES, BLUE, GRAY, VERMILLION, _image, _svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Batches and states up to which every cell of the map has its number written in it.
_WRITTEN = 12


def retention_html(
    states: Sequence[int],
    batches: Sequence[str],
    *,
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    """Exact by batch and state as a map, curves over the states, and the change of the weights.

    Args:
        states: edits that are in the model in each state.
        batches: the name of each batch.
        matrix: for each batch the percentage said exactly in each state; None where it was not
            yet written.
        efficacy: of all facts, in each state, in percent.
        exact: the same, of what is said exactly.
        weights: in each state the relative change of each layer's weight.
    """
    drawn = _drawn(states, batches, matrix, efficacy, exact, weights)
    return _image(drawn, _words(states, batches, matrix, efficacy, exact, weights))


def _words(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    """What the picture shows, in two or three sentences."""
    first = (
        f"What is left of {len(batches)} batches in {len(states)} states, edits {states[0]} to "
        f"{states[-1]}."
    )
    said = [
        f"{name} {_percent(line[0])} in the first of these states and {_percent(line[-1])} in the "
        "last"
        for name, line in (("efficacy", efficacy), ("exact", exact))
    ]
    oldest = (
        f"Of the first batch {_percent(matrix[0][0])} of the facts were said exactly in the first "
        f"of these states and {_percent(matrix[0][-1])} in the last."
    )
    most = max(weights[-1].values(), default=0.0)
    return f"{first} All facts: {'; '.join(said)}. {oldest} Weights changed by at most {most:.1%}."


def _drawn(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    count = len(batches)

    def draw(figure: Figure) -> None:
        grid, curves, shares = figure.subplots(1, 3, width_ratios=(1.1, 1.3, 1.0)).flat
        values = np.ma.masked_invalid(
            np.array([[np.nan if one is None else one for one in row] for row in matrix])
        )
        mesh = grid.pcolormesh(values, vmin=0, vmax=100, cmap="cividis")
        if max(count, len(states)) <= _WRITTEN:
            for row, column in np.argwhere(~np.ma.getmaskarray(values)):
                share = values[row, column]
                grid.text(
                    column + 0.5, row + 0.5, f"{share:.0f}", ha="center", va="center", fontsize=7,
                    color="black" if share > 55 else "white",
                )  # fmt: skip
        else:
            figure.colorbar(mesh, ax=grid, label="exact, %")
        grid.grid(False)
        grid.invert_yaxis()
        for axis, names in (
            (grid.xaxis, [str(number) for number in states]),
            (grid.yaxis, [str(name) for name in batches]),
        ):
            step = 1 + len(names) // _WRITTEN
            axis.set_ticks([n + 0.5 for n in range(0, len(names), step)], names[::step])
        grid.set_title("exact, %, by batch", fontsize=8)
        grid.set_ylabel("batch (edit.batch)")

        lines = {
            "all, efficacy": (efficacy, BLUE, "-", "o"),
            "all, exact": (exact, VERMILLION, (0, (5, 1.5)), "s"),
            "first batch, exact": (matrix[0], GRAY, (0, (1, 1.2)), "^"),
        }
        for name, (line, color, dashes, mark) in lines.items():
            known = [(n, one) for n, one in zip(states, line, strict=True) if one is not None]
            curves.plot(
                [n for n, _ in known], [one for _, one in known], color=color, linestyle=dashes,
                marker=mark, markersize=4, label=name,
            )  # fmt: skip
        curves.set_ylim(-3, 103)
        curves.set_title("facts still held, %", fontsize=8)
        curves.legend(fontsize=7, loc="lower left", labelspacing=0.2)

        layers = sorted({layer for own in weights for layer in own})
        for place, layer in enumerate(layers):
            named = place < len(_STROKES)
            color, dashes = _STROKES[place] if named else (GRAY, "-")
            shares.plot(
                states, [100 * own.get(layer, 0.0) for own in weights], color=color,
                linestyle=dashes, marker=".", label=f"layer {layer}" if named else None,
            )  # fmt: skip
        shares.set_ylim(bottom=0)
        shares.set_title("|ΔW| / |W|, %", fontsize=8)
        shares.legend(fontsize=7, loc="upper left", labelspacing=0.2)
        for axes in (grid, curves, shares):
            axes.set_xlabel("edits")
        for axes in (curves, shares):
            axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)

    return _svg(11.0, 2.8, draw)


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} %"
