"""What rows of the facts table say: what they need, and the tokens of their targets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from examples import FACTS
from facts_panels import TOWER, Browser, facts_panel, page_of, rows_shown, unchanged_session
from tiny import tiny_tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError
from alphaedit_core.model.tokenization import target_ids
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.fact_drafts import Draft, needs, ready
from alphaedit_widgets.facts.panel import FactsPanel
from alphaedit_widgets.facts.target_tokens import split_target

session = pytest.fixture(unchanged_session, scope="module")
panel = pytest.fixture(facts_panel)
browser = pytest.fixture(page_of)

# -- what rows need --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "need"),
    [
        (Draft(), "a subject"),
        (Draft("Rome", "", "x"), "a prompt"),
        (Draft("Rome", "{} is", "  "), "a target"),
        (Draft("Rome", "Rome is", "x"), '{} in the prompt in place of "Rome"'),
        (Draft("Rome", "It is", "x"), "{} in the prompt in place of the subject"),
        (Draft("Rome", "{} is {}", "x"), "one {} in the prompt, not 2; {{}} is a literal {}"),
        (Draft("\u200b", "{} is", "x"), 'a change: subject "\u200b" is blank; give a text'),
        (Draft("Rome", "{} is", "x"), ""),
    ],
)
def test_a_draft_says_what_it_needs(draft: Draft, need: str) -> None:
    assert draft.need == need == needs([draft])[0]
    if need:
        with pytest.raises(InputError, match=re.escape(f"needs {need}")):
            draft.fact()
    else:
        assert draft.fact() == Fact("Rome", "{} is", "x")


def test_a_duplicate_is_marked_and_does_not_run(panel: FactsPanel, browser: Browser) -> None:
    edit = EditPanel(panel.state)
    panel.add(*TOWER)
    panel.add("Eiffel  Tower", "{} is in the city of", "Berlin")
    marked = "needs: another subject or prompt; row 1 has the same"
    assert panel.statuses == ["ready", marked] and rows_shown(panel)[1][-1] == marked
    assert edit.run_button.disabled and len(panel.facts) == 1
    browser.type(2, subject="Colosseum")
    assert panel.statuses == ["ready", "ready"] and not edit.run_button.disabled


def test_facts_of_equal_ids_do_not_stop_the_others() -> None:
    drafts = [Draft(*TOWER, id="1"), Draft("Newton", "{} was", "Dutch", id="1")]
    assert needs(drafts) == ["", 'a unique id; row 1 also has "1"']
    assert [fact.subject for fact in ready(drafts)] == ["Eiffel Tower"]


def test_another_fact_loses_what_belonged_to_the_old_one() -> None:
    draft = Draft(*TOWER, paraphrases=("See the Eiffel Tower in",), id="7")
    assert draft.with_fields(group="x").id == "7"
    other = draft.with_fields(subject="Big Ben")
    assert other.id == "" and other.paraphrases == ("See the Big Ben in",)
    assert draft.with_fields(target="Rome") == draft


# -- tokens ----------------------------------------------------------------------------------------


def test_every_target_shows_its_tokens(panel: FactsPanel) -> None:
    tokenizer = panel.session.model.tokenizer
    panel.facts = FACTS
    for index, fact in enumerate(FACTS):
        row = panel.editor.rows[index]
        for target, shown in ((fact.target, row["tokens"]), (fact.target_true, row["trueTokens"])):
            count = len(target_ids(tokenizer, fact.text, target)) if target else 0
            assert bool(shown) == (count > 0)
    row = panel.editor.rows[0]
    assert "".join(row["tokens"]) == "·Rome·in·Italy" == "".join(panel.tokens(0))
    panel.add("x", "{} is", "a\nb")
    assert "".join(panel.editor.rows[4]["tokens"]) == "·a↵b"
    panel.add("y", "", "a b c")
    assert panel.editor.rows[5]["tokens"] == []
    # Whether a space stands before it is seen, and can be said.
    for prompt, target, first in (
        ('{} is in the city of "', "Rome", "R"),
        ("{} is in the city of", "Rome", "·"),
        ("{} is in the city of", "\\&Rome", "R"),
        ('{} is in the city of "', "\\ Rome", "·"),
    ):
        panel.add("z", prompt, target)
        assert "".join(panel.editor.rows[-2]["tokens"]).startswith(first)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("target", ["Rome in Italy", "Berlin", "日本の都", "北極", "n't – Ω"])
def test_token_texts_are_the_target(kind: Any, bos: bool, target: str) -> None:
    tokenizer = tiny_tokenizer(kind, bos=bos)
    split = split_target(tokenizer, "The city of", target)
    joined = re.sub(r" \(\d+ tokens\)", "", "".join(split.texts)).replace("·", " ")
    assert joined == ("" if ord(target[0]) > 0x3000 else " ") + target
    assert split.tokens == len(target_ids(tokenizer, "The city of", target))
    counts = [int(found[1]) if (found := re.search(r"\((\d+) tokens\)", t)) else 1
              for t in split.texts]  # fmt: skip
    assert sum(counts) == split.tokens


def test_tokens_are_asked_for_once(panel: FactsPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.facts = FACTS
    monkeypatch.setattr("alphaedit_widgets.facts.tokenized_rows.split_target", None)
    panel.select(2)
    panel.change(1, group="x")
    panel.state.notify_weights_changed()
    assert panel.editor.rows[1]["group"] == "x"


def test_a_control_token_is_said_on_its_row(panel: FactsPanel) -> None:
    token = panel.session.model.tokenizer.all_special_tokens[0]
    panel.add("Rome", "{} is", f"old {token}")
    panel.add("Paris", "{} is", "old")
    assert [row["extra"] for row in panel.editor.rows[-3:-1]] == [f"control token {token}", ""]
