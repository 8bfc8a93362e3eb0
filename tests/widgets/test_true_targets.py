"""True targets as the unedited model says them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, small
from facts_panels import TOWER, Browser, facts_panel, page_of, rows_shown, unchanged_session
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.facts import true_targets as true_targets_module
from alphaedit_widgets.facts.panel import FactsPanel
from alphaedit_widgets.facts.true_targets import first_words

session = pytest.fixture(unchanged_session, scope="module")
panel = pytest.fixture(facts_panel)
browser = pytest.fixture(page_of)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (" Paris, the capital of France.", "Paris"),
        (" New York City. It is", "New York City"),
        (" New York in the", "New York"),
        (' "Paris" and', "Paris"),
        (" Lyon (France)", "Lyon"),
        (" the city of Rome", "the"),
        ("\n\n1889 by Gustave", "1889"),
        (" A Very Long Name Indeed It Is", "A Very Long Name"),
        (" 3.5. It", "3.5"),
        ("日本の首都", "日本"),
        ("カタカナー、です", "カタカナー"),
        (" Saint-Étienne's", "Saint-Étienne's"),
        (" -5 degrees", "-5"),
        (" $75, which", "$75"),
        (" - a dash", "a"),
        (" U.S. Army and", "U.S. Army"),
        (" the U.S.", "the"),
        (" St. Louis, where", "St. Louis"),
        (" J. R. R. Tolkien.", "J. R. R. Tolkien"),
        (" Paris. The city", "Paris"),
        (" Vitamin C. The", "Vitamin C"),
        (" C++ and", "C++"),
        (" .NET by Microsoft", ".NET"),
        (" ...The end", "The"),
        (" U.S. The army", "U.S."),
        (" U.S. Army. The", "U.S. Army"),
        (" ...", ""),
        ("", ""),
        ("\n", ""),
    ],
)
def test_a_continuation_is_cut_to_its_first_word_or_name(text: str, cut: str) -> None:
    assert first_words(text) == cut


def test_true_targets_are_what_the_unedited_model_says(place: Path) -> None:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    panel = FactsPanel(session)
    facts = [Fact(f.subject, f.prompt, f.target, f.target_true) for f in FACTS]
    untouched = tiny_model("llama")
    expected = [
        fact.target_true or first_words(generate_greedy(untouched, [fact.text])[0])
        for fact in facts
    ]
    panel.facts = facts
    edit = EditPanel(panel.state)
    edit.run(block=True)
    assert session.applied == 1
    digest = session.weights_digest()
    job = panel.fill_true_targets(block=True)
    assert job is not None and job.where == "prompt 1 / 1"
    assert [draft.target_true for draft in panel.drafts] == expected
    assert session.weights_digest() == digest
    assert "true targets filled: " in panel.message

    # The same session: statuses are about what the model holds now.
    assert session.last_result is not None
    outcomes = ["applied" if o.written else "failed" for o in session.last_result.outcomes]
    assert panel.statuses == outcomes
    panel.change(0, group="x")
    assert panel.statuses == outcomes
    panel.change(0, target="Berlin")
    assert panel.statuses == ["ready", *outcomes[1:]]
    panel.change(0, target=facts[0].target)
    assert panel.statuses == outcomes
    session.undo()
    panel.state.notify_weights_changed()
    assert panel.statuses == ["ready"] * 4 == [row[-1] for row in rows_shown(panel)]
    session.redo()
    panel.state.notify_weights_changed()
    assert [row[-1] for row in rows_shown(panel)] == outcomes


def test_rows_may_change_while_the_model_is_asked(
    panel: FactsPanel, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def held(model: Any, prompts: list[str], monitor: Any) -> list[str]:
        seen.append(list(prompts))
        asked.set()
        assert go.wait(10)
        return [" Paris, France" if "Tower" in prompt else " ." for prompt in prompts]

    monkeypatch.setattr(true_targets_module, "generate_greedy", held)
    panel.add(*TOWER)
    panel.add("Big Ben", "{} is in", "Rome")
    panel.add("Tower Bridge", "{} is in", "paris")
    panel.add("Louvre", "{} is in", "", target_true="Paris")
    panel.add("no prompt", "", "x")
    panel.fill_button.click()
    assert asked.wait(10)
    assert panel.fill_button.disabled
    browser.type(1, target="Berlin")
    browser.ask("delete", key=browser.key(2))
    browser.type(5, subject="Big Ben", prompt="{} is in")
    go.set()
    assert panel.state.job is not None and panel.state.job.wait(10)
    assert seen == [["Eiffel Tower is in the city of", "Big Ben is in", "Tower Bridge is in"]]
    assert [(d.target, d.target_true) for d in panel.drafts] == [
        ("Berlin", "Paris"),
        ("paris", ""),
        ("", "Paris"),
        ("x", ""),
        ("", ""),
    ]
    summary = "true targets filled: 1; already the new target: 1; no answer"
    assert panel.message == f"{summary}: 1"
    assert not panel.fill_button.disabled


def test_nothing_to_ask_starts_no_job(panel: FactsPanel) -> None:
    panel.add(*TOWER, target_true="Paris")
    assert panel.fill_true_targets() is None and panel.state.job is None
    assert "has a true target" in panel.message


@pytest.mark.parametrize(
    ("old", "new", "text", "expected"),
    [
        ("US", "Chile", "Unlike the USSR, the US has", "Unlike the USSR, the Chile has"),
        (
            "US",
            "Chile",
            "US's, (US), US-made, pre-US; BUS US2 US_x",
            "Chile's, (Chile), Chile-made, pre-Chile; BUS US2 US_x",
        ),
        ("Jean", "Ada", "Jean and Jean-Luc and Saint-Jean", "Ada and Jean-Luc and Saint-Jean"),
        ("C", "Rust", "C++, C#, C; C", "C++, C#, Rust; Rust"),
        ("Paris", "Rome", "Parisians of Paris", "Parisians of Rome"),
        ("co", "x", "CO co Co", "CO x Co"),
        ("U.S.", "Chile", "U.S.A. and the U.S. army", "U.S.A. and the Chile army"),
        ("東京", "京都", "今の東京は東京都の", "今の京都は京都都の"),
        ("ताज", "लाल", "ताजा ताज", "ताजा लाल"),
        ("กา", "x", "กา่ กา", "กา่ x"),
        ("Zoe\u0301", "Ada", "Zo\xe9 met Zo\xe9e", "Ada met Zo\xe9e"),
        ("👩", "x", "👩\u200d🔬 👩", "👩\u200d🔬 x"),
        ("a", "aa", "a a", "aa aa"),
        ("a.b", "$1", "a.b axb", "$1 axb"),
    ],
)
def test_a_new_subject_takes_the_old_ones_place_and_no_other(
    old: str, new: str, text: str, expected: str
) -> None:
    draft = Draft(old, "{} is", "x", paraphrases=(text, "{} {}"), neighbors=(text,))
    assert draft.with_fields(subject=new).paraphrases == (expected, "{} {}")
    assert draft.with_fields(subject=new).neighbors == (text,)
