"""Before and after without a browser: what is asked, marked, rated and refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from compare_panels import (
    FACT,
    OTHER,
    compare_panel,
    edited_session,
    fresh,
    text_of,
    wait,
    words_of,
)

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.before_after import (
    Comparison,
    HistoryPoint,
    Question,
    Ratings,
    StateAnswer,
)
from alphaedit_core.evaluation.history_figure import history_html, history_svg
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.inference.token_by_token import Sampling, TokenStep, generate_with_probabilities
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.compare.panel import ComparePanel
from alphaedit_widgets.components.token_chips import Chips, chance, visible

edited = pytest.fixture(edited_session, scope="module")
panel = pytest.fixture(compare_panel)

# -- asking ----------------------------------------------------------------------------------------


def test_before_and_after_are_one_model_with_the_weights_of_two_states(
    panel: ComparePanel,
) -> None:
    session, digest = panel.session, panel.session.weights_digest()
    panel.compare(block=True)
    assert session.weights_digest() == digest
    assert panel.after == generate_with_probabilities(session.model, FACT.text, 12)
    with session.at_state(0):
        assert panel.before == generate_with_probabilities(session.model, FACT.text, 12)
    assert panel.before != panel.after
    assert "Before: 0 original" in words_of(panel.columns[0].heading.value)
    assert words_of(panel.columns[1].heading.value) == "After: 1" == panel.columns[1].chips.label


def test_an_edited_prompt_begins_with_its_new_target(panel: ComparePanel) -> None:
    panel.compare(block=True)
    model = panel.session.model
    assert FACT.target.startswith(panel.after[0].text.strip())
    html = panel._ratings.value
    assert float(text_of(html, "delta-new")) > 0
    new = target_logprobs(model, [(FACT.text, FACT.target)])[0]
    old = target_logprobs(model, [(FACT.text, FACT.target_true or "")])[0]
    assert float(text_of(html, "p-new-after")) == pytest.approx(new.probability, abs=1e-4)
    with panel.session.at_state(0):
        new_before = target_logprobs(model, [(FACT.text, FACT.target)])[0]
        old_before = target_logprobs(model, [(FACT.text, FACT.target_true or "")])[0]
    assert float(text_of(html, "p-new-before")) == pytest.approx(new_before.probability, abs=1e-4)
    change = old.probability - old_before.probability
    assert float(text_of(html, "delta-true")) == pytest.approx(change, abs=1e-4)
    assert text_of(html, "rank-new") == f"{new_before.rank:,} → {new.rank:,}"
    assert new.rank == 1 < new_before.rank


def test_without_edits_nothing_differs(place: Path) -> None:
    panel = ComparePanel(fresh(place))
    panel.state.facts = (FACT, OTHER)
    panel.compare(block=True)
    assert panel.before == panel.after
    assert text_of(panel._headline.value, "no-difference") == "no difference"
    assert {chip["mark"] for column in panel.columns for chip in column.chips.chips} == {""}
    assert text_of(panel._ratings.value, "delta-new") == "0"
    assert panel.difference is not None and panel.difference.none
    assert words_of(panel.columns[1].heading.value) == "After: 0 original"


def test_marks_are_of_tokens_or_words_and_can_be_turned_round(panel: ComparePanel) -> None:
    panel.compare(block=True)
    difference = panel.difference
    assert difference is not None and not difference.none

    def marks() -> list[list[str]]:
        return [[chip["mark"] for chip in column.chips.chips] for column in panel.columns]

    assert marks() == [
        ["removed" if flag else "" for flag in difference.before],
        ["added" if flag else "" for flag in difference.after],
    ]
    assert "added" in marks()[1] and text_of(panel._headline.value, "difference") == str(difference)
    panel.marks = "Matches"
    assert marks() == [
        ["" if flag else "same" for flag in flags]
        for flags in (difference.before, difference.after)
    ]
    panel.marks, panel.unit = "Diffs", "words"
    assert {mark for row in marks() for mark in row} == {""}
    assert "<ins" in panel.columns[1].text.value and "<del" in panel.columns[0].text.value
    assert panel.difference == panel.comparison.by_words  # type: ignore[union-attr]
    panel.unit = "tokens"
    assert "<ins" not in panel.columns[1].text.value and "added" in marks()[1]


def test_own_text_sampling_and_number_of_tokens(panel: ComparePanel) -> None:
    panel.compare(block=True)
    status = panel._status
    assert status.value == ""
    panel._prompt.value = "You know that Tokyo is in"
    assert panel.prompt == panel.state.prompt == "You know that Tokyo is in"
    assert "press Compare" in status.value
    panel.tokens, panel.sampling = 4, Sampling(seed=3, temperature=0.8, top_p=0.9)
    assert panel.sampling == Sampling(3, 0.8, 0.9)
    panel.compare(block=True)
    expected = generate_with_probabilities(panel.session.model, panel.prompt, 4, panel.sampling)
    assert panel.after == expected and len(panel.after) <= 4
    assert status.value == ""
    panel.sampling = None
    assert panel.sampling is None
    panel.reset_button.click()
    assert panel.prompt == FACT.text == panel._prompt.value
    panel._prompt.value = ""
    assert panel.prompt == FACT.text == panel._prompt.value


def test_the_selected_fact_is_named_and_asked_about(panel: ComparePanel) -> None:
    assert text_of(panel._selected.value, "selected") == f"selected: {FACT.subject}"
    panel.prompt = "something of one's own"
    panel.state.selected = 1
    assert text_of(panel._selected.value, "selected") == f"selected: {OTHER.subject}"
    assert panel.prompt == OTHER.text == panel._prompt.value
    assert panel.question.new == OTHER.target and panel.question.true == OTHER.target_true
    panel.state.prompt = "a paraphrase"
    assert panel._prompt.value == "a paraphrase"


def test_without_a_prompt_it_is_refused_in_words(edited: EditSession) -> None:
    panel = ComparePanel(edited)
    assert text_of(panel._selected.value, "selected") == "selected: none"
    with pytest.raises(InputError, match="select a fact"):
        panel.compare()
    panel.compare_button.click()
    assert "select a fact" in panel.state.notice
    panel.prompt = "Rome is"
    with pytest.raises(InputError, match="no target"):
        panel.probabilities_over_history()
    panel.compare(block=True)
    assert panel.after and panel._ratings.value == ""
    with pytest.raises(InputError, match="tokens: 0 is less"):
        Question("x", 0)


def test_a_button_does_what_the_method_does(panel: ComparePanel) -> None:
    panel.compare_button.click()
    job = panel.state.job
    assert job is not None and job.wait(20) and job.state == "done" and panel.after
    panel.history_button.click()
    wait(panel.state)
    assert len(panel.history) == 2


# -- through the history ---------------------------------------------------------------------------


def test_probabilities_through_the_history(panel: ComparePanel) -> None:
    panel.session.restore(2)
    panel.state.notify_weights_changed()
    digest = panel.session.weights_digest()
    panel.probabilities_over_history(block=True)
    assert panel.session.weights_digest() == digest
    assert [point.number for point in panel.history] == [0, 1, 2]
    for point in panel.history:
        with panel.session.at_state(point.number):
            assert point.new == target_logprobs(panel.session.model, [(FACT.text, FACT.target)])[0]
    html = panel._through.value
    assert "data:image/svg+xml" in html and 'data-testid="targets-through-history"' in html
    assert len(re.findall("<tr>", html)) == 4
    panel.session.restore(1)
    panel.state.notify_weights_changed()
    assert panel.history == [] and panel._through.value == ""


def test_the_picture_says_what_it_shows_and_is_the_same_each_time() -> None:
    points = [
        HistoryPoint(number, Score(1.0, new, False, 3), Score(1.0, 1 - new, False, 1))
        for number, new in enumerate((0.001, 0.9))
    ]
    html = history_html(points, "$x_<b>$", "Paris")
    assert "0.001 at first and 0.900 now" in html and "<b>" not in html
    assert "$x_&lt;b&gt;$" in history_svg(points, "$x_<b>$", "Paris")
    assert history_svg(points, "a") == history_svg(points, "a")
    alone = [HistoryPoint(0, points[0].new, None)]
    assert "true: " not in history_html(alone, "a")


# -- texts and places without a kernel -------------------------------------------------------------


def test_what_cannot_be_seen_is_marked() -> None:
    assert visible(" Rome\n\t") == "·Rome↵⇥"
    assert visible("東京") == "東京" and visible(" हिन्दी") == "·हिन्दी"
    assert visible("\u0301x") == "◌\u0301x"
    assert visible("\u200d") == "<U+200D>" and visible("👩\u200d🚀") == "👩\u200d🚀"
    assert visible("a\u202eb\x07") == "a<U+202E>b<U+0007>"
    assert (chance(0.934), chance(0.0001), chance(1.0)) == ("0.93", "<0.01", "1.00")


def test_a_list_of_a_chip_has_token_probability_and_rank(panel: ComparePanel) -> None:
    panel.compare(block=True)
    for steps, chips in (
        (panel.before, panel.columns[0].chips),
        (panel.after, panel.columns[1].chips),
    ):
        assert len(chips.chips) == len(steps)
        for step, chip in zip(steps, chips.chips, strict=True):
            assert chip["text"] == visible(step.label) and chip["chance"] == chance(
                step.probability
            )
            assert [row[2] for row in chip["top"]] == ["1", "2", "3", "4", "5"]
            assert chip["top"][0] == [
                visible(step.top[0].label), chance(step.top[0].probability, 4), "1",
            ]  # fmt: skip


def test_texts_of_models_and_people_are_never_markup(place: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    step = TokenStep(1, evil, 0.5, 1)
    answer = StateAnswer(0, "", (step,), Ratings(None, None))
    panel = ComparePanel(fresh(place))
    fact = Fact(evil, "{} is", f"new {evil}", f"old {evil}")
    panel.state.facts = (fact,)
    one = Score(1.0, 0.4, False, 1)
    rated = StateAnswer(0, "", (step,), Ratings(one, one, one))
    question = Question(fact.text, 1, chat=True, new=fact.target, true=fact.target_true)
    panel._show(Comparison(question, rated, answer), panel._weights_version())
    panel._show(Comparison(question, rated, rated), panel._weights_version())
    panel.unit = "words"
    panel._points = question, [HistoryPoint(0, one, one)]
    panel._draw_history()
    pages = [
        panel._selected, panel._ratings, panel._chat_check, panel._through, panel._headline,
        *(column.text for column in panel.columns),
        *(column.heading for column in panel.columns),
    ]  # fmt: skip
    html = "".join(page.value for page in pages) + panel.static_html()
    assert "&lt;img" in html and "<img src=x" not in html
    script = Chips._esm if isinstance(Chips._esm, str) else str(Chips._esm)
    assert "innerHTML" not in script


def test_places_without_a_kernel(panel: ComparePanel) -> None:
    assert "no answers yet" in repr(panel)
    panel.compare(block=True)
    panel.probabilities_over_history(block=True)
    assert repr(panel) == panel.summary() and "\n" not in repr(panel)
    assert "before 0: " in repr(panel) and "after 1: " in repr(panel)
    assert re.search(r"P\(new target\) 0\.\d\d → [01]\.\d\d", repr(panel))
    html = panel._repr_mimebundle_()["text/html"]
    assert "<table" in html and 'alt="Probability of the targets' in html
    assert html == panel.static_html()


def test_controls_have_names_and_one_model_is_in_memory(panel: ComparePanel) -> None:
    settings = panel.settings
    for widget in (
        panel._prompt, settings._tokens, settings._sampling, settings._seed,
        settings._temperature, settings._top_p, settings._chat, panel._marks, panel._unit,
    ):  # fmt: skip
        assert widget.description
    ids = {id(p) for p in panel.session.model.model.parameters()}
    panel.compare(block=True)
    assert {id(p) for p in panel.session.model.model.parameters()} == ids
    assert not torch.is_grad_enabled() or panel.after
