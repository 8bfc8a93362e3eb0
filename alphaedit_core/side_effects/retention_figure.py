"""Figure of retention: every batch in every state, all facts together, and the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

#: Number of batches and states up to which the cells of the heat map are labeled.
_MAX_LABELED = 12


def retention_html(
    states: Sequence[int],
    batches: Sequence[str],
    *,
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    """Return exact match as a heat map, curves over the states, and the weight changes, as HTML.

    Args:
        states: number of edits in each state.
        batches: name of each batch.
        matrix: exact match by batch and state, %; None before the batch's edit.
        efficacy: efficacy over all facts in each state, %.
        exact: exact match over all facts in each state, %.
        weights: relative change of each layer's weight in each state.
    """
    svg = _svg(states, batches, matrix, efficacy, exact, weights)
    return figure_html(svg, _alt(states, batches, matrix, efficacy, exact, weights))


def _alt(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    """Return a summary of the figure."""
    summary = (
        f"Retention of {len(batches)} batches in {len(states)} states, edits {states[0]} to "
        f"{states[-1]}."
    )
    overall = [
        f"{name} {_percent(line[0])} in the first of these states and {_percent(line[-1])} in the "
        "last"
        for name, line in (("efficacy", efficacy), ("exact", exact))
    ]
    oldest = (
        f"Exact match of the first batch: {_percent(matrix[0][0])} in the first of these states "
        f"and {_percent(matrix[0][-1])} in the last."
    )
    largest = max(weights[-1].values(), default=0.0)
    return (
        f"{summary} All facts: {'; '.join(overall)}. {oldest} Weights changed by at most "
        f"{largest:.1%}."
    )


def _svg(
    states: Sequence[int],
    batches: Sequence[str],
    matrix: Sequence[Sequence[float | None]],
    efficacy: Sequence[float | None],
    exact: Sequence[float | None],
    weights: Sequence[Mapping[int, float]],
) -> str:
    labeled = max(len(batches), len(states)) <= _MAX_LABELED
    cells = fig.Panel(
        fig.Axis("edits", limits=(0, len(states)), ticks=_ticks([str(state) for state in states])),
        fig.Axis("batch (edit.batch)", limits=(len(batches), 0), ticks=_ticks(batches)),
        "exact, %, by batch",
        heat_map=fig.HeatMap(
            tuple(map(tuple, matrix)), (0, 100), color_label=None if labeled else "exact, %"
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
    kept = fig.Panel(edits, percent, "facts still held, %", tuple(curves), legend=legend)
    changes = []
    for index, layer in enumerate(sorted({layer for shares in weights for layer in shares})):
        color, dashes = fig.stroke(index)
        name = f"layer {layer}" if index < len(fig.STROKES) else ""
        shares = tuple(100 * by_layer.get(layer, 0.0) for by_layer in weights)
        changes.append(fig.Curve(tuple(states), shares, color, name, dashes=dashes, marker="."))
    highest = fig.data_limits(share for curve in changes for share in curve.y)[1]
    legend, percent = fig.Legend("upper left"), fig.Axis(limits=(0, highest))
    changed = fig.Panel(edits, percent, "|ΔW| / |W|, %", tuple(changes), legend=legend)
    panels, widths = (cells, kept, changed), (1.1, 1.3, 1.0)
    return render_svg(fig.Figure(11.0, 2.8, panels, len(panels), widths, small=True))


def _ticks(names: Sequence[str]) -> tuple[tuple[float, str], ...]:
    """Ticks at the centers of the cells, thinned out so that the labels fit."""
    step = 1 + len(names) // _MAX_LABELED
    return tuple((n + 0.5, str(names[n])) for n in range(0, len(names), step))


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.0f} %"
