"""Retention as a figure: every batch in every state, all facts together, and the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

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
    svg = _svg(states, batches, matrix, efficacy, exact, weights)
    return figure_html(svg, _words(states, batches, matrix, efficacy, exact, weights))


def _words(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    """What the figure shows, in two or three sentences."""
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


def _svg(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    written = max(len(batches), len(states)) <= _WRITTEN
    cells = fig.Panel(
        fig.Axis("edits", limits=(0, len(states)), ticks=_ticks([str(state) for state in states])),
        fig.Axis("batch (edit.batch)", limits=(len(batches), 0), ticks=_ticks(batches)),
        "exact, %, by batch",
        heat_map=fig.HeatMap(
            tuple(map(tuple, matrix)), (0, 100), color_label=None if written else "exact, %"
        ),
    )
    edits = fig.Axis("edits", integer=True)
    lines: tuple[tuple[str, Sequence[float | None], str, fig.Dashes, str], ...] = (
        ("all, efficacy", efficacy, fig.BLUE, (), "o"),
        ("all, exact", exact, fig.VERMILLION, (5, 1.5), "s"),
        ("first batch, exact", matrix[0], fig.GRAY, (1, 1.2), "^"),
    )
    curves = []
    for name, line, color, dashes, mark in lines:
        x, y = fig.coordinates(zip(states, line, strict=True))
        curves.append(fig.Curve(x, y, color, name, dashes=dashes, marker=mark, size=4))
    legend, percent = fig.Legend("lower left"), fig.Axis(limits=(-3, 103))
    held = fig.Panel(edits, percent, "facts still held, %", tuple(curves), legend=legend)
    changes = []
    for place, layer in enumerate(sorted({layer for own in weights for layer in own})):
        color, dashes = fig.stroke(place)
        name = f"layer {layer}" if place < len(fig.STROKES) else ""
        shares = tuple(100 * own.get(layer, 0.0) for own in weights)
        changes.append(fig.Curve(tuple(states), shares, color, name, dashes=dashes, marker="."))
    highest = fig.data_limits(share for curve in changes for share in curve.y)[1]
    legend, percent = fig.Legend("upper left"), fig.Axis(limits=(0, highest))
    changed = fig.Panel(edits, percent, "|ΔW| / |W|, %", tuple(changes), legend=legend)
    panels, widths = (cells, held, changed), (1.1, 1.3, 1.0)
    return render_svg(fig.Figure(11.0, 2.8, panels, len(panels), widths, small=True))


def _ticks(names: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """At the middles of the cells, so many that there is room for their names."""
    step = 1 + len(names) // _WRITTEN
    return tuple((n + 0.5, str(names[n])) for n in range(0, len(names), step))


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} %"
