"""Figure comparing settings after few and many edits: one row per setting, a panel per measure."""

from __future__ import annotations

from collections.abc import Mapping

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.svg import figure_html, render_svg

#: Measures with the direction that is better.
_PANELS = {
    "efficacy": "→",
    "generalization": "→",
    "specificity": "→",
    "exact": "→",
    "perplexity": "←",
}


def sequence_html(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Return the figure as HTML with a text of all values after the most edits.

    Args:
        results: ``efficacy``, ``generalization``, ``specificity``, ``exact`` and ``perplexity``
            (see :class:`~.counterfact_scores.Measures`) by setting and number of edits. All
            settings have the same numbers of edits.
    """
    last = max(max(counts) for counts in results.values())
    values = [
        f"{name}: " + ", ".join(f"{panel} {counts[last][panel]:.1f}" for panel in _PANELS)
        for name, counts in results.items()
    ]
    return figure_html(sequence_svg(results), f"After {last} edits. " + "; ".join(values) + ".")


def sequence_svg(results: Mapping[str, Mapping[int, Mapping[str, float]]]) -> str:
    """Return an SVG with hollow marks after the fewest edits and filled marks after the most.

    Perplexity has a logarithmic axis. See :func:`sequence_html` for the argument.
    """
    names = list(results)
    counts = sorted({count for per in results.values() for count in per})
    indices = tuple(range(len(names)))
    ends = ((counts[0], fig.BLUE, True), (counts[-1], fig.VERMILLION, False))
    panels: list[fig.Panel] = []
    for measure, better in _PANELS.items():
        curves = []
        for index, name in enumerate(names):
            values = tuple(results[name][count][measure] for count in counts)
            curves.append(fig.Curve(values, (index,) * len(values), fig.GRAY, width=1))
        for count, color, hollow in ends:
            values = tuple(results[name][count][measure] for name in names)
            label = f"after {count} edits"
            curves.append(fig.Curve(values, indices, color, label, 0, marker="o", hollow=hollow))
        rows = fig.Axis(
            limits=(len(names) - 0.5, -0.5), ticks=tuple(enumerate(names)), labeled=not panels
        )
        axis = fig.Axis()
        if measure == "perplexity":
            low, high = fig.data_limits((x for curve in curves for x in curve.x), log=True)
            shown = (25, 50, 100, 200, 400) if high < 800 else (25, 250, 2500, 25_000)
            ticks = tuple((at, f"{at:g}") for at in shown if at <= max(high, 50))
            axis = fig.Axis(
                log=True, limits=(min(low, ticks[0][0]), max(high, ticks[-1][0])), ticks=ticks
            )
        panels.append(fig.Panel(axis, rows, f"{measure} {better}", tuple(curves)))
    legend = fig.Legend("outside lower right", columns=2)
    height = 1.2 + 0.26 * len(names)
    return render_svg(fig.Figure(11.0, height, tuple(panels), len(panels), legend=legend))
