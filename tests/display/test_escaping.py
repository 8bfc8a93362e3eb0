"""Nothing that comes out of files, models or the keyboard becomes a mark of HTML or Markdown.

Everything that shows such texts is given hostile ones, and what it makes is parsed. The producers
are looked for, so that a new one without a case here fails.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets as W
import mistune
import numpy as np
import plotly.graph_objects as go
import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

import alphaedit_core
from alphaedit_core.data.facts import Fact, facts_table_html
from alphaedit_core.display.escaping import escape, in_figure, markdown, markdown_code, python_text
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.evaluation.counterfact_scores import Measures
from alphaedit_core.evaluation.evaluate import Evaluation, Measured
from alphaedit_core.evaluation.metrics import metric_class
from alphaedit_core.experiments.editor_comparison import Contest, Rival
from alphaedit_core.experiments.plan import Plan
from alphaedit_core.experiments.report import experiment_html
from alphaedit_core.experiments.results import Findings, Point
from alphaedit_core.export import hugging_face as export
from alphaedit_core.export.session_report import model_card, report_html
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.session.history import History
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.ability import Ability, TaskAbility
from alphaedit_core.side_effects.hidden_states import HiddenDrift
from alphaedit_core.side_effects.retention import BatchName, Kept, Retention
from alphaedit_widgets.components.panel import Panel, table, text
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.workbench import Workbench

ROOT = Path(__file__).parents[2]

#: Out of a cell, an attribute in either kind of quotes, a title, a style, a comment, a code block.
EVIL = (
    '"\'></td></title></style></textarea>--><xss-a xss-b=1 onerror="x"><script>xss</script> '
    "\" xss-c=\"1 ' xss-d='1 &lt;xss-e&gt; [xss](javascript:xss) ![xss](xss:x) <javascript:xss> "
    "`xss` ``xss`` *xss* __xss__ ~~xss~~ $xss$ | xss | # xss ``` --- {xss} %{xss} \\xss"
)
#: The same for the name of a folder, which has no slash.
EVIL_NAME = EVIL.replace("/", "\\")[:200]
TAME = "a tame text"


class Parsed(HTMLParser):
    """Tags, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("!--")


def assert_tame(html: str) -> None:
    """No element, attribute or address in it is of the hostile text."""
    found = Parsed(html)
    foreign = [tag for tag in found.tags if "xss" in tag or tag in ("script", "iframe", "!--")]
    assert not foreign, html
    for name, value in found.attributes:
        assert "xss" not in name and not name.startswith("on"), (name, html)
        if name in ("href", "src"):
            assert (value or "").startswith("data:"), html


def squeezed(words: str) -> str:
    return "".join(words.split())


# -- what is shown ---------------------------------------------------------------------------------


def hostile_fact(of: str, number: int = 0) -> Fact:
    return Fact(
        f"{of} subject {number}", f"{of} {{}} {of}", f"{of} target", f"{of} true target",
        id=f"{of} id {number}", relation=f"{of} relation", paraphrases=[f"{of} {{}} again"],
        neighbours=[f"{of} neighbour"],
    )  # fmt: skip


def swapped(stored: Any, of: str) -> Any:
    """A record with every text in it swapped, but for the names of its fields."""
    if isinstance(stored, dict):
        if stored.keys() >= {"subject", "prompt", "target"}:
            return hostile_fact(of).to_dict()
        return {key: swapped(value, of) for key, value in stored.items()}
    if isinstance(stored, list):
        return [swapped(value, of) for value in stored]
    return of if isinstance(stored, str) else stored


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("escaping")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        yield folder


def session_of(of: str, place: Path) -> EditSession:
    """A session with one edit, in which every text that a file could hold is this one."""
    folder = place / (EVIL_NAME if of == EVIL else "tame")
    folder.mkdir(exist_ok=True)
    hp = small(folder, steps=2, origin=of)
    model = tiny_model("llama")
    # Its positions are computed, so that it reads texts of any length.
    model.model.config.max_position_embeddings = 1 << 14
    session = EditSession(model, hyperparameters=hp, contexts=CONTEXTS[:1])
    session.edit(FACTS[:2], monitor=quiet())
    session.model.name = of
    (entry,) = session._entries
    result = EditResult.from_dict(swapped(entry.result.to_dict(), of))
    facts = [hostile_fact(of, number) for number in range(2)]
    outcomes = [
        dataclasses.replace(outcome, fact=fact, note=of)
        for outcome, fact in zip(result.outcomes, facts, strict=True)
    ]
    session._entries = [
        dataclasses.replace(
            entry,
            title=of,
            result=dataclasses.replace(result, outcomes=outcomes),
            batches=[dataclasses.replace(entry.batches[0], facts=facts)],
        )
    ]
    return session


@pytest.fixture(scope="module")
def hostile(place: Path) -> EditSession:
    return session_of(EVIL, place)


@pytest.fixture(scope="module")
def tame(place: Path) -> EditSession:
    return session_of(TAME, place)


def findings(session: EditSession) -> Findings:
    hp = session.hyperparameters
    plan = Plan((hp, hp.replace(text=f"{EVIL} other")), 2, 1)
    points = [
        Point(
            name, edits, {"efficacy": 50.0}, {"efficacy": 1.0}, {"efficacy": [50.0] * edits},
            None, {EVIL: {"accuracy": 50.0, "f1": 50.0}}, {"0": 0.1, "1": 0.1},
            {"writing": 1.0, "measuring": 1.0}, broke=EVIL if edits == 2 else "",
        )
        for name in plan.names()
        for edits in (1, 2)
    ]  # fmt: skip
    manifest = {
        "plan": json.loads(json.dumps(plan.to_dict())),
        "model": {"name": EVIL, "preset": None},
        "records": {
            "dataset": "counterfact", "options": {EVIL: EVIL}, "names": [EVIL, "b"],
            "left_out": [EVIL],
        },
        "probes": {},
    }  # fmt: skip
    return Findings(Path(EVIL_NAME), manifest, points)


def evaluation() -> Evaluation:
    metric = metric_class("efficacy")
    return Evaluation([], {EVIL: Measured(metric, (), None, None, EVIL)})


def spectrum() -> Spectrum:
    return Spectrum(0, np.linspace(9.0, 0.001, 40), tokens=1000)


def contest(session: EditSession) -> Contest:
    measures = Measures(50.0, 50.0, 50.0, 50.0, 12.0)
    result = session.history[0].result
    rival = Rival(session.hyperparameters, result, measures, 1.0)
    return Contest(session.history[0].facts, measures, [rival])


#: One of every class that shows itself as HTML.
SHOWN: dict[type, Callable[[EditSession], Any]] = {
    Fact: lambda session: session.history[0].facts[0],
    HyperParameters: lambda session: session.hyperparameters,
    History: lambda session: session.history,
    EditResult: lambda session: session.history[0].result,
    Evaluation: lambda session: evaluation(),
    Ability: lambda session: Ability((TaskAbility(EVIL, EVIL, (0, 1), (0, 1), 50.0, 4.0),)),
    Contest: contest,
    HiddenDrift: lambda session: HiddenDrift(
        1, 0, (EVIL, EVIL), 0.1, 0.1, 0.9, ((0.0, 1.0),) * 2, ((1.0, 0.0),) * 2, (0.5, 0.2),
        (0.1, 0.2),
    ),
    Findings: findings,
    Retention: lambda session: Retention(
        (1,), (BatchName(1, 1, 2),), ((Kept(2, 2, 100.0, 50.0),),), ({0: 0.1},)
    ),
    Spectrum: lambda session: spectrum(),
}  # fmt: skip
#: Those that show no text of anybody's.
NUMBERS = {Retention, Spectrum, Contest}


def test_there_is_a_case_for_every_class_that_shows_itself() -> None:
    found = set()
    for module in pkgutil.walk_packages(alphaedit_core.__path__, "alphaedit_core."):
        if not module.name.endswith("__main__"):
            held = vars(importlib.import_module(module.name)).values()
            found |= {one for one in held if isinstance(one, type) and "_repr_html_" in vars(one)}
    assert found == set(SHOWN)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_no_repr_obeys_a_text(shown: type, hostile: EditSession) -> None:
    html = SHOWN[shown](hostile)._repr_html_()
    assert_tame(html)
    if shown not in NUMBERS:
        assert "xss-a" in Parsed(html).text


@pytest.mark.parametrize(
    "html",
    [
        lambda session: facts_table_html(session.history[0].facts),
        lambda session: report_html(session, spectra={0: spectrum()}),
        lambda session: experiment_html(findings(session)),
        lambda session: html_table((EVIL,), [(EVIL,)]),
        lambda session: table((EVIL,), [(EVIL,)], "id", EVIL),
        lambda session: text("id", EVIL),
    ],
    ids=["facts", "report", "experiment", "html_table", "table", "text"],
)
def test_no_page_and_no_table_obeys_a_text(
    html: Callable[[EditSession], str], hostile: EditSession
) -> None:
    made = html(hostile)
    assert_tame(made)
    assert squeezed(EVIL) in squeezed(Parsed(made).text)


# -- the workbench ---------------------------------------------------------------------------------


def inside(widget: Any, seen: set[int]) -> Iterator[Any]:
    """A widget and all that it holds, in attributes too: what is hidden now may show later."""
    if id(widget) in seen or not isinstance(widget, W.Widget):
        return
    seen.add(id(widget))
    yield widget
    for value in list(vars(widget).values()):
        for one in value if isinstance(value, (list, tuple)) else [value]:
            yield from inside(one, seen)
    for child in getattr(widget, "children", ()):
        yield from inside(child, seen)


@pytest.fixture(scope="module")
def workbench(hostile: EditSession) -> Workbench:
    """Everything filled with hostile texts."""
    wb = Workbench(hostile)
    fact = hostile_fact(EVIL)
    drafts = [Draft.of(fact), Draft(EVIL, EVIL, EVIL, EVIL, EVIL)]
    wb.facts_panel.drafts = tuple(drafts)
    wb.facts_panel.select(0)
    wb.spectrum.collect(block=True)
    for panel in (wb.header, *wb.panels):
        panel.opened()
        panel.state.make_way()
    wb.state.notice = EVIL
    wb.state.report(EVIL, RuntimeError(EVIL))
    wb.facts_panel._say(EVIL, wrong=True)
    wb.export._say(EVIL)
    wb.history.compare(0, 1)
    found = HiddenDrift(
        1, 0, (EVIL,), 0.1, 0.1, 0.9, ((0.0, 1.0),), ((1.0, 0.0),), (0.5, 0.2), (0.1,)
    )
    wb.drift.hidden._show(("", found))
    wb.edit._name([EVIL, EVIL])
    wb.edit._only.value = 0
    wb.edit._draw()
    return wb


def test_no_panel_obeys_a_text(workbench: Workbench) -> None:
    pieces = [w for w in inside(workbench, set()) if isinstance(w, (W.HTML, W.HTMLMath))]
    assert len(pieces) > 40
    for piece in pieces:
        assert_tame(piece.value)
    for panel in (workbench, workbench.header, *workbench.panels):
        assert_tame(panel.static_html())
        assert_tame(panel._repr_mimebundle_()["text/html"])
    shown = squeezed("".join(Parsed(piece.value).text for piece in pieces))
    assert shown.count("xss-a") > 10


def test_no_name_of_a_control_is_read_as_html(workbench: Workbench) -> None:
    """ipywidgets reads the descriptions of some controls as HTML."""
    for widget in inside(workbench, set()):
        for trait in ("description", "description_html", "tooltip", "title", "titles"):
            assert "xss" not in str(getattr(widget, trait, ""))


def test_no_figure_obeys_a_text(workbench: Workbench) -> None:
    """Plotly reads names, titles, ticks and what it shows on hovering as a kind of HTML."""
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


def test_every_panel_is_in_the_workbench_that_is_looked_at(workbench: Workbench) -> None:
    def below(kind: type) -> set[type]:
        return {kind, *(one for sub in kind.__subclasses__() for one in below(sub))}

    ours = {kind for kind in below(Panel) if kind.__module__.startswith("alphaedit_widgets.")}
    assert ours - {Panel} == {type(p) for p in (workbench, workbench.header, *workbench.panels)}


# -- cards -----------------------------------------------------------------------------------------


def rendered(source: str) -> list[tuple[str, int]]:
    """Elements of a card as GitHub and the hub would show it, HTML in it included."""
    html = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "math"])(source)
    assert isinstance(html, str)
    assert_tame(html)
    found = Parsed(html)
    return [(tag, found.tags.count(tag)) for tag in sorted(set(found.tags))]


def test_the_fragment_of_a_card_has_the_elements_of_a_tame_one(
    hostile: EditSession, tame: EditSession
) -> None:
    assert rendered(model_card(hostile)) == rendered(model_card(tame))


def test_the_card_of_a_model_has_the_elements_of_a_tame_one(
    hostile: EditSession, tame: EditSession, tmp_path: Path
) -> None:
    cards = []
    for session, name in ((hostile, EVIL_NAME), (tame, "tame")):
        export.model(session, tmp_path / name, quiet())
        cards.append((tmp_path / name / "README.md").read_text("utf-8"))
    assert rendered(cards[0]) == rendered(cards[1])
    (code,) = re.findall(r"```python\n(.*?)\n```", cards[0], flags=re.DOTALL)
    names = {n.value for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Constant)}
    assert names == {EVIL_NAME}


@pytest.mark.parametrize(
    "evil",
    [
        EVIL, "a\n---\nb: c\n\n# heading\n", "- item", "1. item", "+ item", "2) item", "=====",
        "\\", "`", "``", " ` ", "a|b", "---", "<!-- x -->", "&amp;", "$$x$$", "~~~", "> quote",
        "\x00\x1b[31m\ud800", "http:", "",
    ],
)  # fmt: skip
def test_a_text_in_markdown_is_a_text(evil: str) -> None:
    render = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "math"])
    for before, mark in (("", "p"), ("- ", "li"), ("# ", "h1")):
        for made in (markdown(evil), markdown_code(evil)):
            html = str(render(f"{before}{made}"))
            assert set(Parsed(html).tags) <= {"p", "ul", mark} | {"code"}, html
    line = squeezed(re.sub("[\x00\x1b\ud800]", "�", evil))
    assert squeezed(Parsed(str(render(markdown(evil)))).text) == line
    code = Parsed(str(render(f"x {markdown_code(evil)}")))
    assert squeezed(code.text) == "x" + line or not evil
    cell = Parsed(str(render(f"| a | b |\n|---|---|\n| {markdown(evil)} | z |\n")))
    assert cell.tags.count("td") == 2 and squeezed(cell.text) == f"ab{line}z"


@pytest.mark.parametrize("evil", [EVIL, "\x00\x1b\ud800", '"', "'", '"""', "\\", "\n"])
def test_a_text_in_source_is_a_text(evil: str) -> None:
    assert ast.literal_eval(python_text(evil)) == evil
    python_text(evil).encode("utf-8")


def test_what_no_file_can_hold_is_not_written() -> None:
    for made in (escape("\x00a\ud800\n"), in_figure("\x00a\ud800\n")):
        assert made == "�a�\n"
    assert escape("<a b=\"c\" d='e'>&") == "&lt;a b=&quot;c&quot; d=&#x27;e&#x27;&gt;&amp;"


# -- in the source ---------------------------------------------------------------------------------


def test_every_module_takes_the_one_helper() -> None:
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        if path.name != "escaping.py":
            source = path.read_text("utf-8")
            assert not re.search(r"from html import|import html\b|markupsafe|saxutils", source), (
                path
            )


#: What may stand between tags without being escaped there: HTML that is finished by now …
_MADE = re.compile(
    r"(escape|in_figure|text|table|scroll|html_table|\w+_html|words_html|self\._drifts)\(.*\)"
    r"|.*\.(_repr_html_|figure|html)\(\)|''\.join\(\w+\)|_kept_together\(escape\(cell\)\)"
)
#: … under these names, which nothing else has; …
_HELD = {
    "head", "body", "rows", "cell", "cells", "told", "texts", "counts", "table", "meanings",
    "picture", "shown", "title", "items", "words", "line", "stretch", "small", "drawn", "massive",
    "bar", "rest", "html", "more", "unit", "caption", "points", "at", "share", "filled",
}  # fmt: skip
#: … and numbers and words of our own.
_OWN = re.compile(
    r"len\(.*\)( - \w+)?|[A-Z_]+|_ASKS\[kind\]|_share\(.*\)|self\.side\.lower\(\)|s\.layer|layer|"
    r"number|hidden|undone|left_out|left|look|tag|sign|spoken|where|name|testid|kind|state|source|"
    r"power|note|said|as_published|'.*' if \w.* else '.*'"
)
_TAG = re.compile(r"</?[a-z!]")


def test_no_text_is_put_between_tags_as_it_is() -> None:
    """A text of somebody's that goes into HTML is escaped in the place where that is made."""
    seen = 0
    for path in (*ROOT.glob("alphaedit_core/**/*.py"), *ROOT.glob("widgets/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.JoinedStr):
                continue
            plain = "".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
            if not _TAG.search(plain) or "(?" in plain:  # a regular expression
                continue
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    seen += 1
                    words = ast.unparse(part.value)
                    spec = (
                        part.format_spec.values
                        if isinstance(part.format_spec, ast.JoinedStr)
                        else []
                    )
                    number = bool(spec) and ast.unparse(spec[-1]).rstrip("'")[-1] in "fgd%eX,"
                    known = _MADE.fullmatch(words) or words in _HELD or _OWN.fullmatch(words)
                    assert number or known, f"{path}:{node.lineno}: {words} is not escaped"
    assert seen > 100


def test_no_script_in_the_browser_makes_html_of_text() -> None:
    for path in ROOT.glob("widgets/static/*.js"):
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc|DOMParser",
            path.read_text("utf-8"),
        )
        assert not found, path
