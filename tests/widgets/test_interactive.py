"""An interactive figure shows what its picture shows, and the picture stays the text it was."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

import alphaedit_widgets
from alphaedit_core.display.figure_data import Curve, Figure, FigureText, Panel
from alphaedit_core.display.line_chart import curves_html
from alphaedit_core.display.svg import figure_html, render_svg
from alphaedit_core.editing.search_figure import trace_html
from alphaedit_core.editing.search_trace import Trace
from alphaedit_core.errors import InputError
from alphaedit_core.experiments import figures as experiment_pictures
from alphaedit_core.experiments.family_figure import family_html
from alphaedit_core.experiments.folder import load_experiment
from alphaedit_core.experiments.sequence_figure import sequence_html
from alphaedit_core.side_effects.batch_retention import BatchRetention, Retention
from alphaedit_core.side_effects.hidden_states import HiddenDrift
from alphaedit_core.side_effects.hidden_states_figure import mean_of
from alphaedit_widgets import interactive

PLOTLY = "application/vnd.plotly.v1+json"
ROOT = Path(__file__).parents[2]
CURVES = {
    "text": ([0.01, 0.02, 0.1], [0.2, 0.123456, 0.4]),
    "facts <n> $x$": ([0.01, 0.02, 0.1], [0.5, 0.0, 0.9]),
    "third": ([0.01], [0.3]),
    "fourth": ([0.01, 12_345], [0.3, 1 / 3]),
}


def some_curves(log: str = "xy") -> str:
    mark = (0.02, "the <paper>'s")
    return curves_html(CURVES, "threshold", "share & more", "Seen.", log=log, mark=mark)


def a_retention(count: int) -> Retention:
    """As many batches of two edits as states, each losing 7 points with every further one."""
    cells = tuple(
        (None,) * batch
        + tuple(
            BatchRetention(facts=2, rated=2, efficacy=99 - 3 * old, exact=90 - 7 * old)
            for old in range(count - batch)
        )
        for batch in range(count)
    )
    weights = tuple({5: 0.01 * state, 7: 0.02 * state} for state in range(count))
    return Retention(
        states=tuple(range(2, 2 * count + 2, 2)),
        batches=tuple(range(1, count + 1)),
        cells=cells,
        weights=weights,
    )


def a_sequence() -> dict[str, dict[int, dict[str, float]]]:
    names = ("efficacy", "generalization", "specificity", "exact", "perplexity")
    return {
        method: {
            edits: {name: start + place + edits / 7 for place, name in enumerate(names)}
            for edits in (40, 300)
        }
        for method, start in (("alphaedit <b>", 30.0), ("memit", 800.0))
    }


def a_hidden_drift() -> HiddenDrift:
    before = ((0.1, 0.25), (-1.23456, 0.0), (2.0, -3.0))
    after = tuple((x + 0.5, y - 0.25) for x, y in before)
    return HiddenDrift(
        number=2,
        layer=9,
        prompts=("a", "b", "c"),
        mean_shift=0.1,
        prompt_shift=0.2,
        cosine=0.9,
        before=before,
        after=after,
        explained=(0.3, 0.1),
        moved=(0.1,) * 3,
    )


def a_trace(steps: int) -> Trace:
    nll = [8.0 * 0.8**step for step in range(steps)]
    rising = [0.001 * step for step in range(steps)]
    chance = [math.exp(-value) for value in nll]
    return Trace(nll, rising, rising, chance, rising, converged=True)


def bundle(picture: str) -> dict[str, Any]:
    return interactive(picture)._repr_mimebundle_()


def figure(picture: str) -> go.Figure:
    """The figure of what a page is given: through JSON, and checked by plotly."""
    stored = json.loads(json.dumps(bundle(picture)[PLOTLY]))
    assert set(stored) == {"data", "layout", "config"}
    return go.Figure(stored["data"], stored["layout"])


def one_panel(*curves: Curve) -> Figure:
    return Figure(3.0, 2.0, (Panel(curves=curves),))


def by_name(picture: str, axes: str = "x") -> dict[str, Any]:
    """The traces of one panel, those without a name as an empty one."""
    return {trace.name or "": trace for trace in figure(picture).data if trace.xaxis == axes}


def near(values: Any, wanted: Any) -> bool:
    return list(values) == pytest.approx(list(wanted), rel=5e-4, abs=1e-12)


ALL = {
    "curves": some_curves(),
    "retention": a_retention(3).figure(),
    "a large retention": a_retention(14).figure(),
    "sequence": sequence_html(a_sequence()),
    "hidden drift": a_hidden_drift().figure(),
    "search": trace_html([a_trace(14)]),
}


@pytest.fixture(scope="module", params=["curves_html", "retention_html"])
def of_an_experiment(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A picture of a stored experiment, and its lines by panel and method, found in another way."""
    found = load_experiment(ROOT / "benchmarks" / "sequence-300")
    wanted: dict[str, Any] = {}
    if request.param == "curves_html":
        for name in found.plan.names():
            points = [
                (p.edits, p.perplexity) for p in found.for_method(name) if p.perplexity is not None
            ]
            wanted.setdefault("perplexity", {})[name] = list(zip(*points, strict=True))
        return experiment_pictures.experiment_curves_html(found, ["perplexity", "efficacy"]), wanted
    for name, point in found.final().items():
        if point.weights:
            left = point.retention["efficacy"]
            places = [(n, value) for n, value in enumerate(left, 1) if value is not None]
            wanted.setdefault("efficacy", {})[name] = list(zip(*places, strict=True))
    return experiment_pictures.experiment_retention_html(
        found, ["efficacy", "generation_contains"]
    ), wanted


# -- the picture stays what it was ---------------------------------------------------------------


def test_a_picture_is_plain_text_for_everybody_else() -> None:
    svg = render_svg(one_panel(Curve((1, 2), (3, 4), "#777777")))
    picture = figure_html(svg, "It <says> so.")
    assert picture == figure_html(str(svg), "It <says> so.") == str(picture)
    assert hash(picture) == hash(str(picture)) and json.dumps(picture) == json.dumps(str(picture))
    assert type(str(picture)) is str and type(picture + "") is str
    assert f"{picture}" == picture and picture.encode() == str(picture).encode()
    assert picture.figure is svg.figure and len(picture.figure.panels) == 1
    again = copy.deepcopy(picture)
    assert again == picture and again.figure == picture.figure


def test_plotly_draws_a_description_without_matplotlib() -> None:
    code = (
        "import sys; "
        "from alphaedit_core.display.figure_data import Curve, Figure, FigureText, Panel; "
        "from alphaedit_widgets import interactive; "
        "panel = Panel(curves=(Curve((1, 2), (3, float('nan')), '#777777'),)); "
        "shown = interactive(FigureText('', Figure(3, 2, (panel,)))).figure(); "
        "assert list(shown.data[0].y) == [3, None]; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# -- the figure has the picture's numbers ---------------------------------------------------------


def test_curves_are_those_that_were_given() -> None:
    shown = by_name(some_curves())
    assert list(shown) == ["text", "facts &lt;n&gt; &#36;x&#36;", "third", "fourth"]
    for (places, values), trace in zip(CURVES.values(), shown.values(), strict=True):
        assert near(trace.x, places) and near(trace.y, values)
        assert trace.mode == "lines+markers" and trace.showlegend
    assert shown["text"].y[1] == 0.1235, "four digits, to keep what is stored small"
    assert shown["fourth"].x[1] == 12_345, "but a count is kept whole"
    colors = [trace.line.color for trace in shown.values()]
    assert colors == ["#0072b2", "#d55e00", "#009e73", "#0072b2"]
    assert [bool(trace.line.dash) for trace in shown.values()] == [False, False, False, True]


@pytest.mark.parametrize("log", ["", "x", "y", "xy"])
def test_axes_are_logarithmic_where_the_picture_s_are(log: str) -> None:
    layout = figure(some_curves(log)).layout
    assert (layout.xaxis.type == "log", layout.yaxis.type == "log") == ("x" in log, "y" in log)
    assert (layout.xaxis.title.text, layout.yaxis.title.text) == ("threshold", "share &amp; more")
    low, high = (10**end if "x" in log else end for end in layout.xaxis.range)
    assert low < 0.01 < 12_345 < high < 100_000


@pytest.mark.parametrize("log", ["", "x"])
def test_the_mark_stands_where_it_was_put_with_its_words(log: str) -> None:
    layout = figure(some_curves(log)).layout
    [line], [words] = layout.shapes, layout.annotations
    assert (line.x0, line.x1, line.xref, line.yref) == (0.02, 0.02, "x", "y domain")
    assert (line.y0, line.y1) == (0, 1) and line.line.dash
    assert words.text == "the &lt;paper&gt;'s" and words.yanchor == "bottom"
    # https://plotly.com/python/reference/layout/annotations: on a log axis, the logarithm.
    assert words.x == (pytest.approx(math.log10(0.02)) if log else 0.02)
    assert not figure(curves_html(CURVES, "x", "y", "")).layout.shapes


def test_every_cell_of_a_retention_is_there_and_what_is_unknown_is_empty() -> None:
    own = a_retention(3)
    shown = figure(own.figure())
    [cells] = [trace for trace in shown.data if trace.type == "heatmap"]
    assert [list(row) for row in cells.z] == own.matrix("exact")
    assert (cells.zmin, cells.zmax) == (0, 100) and not cells.showscale
    assert cells.texttemplate and "1, 6" in cells.text[0][2] and "batch" in cells.hovertemplate
    assert list(shown.layout.yaxis.range) == [3, 0], "the first batch is on top"
    assert list(shown.layout.xaxis.ticktext) == ["2", "4", "6"]
    [large] = [t for t in figure(ALL["a large retention"]).data if t.type == "heatmap"]
    assert large.showscale and large.colorbar.title.text == "exact, %" and not large.texttemplate


def test_the_curves_of_a_retention_are_its_shares_and_weights() -> None:
    own = a_retention(3)
    held = by_name(own.figure(), "x2")
    for name, values in (
        ("all, efficacy", own.overall("efficacy")),
        ("all, exact", own.overall("exact")),
        ("first batch, exact", own.matrix("exact")[0]),
    ):
        assert near(held[name].x, own.states) and near(held[name].y, values)
    layers = by_name(own.figure(), "x3")
    assert {name: list(trace.y) for name, trace in layers.items()} == {
        "layer 5": [0, 1, 2],
        "layer 7": [0, 2, 4],
    }


def test_a_sequence_has_a_row_for_every_setting_and_one_entry_for_every_count() -> None:
    found = a_sequence()
    shown = figure(sequence_html(found))
    layout = shown.layout
    for place, measure in enumerate(("efficacy", "generalization", "specificity", "exact"), 1):
        axes = "x" if place == 1 else f"x{place}"
        for count, hollow in ((40, True), (300, False)):
            trace = by_name(sequence_html(found), axes)[f"after {count} edits"]
            assert near(trace.x, [own[count][measure] for own in found.values()])
            assert list(trace.y) == [0, 1] and list(trace.text) == ["alphaedit &lt;b&gt;", "memit"]
            assert trace.marker.symbol == ("circle-open" if hollow else "circle")
        between = by_name(sequence_html(found), axes)[""]
        assert list(between.y) == [0, 0, None, 1, 1] and between.hoverinfo == "skip"
    assert [layout[f"xaxis{n}"].type for n in (2, 5)] == [None, "log"]
    assert list(layout.xaxis5.ticktext) == ["25", "250"]
    assert list(layout.yaxis.ticktext) == ["alphaedit &lt;b&gt;", "memit"]
    assert layout.yaxis2.showticklabels is False and layout.yaxis.range[0] > layout.yaxis.range[1]
    entries = [trace.name for trace in shown.data if trace.showlegend]
    assert entries == ["after 40 edits", "after 300 edits"]
    assert {trace.legendgroup for trace in shown.data if trace.name} == set(entries)


def test_hidden_states_are_points_and_their_means() -> None:
    own = a_hidden_drift()
    shown = by_name(own.figure())
    for name, points, symbol in (
        ("unedited", own.before, "circle-open"),
        ("after edit 2", own.after, "x-thin-open"),
        ("mean, unedited", [mean_of(own.before)], "circle"),
        ("mean, edited", [mean_of(own.after)], "x"),
    ):
        trace = shown[name]
        assert near(trace.x, [x for x, _ in points]) and near(trace.y, [y for _, y in points])
        assert (trace.mode, trace.marker.symbol) == ("markers", symbol)


def test_an_experiment_has_a_panel_for_each_measure(
    of_an_experiment: tuple[str, dict[str, Any]],
) -> None:
    picture, wanted = of_an_experiment
    shown = figure(picture)
    titles = [note.text for note in shown.layout.annotations]
    [(measure, methods)] = wanted.items()
    at = titles.index(measure) + 1
    traces = by_name(picture, "x" if at == 1 else f"x{at}")
    assert set(methods) <= set(traces) <= {*methods, "unedited"}
    for name, (places, values) in methods.items():
        assert near(traces[name].x, places) and near(traces[name].y, values)
    assert len(titles) == 2 and titles[0] != titles[1]
    if "perplexity" in methods:
        assert shown.layout[f"yaxis{at}"].type == "log"
    entries = [trace.name for trace in shown.data if trace.showlegend]
    assert len(entries) == len(set(entries)) >= len(methods)


def test_a_search_has_its_terms_and_the_probability_marked_at_the_end() -> None:
    trace = a_trace(14)
    picture = trace_html([trace])
    terms, [chance] = by_name(picture), by_name(picture, "x2").values()
    steps = range(1, 15)
    assert near(terms["loss"].x, steps) and near(terms["loss"].y, trace.loss)
    assert near(terms["target"].y, trace.nll) and near(terms["KL"].y, trace.kl[1:])
    assert near(chance.x, steps) and near(chance.y, trace.probability)
    assert [size > 0 for size in chance.marker.size] == [False] * 13 + [True]
    assert figure(picture).layout.yaxis.type == "log"


def test_unnamed_curves_of_one_look_are_one_trace_and_others_their_own() -> None:
    red, blue = "#ff0000", "#0000ff"
    described = one_panel(
        Curve((1, 2), (3, 4), red, "red"),
        Curve((1, 2), (5, 6), red),
        Curve((1, 2), (7, 8), blue),
        Curve((1, 2), (9, 9), red, "also red"),
    )
    shown = by_name(figure_html(render_svg(described), ""))
    assert {name: list(trace.y) for name, trace in shown.items()} == {
        "red": [3, 4, None, 5, 6],
        "": [7, 8],
        "also red": [9, 9],
    }


def test_only_the_points_that_the_picture_marks_are_marked() -> None:
    curve = Curve((1, 2, 3), (1, 2, 3), "#777777", "one", marker="o", last_only=True)
    [trace] = figure(figure_html(render_svg(one_panel(curve)), "")).data
    sizes = list(trace.marker.size)
    assert sizes[:2] == [0, 0] and sizes[2] > 0


# -- what a notebook stores ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_a_notebook_is_given_the_figure_the_picture_and_a_line(name: str) -> None:
    picture = ALL[name]
    shown = bundle(picture)
    assert set(shown) == {PLOTLY, "text/html", "text/plain"}
    assert shown["text/html"] == picture and type(shown["text/html"]) is str
    assert re.match(r'<img alt="[^"]{30}', shown["text/html"])
    assert re.fullmatch(r"interactive figure, \d panels?", shown["text/plain"])
    assert bundle(picture) == shown, "the same every time"
    stored = json.dumps(shown[PLOTLY])
    assert "bdata" not in stored and len(stored) < 12_000
    assert shown[PLOTLY]["config"] == {"responsive": True, "displaylogo": False}


@pytest.mark.parametrize("name", ALL)
def test_the_page_s_own_ground_shows_through(name: str) -> None:
    layout = figure(ALL[name]).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert layout.font.color == "#777777" and layout.width is None
    template = bundle(ALL[name])[PLOTLY]["layout"]["template"]
    assert set(template) == {"layout"} and set(template["layout"]) == {"xaxis", "yaxis"}


def test_more_rows_are_higher() -> None:
    found = load_experiment(ROOT / "benchmarks" / "sequence-300")
    every = figure(experiment_pictures.experiment_curves_html(found)).layout.height
    assert (
        every
        > 2 * figure(experiment_pictures.experiment_curves_html(found, ["efficacy"])).layout.height
    )


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (family_html(), r"this figure has no curves; show it with HTML\(figure\)"),
        (str(some_curves()), "this is plain text, not a figure"),
        (some_curves() + "<p>more</p>", "with nothing added"),
        ("", "this is plain text, not a figure"),
    ],
    ids=["diagram", "text", "added to", "empty"],
)
def test_what_cannot_be_interactive_is_refused_in_one_line(picture: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        interactive(picture)
    assert "\n" not in str(refused.value)


def test_it_is_the_package_s_however_often_it_is_asked_for() -> None:
    """A module of the same name would take its place after the first time."""
    assert callable(alphaedit_widgets.interactive) and alphaedit_widgets.interactive is interactive
    assert isinstance(interactive(some_curves()), alphaedit_widgets.Interactive)
    assert isinstance(some_curves(), FigureText)
