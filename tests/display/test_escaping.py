"""Text from files, models or the keyboard never becomes HTML or Markdown markup."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistune
import numpy as np
import pytest
from examples import quiet
from hostile_texts import EVIL, EVIL_NAME, Parsed, assert_tame, squeezed

import alphaedit_core
from alphaedit_core.data.facts import Fact, facts_table_html
from alphaedit_core.display.escaping import escape, in_figure, markdown, markdown_code, python_text
from alphaedit_core.display.tables import html_table
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.evaluation.counterfact_scores import Measures
from alphaedit_core.evaluation.evaluate import Evaluation, MetricResult
from alphaedit_core.evaluation.metrics.registry import metric_class
from alphaedit_core.experiments.editor_comparison import EditorComparison, EditorRun
from alphaedit_core.experiments.plan import ExperimentPlan
from alphaedit_core.experiments.report import experiment_html
from alphaedit_core.experiments.results import ExperimentResult, Measurement
from alphaedit_core.export import hugging_face as export
from alphaedit_core.export.session_report import model_card, report_html
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.session.history import History
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.ability import Ability, TaskAbility
from alphaedit_core.side_effects.batch_retention import BatchName, BatchRetention, Retention
from alphaedit_core.side_effects.hidden_states import HiddenDrift
from alphaedit_widgets.components.panel import table, text

# -- HTML reprs ------------------------------------------------------------------------------------


def experiment_result(session: EditSession) -> ExperimentResult:
    hp = session.hyperparameters
    plan = ExperimentPlan((hp, hp.replace(text=f"{EVIL} other")), edits=2, batch_size=1)
    points = [
        Measurement(
            method=name,
            edits=edits,
            values={"efficacy": 50.0},
            errors={"efficacy": 1.0},
            retention={"efficacy": [50.0] * edits},
            perplexity=None,
            ability={EVIL: {"accuracy": 50.0, "f1": 50.0}},
            weights={"0": 0.1, "1": 0.1},
            seconds={"writing": 1.0, "measuring": 1.0},
            broke=EVIL if edits == 2 else "",
        )
        for name in plan.names()
        for edits in (1, 2)
    ]
    manifest = {
        "plan": json.loads(json.dumps(plan.to_dict())),
        "model": {"name": EVIL, "preset": None},
        "records": {
            "dataset": "counterfact", "options": {EVIL: EVIL}, "names": [EVIL, "b"],
            "left_out": [EVIL],
        },
        "probes": {},
    }  # fmt: skip
    return ExperimentResult(Path(EVIL_NAME), manifest, points)


def evaluation() -> Evaluation:
    metric = metric_class("efficacy")
    return Evaluation([], {EVIL: MetricResult(metric, (), None, None, EVIL)})


def spectrum() -> Spectrum:
    return Spectrum(0, np.linspace(9.0, 0.001, 40), tokens=1000)


def comparison(session: EditSession) -> EditorComparison:
    measures = Measures(50.0, 50.0, 50.0, 50.0, 12.0)
    result = session.history[0].result
    run = EditorRun(session.hyperparameters, result, measures, 1.0)
    return EditorComparison(session.history[0].facts, measures, [run])


#: An instance of every class with an HTML repr.
SHOWN: dict[type, Callable[[EditSession], Any]] = {
    Fact: lambda session: session.history[0].facts[0],
    EditConfig: lambda session: session.hyperparameters,
    History: lambda session: session.history,
    EditResult: lambda session: session.history[0].result,
    Evaluation: lambda session: evaluation(),
    Ability: lambda session: Ability((TaskAbility(EVIL, EVIL, (0, 1), (0, 1), 50.0, 4.0),)),
    EditorComparison: comparison,
    HiddenDrift: lambda session: HiddenDrift(
        number=1,
        layer=0,
        prompts=(EVIL, EVIL),
        mean_shift=0.1,
        prompt_shift=0.1,
        cosine=0.9,
        before=((0.0, 1.0),) * 2,
        after=((1.0, 0.0),) * 2,
        explained=(0.5, 0.2),
        moved=(0.1, 0.2),
    ),
    ExperimentResult: experiment_result,
    Retention: lambda session: Retention(
        states=(1,),
        batches=(BatchName(edit=1, batch=1, facts=2),),
        cells=((BatchRetention(facts=2, rated=2, efficacy=100.0, exact=50.0),),),
        weights=({0: 0.1},),
    ),
    Spectrum: lambda session: spectrum(),
}
#: Classes that show no untrusted text.
NUMBERS = {Retention, Spectrum, EditorComparison}


def test_every_class_with_an_html_repr_has_a_case() -> None:
    classes = set()
    for module in pkgutil.walk_packages(alphaedit_core.__path__, "alphaedit_core."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            classes |= {m for m in members if isinstance(m, type) and "_repr_html_" in vars(m)}
    assert classes == set(SHOWN)


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__name__)
def test_reprs_escape_text(shown: type, hostile: EditSession) -> None:
    html = SHOWN[shown](hostile)._repr_html_()
    assert_tame(html)
    if shown not in NUMBERS:
        assert "xss-a" in Parsed(html).text


@pytest.mark.parametrize(
    "html",
    [
        lambda session: facts_table_html(session.history[0].facts),
        lambda session: report_html(session, spectra={0: spectrum()}),
        lambda session: experiment_html(experiment_result(session)),
        lambda session: html_table((EVIL,), [(EVIL,)]),
        lambda session: table((EVIL,), [(EVIL,)], "id", EVIL),
        lambda session: text("id", EVIL),
    ],
    ids=["facts", "report", "experiment", "html_table", "table", "text"],
)
def test_pages_and_tables_escape_text(
    html: Callable[[EditSession], str], hostile: EditSession
) -> None:
    page = html(hostile)
    assert_tame(page)
    assert squeezed(EVIL) in squeezed(Parsed(page).text)


# -- cards -----------------------------------------------------------------------------------------


def rendered(source: str) -> list[tuple[str, int]]:
    """Return the elements of a card as GitHub and the Hub render it, inline HTML included."""
    html = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "math"])(source)
    assert isinstance(html, str)
    assert_tame(html)
    parsed = Parsed(html)
    return [(tag, parsed.tags.count(tag)) for tag in sorted(set(parsed.tags))]


def test_a_card_fragment_has_the_elements_of_a_harmless_one(
    hostile: EditSession, tame: EditSession
) -> None:
    assert rendered(model_card(hostile)) == rendered(model_card(tame))


def test_a_model_card_has_the_elements_of_a_harmless_one(
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
def test_text_in_markdown_stays_text(evil: str) -> None:
    render = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "math"])
    for before, mark in (("", "p"), ("- ", "li"), ("# ", "h1")):
        for escaped in (markdown(evil), markdown_code(evil)):
            html = str(render(f"{before}{escaped}"))
            assert set(Parsed(html).tags) <= {"p", "ul", mark} | {"code"}, html
    line = squeezed(re.sub("[\x00\x1b\ud800]", "�", evil))
    assert squeezed(Parsed(str(render(markdown(evil)))).text) == line
    code = Parsed(str(render(f"x {markdown_code(evil)}")))
    assert squeezed(code.text) == "x" + line or not evil
    cell = Parsed(str(render(f"| a | b |\n|---|---|\n| {markdown(evil)} | z |\n")))
    assert cell.tags.count("td") == 2 and squeezed(cell.text) == f"ab{line}z"


@pytest.mark.parametrize("evil", [EVIL, "\x00\x1b\ud800", '"', "'", '"""', "\\", "\n"])
def test_text_in_source_stays_text(evil: str) -> None:
    assert ast.literal_eval(python_text(evil)) == evil
    python_text(evil).encode("utf-8")


def test_unencodable_characters_are_replaced() -> None:
    for escaped in (escape("\x00a\ud800\n"), in_figure("\x00a\ud800\n")):
        assert escaped == "�a�\n"
    assert escape("<a b=\"c\" d='e'>&") == "&lt;a b=&quot;c&quot; d=&#x27;e&#x27;&gt;&amp;"
