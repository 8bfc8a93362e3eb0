"""Panels, controls and figures of the workbench escape text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets as W
import plotly.graph_objects as go
import pytest
from hostile_texts import EVIL, Parsed, assert_tame, hostile_fact, squeezed

from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.hidden_states import HiddenDrift
from alphaedit_widgets.components.panel import Panel
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.workbench import Workbench


def inside(widget: Any, seen: set[int]) -> Iterator[Any]:
    """Yield a widget and all widgets in it, also in attributes: hidden ones may be shown later."""
    if id(widget) in seen or not isinstance(widget, W.Widget):
        return
    seen.add(id(widget))
    yield widget
    for value in list(vars(widget).values()):
        for item in value if isinstance(value, (list, tuple)) else [value]:
            yield from inside(item, seen)
    for child in getattr(widget, "children", ()):
        yield from inside(child, seen)


@pytest.fixture(scope="module")
def workbench(hostile: EditSession) -> Workbench:
    """A workbench filled with hostile texts."""
    wb = Workbench(hostile)
    fact = hostile_fact(EVIL)
    drafts = [Draft.of(fact), Draft(EVIL, EVIL, EVIL, EVIL, EVIL)]
    wb.facts_panel.drafts = tuple(drafts)
    wb.facts_panel.select(0)
    wb.spectrum.collect(block=True)
    for panel in (wb.header, *wb.panels):
        panel.on_first_show()
        panel.state.preempt_background_job()
    wb.state.notice = EVIL
    wb.state.report(EVIL, RuntimeError(EVIL))
    wb.facts_panel._say(EVIL, wrong=True)
    wb.export._say(EVIL)
    wb.history.compare(0, 1)
    found = HiddenDrift(
        number=1,
        layer=0,
        prompts=(EVIL,),
        mean_shift=0.1,
        prompt_shift=0.1,
        cosine=0.9,
        before=((0.0, 1.0),),
        after=((1.0, 0.0),),
        explained=(0.5, 0.2),
        moved=(0.1,),
    )
    wb.drift.hidden._show(("", found))
    wb.edit._set_names([EVIL, EVIL])
    wb.edit._curves_of.value = 0
    wb.edit._draw()
    return wb


def test_panels_escape_text(workbench: Workbench) -> None:
    pieces = [w for w in inside(workbench, set()) if isinstance(w, (W.HTML, W.HTMLMath))]
    assert len(pieces) > 40
    for piece in pieces:
        assert_tame(piece.value)
    for panel in (workbench, workbench.header, *workbench.panels):
        assert_tame(panel.static_html())
        assert_tame(panel._repr_mimebundle_()["text/html"])
    shown = squeezed("".join(Parsed(piece.value).text for piece in pieces))
    assert shown.count("xss-a") > 10


def test_names_of_controls_contain_no_text(workbench: Workbench) -> None:
    """ipywidgets renders the descriptions of some controls as HTML."""
    for widget in inside(workbench, set()):
        for trait in ("description", "description_html", "tooltip", "title", "titles"):
            assert "xss" not in str(getattr(widget, trait, ""))


def test_figures_escape_text(workbench: Workbench) -> None:
    """Plotly renders names, titles, ticks and hover texts as a subset of HTML."""
    figures = [w for w in inside(workbench, set()) if isinstance(w, go.FigureWidget)]
    assert len(figures) == 3
    written = [words for figure in figures for words in _texts(figure.to_dict())]
    assert any("xss" in words for words in written)
    for words in written:
        if "xss" in words:
            assert "<" not in words and "$" not in words


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _texts(value)
    elif isinstance(node, str):
        yield node


def test_the_workbench_has_every_panel(workbench: Workbench) -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(one for sub in kind.__subclasses__() for one in below(sub))}

    ours = {kind for kind in below(Panel) if kind.__module__.startswith("alphaedit_widgets.")}
    assert ours - {Panel} == {type(p) for p in (workbench, workbench.header, *workbench.panels)}
