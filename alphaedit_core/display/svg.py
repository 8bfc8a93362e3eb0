"""Static figures for reprs and reports: SVG in an ``<img>`` with alternative text.

A data URI in ``<img>`` works everywhere: JupyterLab shows it in untrusted notebooks, nbconvert
keeps it, and nothing is loaded. The background is transparent and the text a gray that is readable
on white and on black. Equal input gives equal bytes. matplotlib is imported on first use.
"""

from __future__ import annotations

import base64
import io
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np

from .escaping import escape, writable
from .figure_data import GRAY, Axis, Curve, Dashes, Figure, FigureText, HeatMap, Legend, Panel, Rule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis as MatplotlibAxis

_STYLE = {
    "axes.edgecolor": GRAY,
    "axes.grid": True,
    "axes.labelcolor": GRAY,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": GRAY,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "font.sans-serif": [
        "DejaVu Sans",
        "sans-serif",
    ],  # repeated at every text, so the list is short
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.color": GRAY,
    "legend.frameon": False,
    "legend.labelcolor": GRAY,
    "svg.fonttype": "none",  # text stays text: small, and in the reader's own font
    "svg.hashsalt": "alphaedit",  # ids then depend on the content only
    "text.color": GRAY,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
}
_SMALL_STYLE = {"axes.titlesize": 8, "legend.fontsize": 7, "legend.labelspacing": 0.2}
#: Font size of labels of rules and cells in a small figure.
_SMALL = 7


def figure_html(svg: str, alt: str) -> FigureText:
    """Return an HTML image of an SVG figure; the figure's data is kept.

    Args:
        svg: result of :func:`render_svg`.
        alt: alternative text.
    """
    source = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    return FigureText(
        f'<img alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}" '
        'style="max-width: 100%; height: auto; background: transparent">',
        svg.figure if isinstance(svg, FigureText) else None,
    )


def render_svg(figure: Figure) -> FigureText:
    """Render a figure as SVG."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    parameters: Any = matplotlib.rcParams
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's matplotlibrc must not change these figures
        parameters.update(_STYLE | (_SMALL_STYLE if figure.small else {}))
        canvas = Canvas(figsize=(figure.width, figure.height), layout="constrained")
        grid = canvas.subplots(
            figure.rows, figure.columns, squeeze=False, width_ratios=figure.column_widths or None
        )
        handles: dict[str, Any] = {}
        for axes, panel in zip_longest(grid.flat, figure.panels):
            if panel is None:
                axes.set_axis_off()
            else:
                handles |= _draw_panel(axes, panel, _SMALL if figure.small else None)
        if figure.legend:
            _draw_legend(canvas, figure.legend, handles)
        file = io.StringIO()
        metadata: dict[str, Any] = {"Date": None, "Creator": None}
        canvas.savefig(file, format="svg", transparent=True, metadata=metadata)
    # Editors strip trailing white space on saving, and leading white space only makes notebooks
    # larger.
    text = "\n".join(line.strip() for line in file.getvalue().splitlines()) + "\n"
    return FigureText(text, figure)


def _draw_panel(axes: Axes, panel: Panel, size: float | None) -> dict[str, Any]:
    """Draw a panel with rule labels of font ``size``; return the legend's curves by name."""
    if not panel.framed:
        axes.set_axis_off()
    axes.set_title(_literal(panel.title))
    if panel.x.log:
        axes.set_xscale("log", nonpositive="mask")
    if panel.y.log:
        axes.set_yscale("log", nonpositive="mask")
    for span in panel.spans:
        axes.axvspan(span.start, span.end, color=span.color, alpha=0.15, linewidth=0)
        axes.text(
            (span.start + span.end) / 2, 0.84, _literal(span.text), ha="center",
            transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    if panel.heat_map:
        _draw_heat_map(axes, panel.heat_map)
    lines = [(curve.name, _draw_curve(axes, curve)) for curve in panel.curves]
    for rule in panel.rules:
        _draw_rule(axes, rule, size)
    for text in panel.texts:
        box = {"boxstyle": "round,pad=0.5", "facecolor": "none", "edgecolor": text.box}
        axes.annotate(
            text.text, (text.x, text.y), xytext=text.offset, textcoords="offset points",
            ha=text.align, va=text.vertical_align, fontsize=text.size, linespacing=1.5,
            bbox=box if text.box else None,
        )  # fmt: skip
    for arrow in panel.arrows:
        style = {"arrowstyle": "->", "color": GRAY, "linewidth": arrow.width}
        axes.annotate("", arrow.end, arrow.start, arrowprops=style)
    _draw_axis(axes.xaxis, panel.x)
    _draw_axis(axes.yaxis, panel.y)
    axes.set_xlim(panel.x_limits)
    axes.set_ylim(panel.y_limits)
    handles = {name: line for name, line in lines if name}
    if panel.legend:
        _draw_legend(axes, panel.legend, handles)
    return handles


def _draw_axis(axis: MatplotlibAxis, spec: Axis) -> None:
    axis.set_label_text(_literal(spec.label))
    if spec.ticks:
        positions, labels = zip(*spec.ticks, strict=True)
        axis.set_ticks(positions, [_literal(label) for label in labels])
        axis.minorticks_off()
    if spec.integer:
        locator: Any = axis.get_major_locator()
        locator.set_params(integer=True, min_n_ticks=1)
    if not spec.labeled:
        axis.set_tick_params(labelbottom=False, labelleft=False)


def _draw_curve(axes: Axes, curve: Curve) -> Any:
    [line] = axes.plot(
        np.array(curve.x, dtype=float), np.array(curve.y, dtype=float), color=curve.color,
        linestyle=_line_style(curve.dashes) if curve.width else "none", linewidth=curve.width,
        marker=curve.marker or None, markersize=curve.size, alpha=curve.opacity,
        fillstyle="none" if curve.hollow else "full", markevery=[-1] if curve.last_only else None,
    )  # fmt: skip
    return line


def _draw_rule(axes: Axes, rule: Rule, size: float | None) -> None:
    draw = axes.axvline if rule.upright else axes.axhline
    draw(rule.at, color=rule.color, linestyle=_line_style(rule.dashes), linewidth=rule.width)
    if rule.upright:
        axes.annotate(
            _literal(rule.text), (rule.at, 1), xycoords=("data", "axes fraction"), xytext=(4, 2),
            textcoords="offset points", va="bottom", fontsize=size,
        )  # fmt: skip
    else:
        axes.annotate(
            _literal(rule.text), (0.99 if rule.text_right else 0.01, rule.at),
            xycoords=("axes fraction", "data"), xytext=(0, -3), textcoords="offset points",
            ha="right" if rule.text_right else "left", va="top", fontsize=size,
        )  # fmt: skip


def _draw_heat_map(axes: Axes, cells: HeatMap) -> None:
    values = np.ma.masked_invalid(np.array(cells.values, dtype=float))
    low, high = cells.limits
    mesh = axes.pcolormesh(values, vmin=low, vmax=high, cmap="cividis")
    axes.grid(False)
    if cells.color_label is not None:
        axes.figure.colorbar(mesh, ax=axes, label=_literal(cells.color_label))
        return
    for row, column in np.argwhere(~np.ma.getmaskarray(values)):
        value = values[row, column]
        axes.text(
            column + 0.5, row + 0.5, f"{value:.0f}", ha="center", va="center", fontsize=_SMALL,
            color="black" if value > low + 0.55 * (high - low) else "white",
        )  # fmt: skip


def _draw_legend(owner: Any, legend: Legend, handles: dict[str, Any]) -> None:
    names = [_literal(name) for name in handles]
    if names:
        owner.legend([*handles.values()], names, loc=legend.location, ncols=legend.columns)


def _line_style(dashes: Dashes) -> Any:
    return (0, dashes) if dashes else "-"


def _literal(text: str) -> str:
    """Escape "$", which matplotlib would parse as mathematics."""
    return writable(text).replace("$", r"\$")
