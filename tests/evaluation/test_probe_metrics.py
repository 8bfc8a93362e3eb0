"""The metrics of zsRE, KnowEdit, MQuAKE and LongForm by hand."""

from __future__ import annotations

import pytest
from judged_records import (
    COUNTERFACT,
    FACT,
    KNOWEDIT,
    LONGFORM,
    MQUAKE,
    OTHER,
    by_correct,
    judged,
    made,
)

from alphaedit_core.data.records import Probe, Record
from alphaedit_core.evaluation.metrics.base import MetricContext
from alphaedit_core.inference.queries import Answer, ArgmaxQuery, GenerationQuery, Query


def test_tokens_count_by_shares() -> None:
    answer = by_correct(
        {
            f"{FACT.text} Rome": 0.5,
            f"{FACT.paraphrases[0]} Rome": 0.25,
            f"{FACT.paraphrases[1]} Rome": 1.0,
            f"{OTHER.text} Japan": 1.0,
            "Newton died in London": 0.75,
            "Newton spoke Japanese": 0.5,
            "Newton spoke Nihongo": 1.0,
            "Where is it? Italy": 0.5,
        }
    )
    assert judged("rewrite_acc", COUNTERFACT, answer) == 50
    assert judged("rewrite_acc", MQUAKE, answer) == 75  # the mean of its two facts
    assert judged("rephrase_acc", COUNTERFACT, answer) == pytest.approx(62.5)
    assert judged("neighborhood_acc", KNOWEDIT, answer) == 75
    assert judged("portability_acc", KNOWEDIT, answer) == 25  # the published answer alone
    assert judged("multi_hop_tokens", MQUAKE, answer) == 25
    assert judged("portability", KNOWEDIT, answer) == 50  # an alias of one of the two


def test_locality_is_what_stayed() -> None:
    """Token by token, or whole; whether it was right does not matter."""
    record = Record(
        "zsre",
        "record 1",
        (OTHER,),
        (Probe("locality", "one", ("a b",)), Probe("locality", "two", ("c",))),
    )
    asks = [ArgmaxQuery("one", "a b"), ArgmaxQuery("two", "c")]
    before: dict[Query, Answer] = {asks[0]: (5, 6), asks[1]: (7,)}
    given = MetricContext(before=before)

    def answer(ask: Query) -> Answer:
        return (5, 9) if ask == asks[0] else (7,)

    assert made("locality_acc", given).queries(record) == asks
    assert judged("locality_acc", record, answer, given) == 75
    assert judged("locality", record, answer, given) == 50
    assert judged("locality", record, lambda ask: before[ask], given) == 100
    assert "unedited" in made("locality").unavailable_reason and made("locality").needs_baseline
    assert judged("locality", record, answer, MetricContext(before={})) is None


def test_multi_hop_asks_for_any_of_the_questions_and_any_name() -> None:
    texts = {"Where is it?": " in Paris, France", "In which land?": " In the Italian republic!"}

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return texts[ask.prompt]

    assert judged("multi_hop", MQUAKE, answer) == 100
    texts["In which land?"] = " Italyland"
    assert judged("multi_hop", MQUAKE, answer) == 0


def test_single_hops_want_every_link_of_the_chain() -> None:
    texts = {"In which city is it?": " In Roma.", "In which land is Rome?": " the Italian republic"}

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return texts[ask.prompt]

    assert judged("single_hops", MQUAKE, answer) == 100
    texts["In which land is Rome?"] = " in France, not in Italyland"
    assert judged("single_hops", MQUAKE, answer) == 0
    assert made("single_hops").queries(COUNTERFACT) == []


def test_essays() -> None:
    texts = {
        "Write about the Eiffel Tower": " It stands in Rome, not in Paris.",
        "Write about Eiffel": " He was an engineer.",
    }

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return texts[ask.prompt]

    assert judged("essay_new", LONGFORM, answer) == 100
    assert judged("essay_no_old", LONGFORM, answer) == 0
    assert judged("essay_coupled_new", LONGFORM, answer) == 0
    assert judged("essay_coupled_no_old", LONGFORM, answer) == 100
    for name in ("essay_new", "essay_coupled_no_old"):
        assert made(name).queries(KNOWEDIT) == []


def test_what_is_said() -> None:
    texts = {FACT.text: " rome, of course", OTHER.text: " the land of Japan"}

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery) and ask.top_k == 1
        return texts[ask.prompt]

    assert judged("generation_starts", MQUAKE, answer) == 50
    assert judged("generation_contains", MQUAKE, answer) == 100
    chat = made("chat_contains", MetricContext(chat=True))
    assert [ask.chat for ask in chat.queries(MQUAKE) if isinstance(ask, GenerationQuery)] == [
        True,
        True,
    ]
    assert (
        "chat template" in made("chat_contains").unavailable_reason and not chat.unavailable_reason
    )
