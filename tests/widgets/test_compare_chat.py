"""Before and after in a chat, where the tokenizer has a template."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_panels import FACT, OTHER, compare_panel, edited_session, fresh, text_of
from examples import quiet

from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.before_after import Comparison, Question, Ratings, StateAnswer
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.token_by_token import TokenStep, generate_with_probabilities
from alphaedit_widgets.compare.panel import ComparePanel

edited = pytest.fixture(edited_session, scope="module")
panel = pytest.fixture(compare_panel)


def test_chat_is_offered_where_the_tokenizer_has_a_template(panel: ComparePanel) -> None:
    assert panel.settings._chat.layout.display == "none" and not panel.chat
    with pytest.raises(InputError, match="no chat template"):
        panel.chat = True


def test_a_fact_right_as_text_and_wrong_in_chat_is_shown_as_such(place: Path) -> None:
    session = fresh(place, chat=True)
    panel = ComparePanel(session)
    panel.state.facts = (FACT, OTHER)
    assert panel.settings._chat.layout.display == ""
    session.edit([FACT], monitor=quiet())
    panel.compare(block=True)
    assert panel._chat_check.value == ""
    panel.chat = True
    panel.compare(block=True)
    found = panel.comparison
    assert found is not None and found.after.ratings.as_text is not None
    assert found.after.ratings.as_text.exact and found.after.ratings.new is not None
    ids = session.model.tokenizer(f"<s>{FACT.text}<s>", add_special_tokens=False)["input_ids"]
    assert panel.after == generate_with_probabilities(session.model, ids, 12)
    words = text_of(panel._chat_check.value, "chat-check")
    assert words.startswith("as text: new target is the top prediction; in chat: it is")
    wrong = not (found.after.ratings.new.exact or found.after.names(FACT.target))
    assert ("it is not, and the answer does not contain it" in words) == wrong
    assert ("ae-warning" in panel._chat_check.value) == wrong


@pytest.mark.parametrize(
    ("exact", "text", "ending", "look"),
    [
        (True, "Rome", "in chat: it is", "ae-ok"),
        (False, "It is in ROME.", "it is not, but the answer contains it", "ae-ok"),
        (False, "in Romeo", "it is not, and the answer does not contain it", "ae-warning"),
    ],
)
def test_words_about_chat(
    panel: ComparePanel, exact: bool, text: str, ending: str, look: str
) -> None:
    answer = StateAnswer(
        1,
        "d",
        (TokenStep(1, text, 0.5, 1),),
        Ratings(Score(1.0, 0.4, exact, 1), None, Score(0.1, 0.9, True, 1)),
    )
    question = Question("x", 1, chat=True, new="Rome", true=None)
    panel._show(Comparison(question, answer, answer), panel._weights_version())
    assert text_of(panel._chat_check.value, "chat-check").endswith(ending)
    assert look in panel._chat_check.value
