"""Interactive plotly versions of the core's figures, with the static figure as a fallback.

Axes, curves, rules and heat maps are converted; spans, arrows and texts stay in the static figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite, log10
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from alphaedit_core.display import figure_data as fig
from alphaedit_core.display.escaping import in_figure
from alphaedit_core.errors import InputError

_FAINT = "rgba(119,119,119,0.25)"
_CLEAR = "rgba(0,0,0,0)"
#: Replaces plotly's default template; shared axis settings keep the stored outputs small.
_AXES = {
    "zeroline": False, "showline": True, "linecolor": fig.GRAY, "gridcolor": _FAINT,
    "ticks": "outside", "automargin": True,
}  # fmt: skip
_TEMPLATE = go.layout.Template(layout={"xaxis": _AXES, "yaxis": _AXES})
_CONFIG = {"responsive": True, "displaylogo": False}
#: Pixels per inch, and the extra height for plotly's margins.
_INCH, _MORE = 96, 50
#: Pixels between the panels and a legend below them.
_BELOW = 60
#: Plotly's names for matplotlib's markers.
_SYMBOLS = {"o": "circle", ".": "circle", "s": "square", "^": "triangle-up", "x": "x-thin-open",
            "X": "x"}  # fmt: skip
_SHOWN = ",.6~r"


class Interactive:
    """A figure that JupyterLab shows with plotly, and every other viewer as the static image.

    It is not a widget and needs no kernel, so a stored notebook keeps it.

    Args:
        html: the return value of a function such as
            :func:`~alphaedit_core.display.line_chart.curves_html`.

    Attributes:
        html: the same.

    Raises:
        InputError: if ``html`` is not such a figure, or is a diagram without curves.
    """

    def __init__(self, html: str) -> None:
        if not isinstance(html, fig.FigureText) or html.figure is None:
            raise InputError(
                "this is plain text, not a figure; give what curves_html and its like return, "
                "with nothing added"
            )
        if not any(panel.curves or panel.heat_map for panel in html.figure.panels):
            raise InputError("this figure has no curves; show it with HTML(figure)")
        self.html = html
        self._figure = html.figure

    def figure(self) -> go.Figure:
        """Return the plotly figure."""
        return _plotly(self._figure)

    def __repr__(self) -> str:
        # Stored notebooks may not contain a trained model's digits, which the figure's text has.
        count = len(self._figure.panels)
        return f"interactive figure, {count} panel{'s' * (count > 1)}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        figure = self.figure().to_plotly_json()
        return {
            "application/vnd.plotly.v1+json": figure | {"config": dict(_CONFIG)},
            "text/html": str(self.html),
            "text/plain": repr(self),
        }


def interactive(html: str) -> Interactive:
    """Return an interactive version of a figure; see :class:`Interactive`."""
    return Interactive(html)


def _plotly(spec: fig.Figure) -> go.Figure:
    rows, columns = spec.rows, spec.columns
    figure = make_subplots(
        rows, columns, column_widths=list(spec.column_widths or [1.0] * columns),
        horizontal_spacing=0.2 / columns if columns < 4 else 0.1 / columns,
        vertical_spacing=0.35 / rows if rows > 1 else None,
        subplot_titles=[in_figure(panel.title) for panel in spec.panels],
    )  # fmt: skip
    legend_names: set[str] = set()
    for number, panel in enumerate(spec.panels):
        place = {"row": number // columns + 1, "col": number % columns + 1}
        if panel.heat_map:
            figure.add_trace(_heatmap(panel.heat_map, panel), **place)
        for curve in _merge_unnamed(panel.curves):
            figure.add_trace(_scatter(curve, panel, first=curve.name not in legend_names), **place)
            legend_names.add(curve.name)
        figure.update_xaxes(_axis(panel.x, panel.x_limits), **place)
        figure.update_yaxes(_axis(panel.y, panel.y_limits), **place)
        for rule in panel.rules:
            axis = panel.x if rule.upright else panel.y
            _add(figure, rule, axis.log, **place)
    figure.update_annotations(font_size=12)
    height = round(_INCH * spec.height) + _MORE
    if columns > 1:  # a legend at the side would narrow the panels
        legend = {"orientation": "h", "yanchor": "top", "y": -_BELOW / height}
        height += _BELOW
    else:
        legend = {}
    figure.update_layout(
        template=_TEMPLATE,
        autosize=True,
        height=height,
        margin={"l": 50, "r": 20, "t": 40, "b": 50},
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"family": "inherit", "size": 12, "color": fig.GRAY},
        legend=legend,
        showlegend=len(legend_names - {""}) > 1,
        hovermode="closest",
    )
    return figure


def _merge_unnamed(curves: Sequence[fig.Curve]) -> list[fig.Curve]:
    """Append unnamed curves to the curve of the same style, to share its legend entry."""
    merged: list[fig.Curve] = []
    for curve in (curve for curve in curves if curve.x):
        for index, other in enumerate(merged):
            same_style = replace(curve, name=other.name, x=other.x, y=other.y) == other
            if same_style and not curve.name and not curve.last_only:
                gap = (None,) if curve.width else ()
                merged[index] = replace(other, x=other.x + gap + curve.x, y=other.y + gap + curve.y)
                break
        else:
            merged.append(curve)
    return merged


def _scatter(curve: fig.Curve, panel: fig.Panel, first: bool) -> go.Scatter:
    modes = [mode for mode, on in (("lines", curve.width), ("markers", curve.marker)) if on]
    trace: dict[str, Any] = {
        "x": _rounded(curve.x),
        "y": _rounded(curve.y),
        "mode": "+".join(modes),
    }
    hover_html = f"%{{x:{_SHOWN}}}: %{{y:{_SHOWN}}}"
    for axis, values, other in ((panel.x, curve.x, "y"), (panel.y, curve.y, "x")):
        if (names := _names(axis, values)) is not None:
            trace["text"], hover_html = names, f"%{{text}}: %{{{other}:{_SHOWN}}}"
    if curve.name:
        trace |= {
            "name": in_figure(curve.name),
            "legendgroup": in_figure(curve.name),
            "showlegend": first,
        }
    else:
        trace["showlegend"] = False
    if curve.name or curve.marker:
        trace["hovertemplate"] = f"{hover_html}<extra>{in_figure(curve.name)}</extra>"
    else:
        trace["hoverinfo"] = "skip"
        trace.pop("text", None)
    if curve.width:
        trace["line"] = {"color": curve.color, "width": curve.width} | _dash(curve)
    if curve.marker:
        symbol = _SYMBOLS[curve.marker] + ("-open" if curve.hollow else "")
        edge = 1.5 if symbol.endswith("-open") else 0
        size: Any = 4 if curve.marker == "." else curve.size + 2
        if curve.last_only:
            size = [0] * (len(curve.x) - 1) + [size]
        trace["marker"] = {
            "color": curve.color, "size": size, "symbol": symbol, "line": {"width": edge},
        }  # fmt: skip
    if curve.opacity < 1:
        trace["opacity"] = curve.opacity
    return go.Scatter(trace)


def _heatmap(cells: fig.HeatMap, panel: fig.Panel) -> go.Heatmap:
    x = tuple(place + 0.5 for place in range(len(cells.values[0])))
    y = tuple(place + 0.5 for place in range(len(cells.values)))
    trace: dict[str, Any] = {
        "x": x, "y": y, "z": [_rounded(row) for row in cells.values],
        "zmin": cells.limits[0], "zmax": cells.limits[1], "colorscale": "Cividis",
        "showscale": False, "hovertemplate": "%{z:.4~r}<extra></extra>",
    }  # fmt: skip
    if cells.color_label is None:
        trace["texttemplate"] = "%{z:.0f}"
    else:
        trace |= {
            "showscale": True,
            "colorbar": {"title": {"text": in_figure(cells.color_label)}, "thickness": 12},
        }
    x_names, y_names = _names(panel.x, x), _names(panel.y, y)
    if x_names and y_names:
        trace["text"] = [[f"{row}, {column}" for column in x_names] for row in y_names]
        axes_html = f"{in_figure(panel.y.label)}, {in_figure(panel.x.label)}"
        trace["hovertemplate"] = f"{axes_html} %{{text}}: %{{z:.4~r}}<extra></extra>"
    return go.Heatmap(trace)


def _axis(axis: fig.Axis, limits: fig.Limits) -> dict[str, Any]:
    low, high = (log10(end) if axis.log else end for end in limits)
    settings: dict[str, Any] = {"range": [_round4(low), _round4(high)]}
    if axis.label:
        settings["title"] = {"text": in_figure(axis.label), "standoff": 8}
    if axis.log:
        settings |= {"type": "log", "exponentformat": "e"}  # otherwise plotly writes 0.0001 as 100μ
    if not axis.labeled:
        settings["showticklabels"] = False
    if axis.ticks:
        settings["tickvals"] = [_round4(at) for at, _ in axis.ticks]
        settings["ticktext"] = [in_figure(label) for _, label in axis.ticks] if axis.labeled else []
    return settings


def _add(figure: go.Figure, rule: fig.Rule, log: bool, **place: int) -> None:
    draw = figure.add_vline if rule.upright else figure.add_hline
    line = {"color": rule.color, "width": rule.width} | _dash(rule)
    annotation: dict[str, Any] = {}
    if rule.text:
        # On a log axis, plotly places lines by value but annotations by logarithm.
        at = log10(rule.at) if log else rule.at
        annotation = {"annotation_text": in_figure(rule.text)}
        annotation["annotation_x" if rule.upright else "annotation_y"] = at
        if rule.upright:  # above the panel, clear of the curves
            annotation |= {"annotation_position": "top", "annotation_yanchor": "bottom"}
    draw(rule.at, line=line, **annotation, **place)


def _dash(line: fig.Curve | fig.Rule) -> dict[str, str]:
    if not line.dashes:
        return {}
    return {"dash": ",".join(f"{length * line.width:.3g}px" for length in line.dashes)}


def _names(axis: fig.Axis, values: fig.Numbers) -> list[str] | None:
    """Return the axis labels at the values, if the ticks there are words, not numbers."""
    labels = {at: in_figure(word) for at, word in axis.ticks if word != f"{at:g}"}
    if not labels or any(value is not None and value not in labels for value in values):
        return None
    return ["" if value is None else labels[value] for value in values]


def _rounded(values: fig.Numbers) -> list[float | None]:
    return [None if value is None or not isfinite(value) else _round4(value) for value in values]


def _round4(value: float) -> float:
    """Round to four significant digits; keep integers, which are counts."""
    return int(value) if value == int(value) else float(f"{value:.4g}")
