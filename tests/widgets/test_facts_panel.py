"""The facts table without a browser: typing, other panels of its state, static output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from examples import FACTS
from facts_panels import TOWER, Browser, facts_panel, page_of, rows_shown, unchanged_session, words

from alphaedit_core.data.facts import Fact
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.facts.panel import FactsPanel
from alphaedit_widgets.state import State

session = pytest.fixture(unchanged_session, scope="module")
panel = pytest.fixture(facts_panel)
browser = pytest.fixture(page_of)

# -- typing ----------------------------------------------------------------------------------------


def test_typing_into_the_empty_row_makes_a_fact(panel: FactsPanel, browser: Browser) -> None:
    subject, prompt, target = TOWER
    browser.type(1, subject=subject)
    assert panel.statuses == ["needs: a prompt"] and panel.facts == []
    browser.type(1, prompt=prompt)
    assert panel.statuses == ["needs: a target"]
    browser.type(1, target=target, target_true="Paris", group="towers")
    panel.add_button.click()
    assert panel.facts == [Fact(*TOWER, target_true="Paris")]
    assert rows_shown(panel) == [(*TOWER, "Paris", "ready")]
    assert panel.drafts[0].group == "towers"
    assert "selected: Eiffel Tower" in panel._choice.value
    assert 'data-testid="selected"' in panel._choice.value
    assert words(panel._count.value) == "1 row: 1 ready"


def test_what_was_typed_is_known_at_once(panel: FactsPanel, browser: Browser) -> None:
    """The click that follows on typing in the page finds the typed text (S1.4)."""
    edit = EditPanel(panel.state)
    assert edit.run_button.disabled
    browser.type(1, subject=TOWER[0], prompt=TOWER[1], target="Paris")
    browser.type(1, target="Rome")
    assert not edit.run_button.disabled and panel.state.facts[0].target == "Rome"
    browser.type(1, prompt="no place")
    assert edit.run_button.disabled and panel.facts == []


def test_requests_made_before_rows_moved_find_their_rows(
    panel: FactsPanel, browser: Browser
) -> None:
    panel.facts = FACTS
    third, empty = browser.key(3), browser.key(5)
    browser.ask("delete", key=browser.key(1))
    browser.ask("type", key=third, field="target", value="京都")
    browser.ask("type", key=empty, field="subject", value="Berlin")
    assert [draft.subject for draft in panel.drafts] == [
        *(fact.subject for fact in FACTS[1:]),
        "Berlin",
    ]
    assert [draft.target for draft in panel.drafts] == [FACTS[1].target, "京都", "Paris", ""]
    assert browser.key(2) == third and browser.key(4) == empty


def test_a_second_click_on_delete_takes_no_other_row(panel: FactsPanel, browser: Browser) -> None:
    panel.facts = FACTS
    key = browser.key(2)
    browser.ask("delete", key=key)
    browser.ask("delete", key=key)
    assert [draft.subject for draft in panel.drafts] == [
        fact.subject for fact in (FACTS[0], *FACTS[2:])
    ]
    assert 'role="alert"' in panel._message.value and "no longer exists" in panel.message


def test_each_request_is_answered_for_its_view(panel: FactsPanel, browser: Browser) -> None:
    browser.type(1, subject="Rome")
    assert panel.editor.heard == ["this page", 1]
    browser.ask("type", key=99, field="subject", value="x")
    assert panel.editor.heard == ["this page", 2]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "type", "key": 0, "field": "outcome", "value": "applied"},
        {"do": "type", "key": 0, "field": "subject", "value": 3},
        {"do": "type", "key": None, "field": "subject", "value": "x"},
        {"do": "close", "key": 0},
        {"do": "paste", "text": 5},
        {"do": "select", "key": 0},
        "select",
    ],
)
def test_a_request_that_makes_no_sense_does_nothing(panel: FactsPanel, request_: Any) -> None:
    panel.editor._handle_custom_msg(request_, [])
    assert panel.drafts == () and panel.selected == -1 and panel.state.failure is None


def test_a_row_that_is_emptied_is_the_empty_row_again(panel: FactsPanel, browser: Browser) -> None:
    key = browser.key(1)
    browser.type(1, subject="Rome")
    assert len(panel.editor.rows) == 2
    browser.type(1, subject="")
    assert panel.drafts == () and [row["key"] for row in panel.editor.rows] == [key]
    browser.type(1, group="mine")
    assert panel.drafts == (Draft(group="mine"),) and panel.statuses == ["draft"]


def test_half_a_surrogate_pair_does_not_get_into_a_row(panel: FactsPanel, browser: Browser) -> None:
    browser.type(1, subject="a\ud83db", prompt="{} \U0001f600 is", target="x")
    assert panel.drafts[0].subject == "a\ufffdb" and "\U0001f600" in panel.drafts[0].prompt
    panel.add("half \ud83d", "{} is", "x")
    json.dumps(panel.editor.rows, ensure_ascii=False).encode()
    panel.select(1)
    (panel._choice.value + panel.static_html() + panel.summary()).encode()


def test_many_rows(panel: FactsPanel) -> None:
    panel.facts = [Fact(f"Tower {i}", "{} is in", "Rome") for i in range(600)]
    assert len(panel.facts) == 600 and len(panel.editor.rows) == 501
    assert panel.editor.rows[-1]["new"]
    assert "600 rows: 600 ready; the first 500 are shown" in words(panel._count.value)


# -- shared with other panels, and without a kernel ------------------------------------------------


def test_panels_of_one_state_stay_in_step(session: EditSession) -> None:
    state = State(session)
    one, other = FactsPanel(state), FactsPanel(state)
    Browser(one).type(1, subject="Rome", prompt="{} is", target="x")
    assert rows_shown(one) == rows_shown(other) != []
    other.add("Newton", "{} was", "Dutch")
    Browser(other).ask("select", key=Browser(other).key(2))
    assert "selected: Newton" in one._choice.value
    assert one.editor.selected == Browser(one).key(2)
    one.delete(0)
    assert other.selected == 0 and "selected: Newton" in other._choice.value


def test_selection_and_rows_reach_the_others_together(panel: FactsPanel) -> None:
    """Deleting a row above the selected one shows no other fact in between."""
    panel.facts = FACTS
    panel.select(2)
    seen: list[Fact | None] = []
    panel.state.observe(lambda _: seen.append(panel.state.fact), ["drafts", "selected"])
    panel.delete(0)
    assert set(seen) == {FACTS[2]}


def test_static_output_is_a_table_of_the_rows(panel: FactsPanel) -> None:
    panel.facts = FACTS
    panel.add("<img src=x onerror=alert(1)>", "{} & <b>", "x")
    panel.select(4)
    bundle = panel._repr_mimebundle_()
    html = bundle["text/html"]
    body = html.partition("<tbody>")[2]
    assert html.count("<table") == 1 and body.count("<tr>") == 5
    for fact in FACTS:
        assert fact.subject in html and fact.target in html
    assert "<img" not in html and "&lt;img" in html and "{} &amp; &lt;b&gt;" in html
    assert "<img" not in panel._choice.value
    panel.paste_area.value = "<img src=x>\t1"
    panel.paste_rows_button.click()
    assert "<img" not in panel._message.value
    assert bundle["text/plain"] == (
        "FactsPanel(5 rows, 5 ready, selected: <img src=x onerror=alert(1)>)"
    )


def test_every_row_is_one_part_of_one_widget(panel: FactsPanel) -> None:
    def count(widget: Any) -> int:
        return 1 + sum(count(child) for child in getattr(widget, "children", ()))

    before = count(panel)
    panel.facts = [Fact(f"Tower {i}", "{} is in", "Rome") for i in range(100)]
    assert count(panel) == before and len(panel.editor.rows) == 101


def test_the_script_sends_messages_and_sets_texts_only() -> None:
    from alphaedit_widgets.components.inputs import script

    source = script("facts")
    assert "innerHTML" not in source and "insertAdjacentHTML" not in source
    # A changed trait could wait until the last one is answered, and come after a click.
    assert "save_changes" not in source and source.count("model.send(") == 1
