"""The metrics of CounterFact by hand, and the reference texts that one of them reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from judged_records import (
    COUNTERFACT,
    FACT,
    KNOWEDIT,
    OTHER,
    by_correct,
    by_nll,
    judged,
    likelihood,
    made,
)

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record
from alphaedit_core.data.reference_texts import References, read_references
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation.metrics.base import CompositeMetric, MetricContext
from alphaedit_core.evaluation.metrics.consistency import cosine, inverse_frequencies
from alphaedit_core.evaluation.metrics.fluency import entropy, variety
from alphaedit_core.evaluation.metrics.registry import metric_class
from alphaedit_core.inference.queries import GenerationQuery, Query

# -- CounterFact -----------------------------------------------------------------------------------


def test_the_likelier_target_counts() -> None:
    first, second = FACT.paraphrases
    louvre, newton, _ = FACT.neighbors
    answer = by_nll(
        {
            (FACT.text, "Rome"): 1.0,
            (first, "Rome"): 1.9,  # likelier than Paris, at 2
            (second, "Rome"): 2.1,
            (louvre, "Paris"): 0.5,
            (newton, "Rome"): 0.5,
        }
    )
    assert judged("efficacy", COUNTERFACT, answer) == 100
    assert judged("generalization", COUNTERFACT, answer) == 50
    # One neighbor prefers Paris, one Rome; where both are alike neither is the likelier.
    assert judged("specificity", COUNTERFACT, answer) == pytest.approx(100 / 3)
    assert made("efficacy").queries(KNOWEDIT)
    untrue = Record("counterfact", "case 9", (Fact("Rome", "{} is", "old"),))
    for name in ("efficacy", "generalization", "specificity"):
        assert made(name).queries(untrue) == []


def test_a_number_that_is_none_never_wins() -> None:
    nan = likelihood(math.nan)
    for name in ("efficacy", "generalization", "specificity"):
        assert judged(name, COUNTERFACT, lambda _: nan) == 0


def test_accuracy_asks_for_the_whole_target() -> None:
    answer = by_correct(
        {
            f"{FACT.text} Rome": 1.0,
            f"{FACT.paraphrases[0]} Rome": 0.5,
            f"{FACT.paraphrases[1]} Rome": 1.0,
            f"{FACT.neighbors[0]} Paris": 1.0,
        }
    )
    assert judged("efficacy_accuracy", COUNTERFACT, answer) == 100
    assert judged("generalization_accuracy", COUNTERFACT, answer) == 50
    assert judged("specificity_accuracy", COUNTERFACT, answer) == pytest.approx(100 / 3)


def test_the_score_is_the_harmonic_mean() -> None:
    score = metric_class("score")
    assert issubclass(score, CompositeMetric)
    assert score.of == ("efficacy", "generalization", "specificity")
    assert score().combine([50, 100, 100]) == pytest.approx(75)  # 3 / (2/100 + 1/100 + 1/100)
    assert score().combine([100, 0, 100]) == 0


def test_fluency_by_hand() -> None:
    # ab, bc, ca, ab, bc: 2/5, 2/5, 1/5. abc, bca, cab, abc: 1/2, 1/4, 1/4.
    h2, h3 = 2 * 0.4 * math.log2(2.5) + 0.2 * math.log2(5), 1.5
    words = list("abcabc")
    assert entropy(words, 2) == pytest.approx(h2)
    assert entropy(words, 3) == pytest.approx(h3)
    assert entropy(["a"], 2) == entropy([], 2) == 0
    assert variety("a b c a b c") == pytest.approx(h2 / 3 + 2 * h3 / 3)
    assert variety("go go go go go") == 0
    # It, is, n't, the comma, is, it, the question mark: six bigrams and five trigrams.
    assert variety("It isn't, is it?") == pytest.approx(math.log2(6) / 3 + 2 * math.log2(5) / 3)


def test_fluency_counts_a_text_as_often_as_its_prompt_is_listed() -> None:
    asks = made("fluency").queries(COUNTERFACT)
    assert asks == [
        GenerationQuery("Rome has", 100, whole=True, top_k=5),
        GenerationQuery("Go to", 100, whole=True, top_k=5),
    ]
    assert made("fluency").queries(KNOWEDIT) == [
        GenerationQuery(OTHER.text, 100, whole=True, top_k=5)
    ]

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return " go go go" if ask.prompt == "Go to" else " a b"

    # Rome has a b: three bigrams and two trigrams. Go to go go go: one of four bigrams is there
    # twice, and so is no trigram of three.
    rome, go = math.log2(3) / 3 + 2 / 3, (1 / 2 * 1 + 1 / 2 * 2) / 3 + 2 * math.log2(3) / 3
    assert judged("fluency", COUNTERFACT, answer) == pytest.approx(100 * (2 * rome + go) / 3)


def test_a_text_of_nothing_but_its_prompt_is_not_judged() -> None:
    """No edit could change it."""
    rome = math.log2(3) / 3 + 2 / 3

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return "" if ask.prompt == "Go to" else " a b"

    assert judged("fluency", COUNTERFACT, answer) == pytest.approx(100 * rome)
    given = MetricContext(References({"P276": {"rome": ["The Tiber runs through Rome"]}}))
    for name in ("fluency", "consistency"):
        assert judged(name, COUNTERFACT, lambda _: "", given) is None


def test_consistency_by_hand() -> None:
    documents = ["red wine", "red stone", "stone bridge bridge"]
    weights = inverse_frequencies(documents)
    assert weights["red"] == pytest.approx(math.log(4 / 3) + 1)
    assert weights["wine"] == weights["bridge"] == pytest.approx(math.log(4 / 2) + 1)
    red, wine = weights["red"], weights["wine"]
    # (2 red, 1 wine) and (1 red, 1 wine); "unseen" and the single letter are not counted.
    expected = (2 * red * red + wine * wine) / (math.hypot(2 * red, wine) * math.hypot(red, wine))
    assert cosine("Red red WINE, unseen x", "red wine", weights) == pytest.approx(expected)
    assert cosine("red wine", "red wine", weights) == pytest.approx(1)
    assert cosine("red", "wine", weights) == 0
    assert cosine("nothing of this", "red", weights) == 0


def test_consistency_takes_the_texts_of_the_relation_and_target() -> None:
    known = References({"P276": {"rome": ["The Tiber runs through Rome"]}, "": {"Rome": ["Wrong"]}})
    given = MetricContext(known)

    def answer(ask: Query) -> str:
        assert isinstance(ask, GenerationQuery)
        return " Tiber"

    texts = "Rome has Tiber Rome has Tiber Go to Tiber"
    weights = inverse_frequencies(known.texts())
    expected = 100 * cosine(texts, "The Tiber runs through Rome", weights)
    assert judged("consistency", COUNTERFACT, answer, given) == pytest.approx(expected)
    assert 0 < expected < 100
    assert made("consistency", given).queries(COUNTERFACT) == made("fluency").queries(COUNTERFACT)
    assert made("consistency", given).queries(KNOWEDIT) == []
    assert "--references" in made("consistency").unavailable_reason
    assert made("consistency", given).unavailable_reason == ""


# -- reference texts -------------------------------------------------------------------------------


def test_reference_texts_are_read_in_both_layouts(tmp_path: Path) -> None:
    file = tmp_path / "texts.json"
    file.write_text(json.dumps({"P276": {" ROME ": ["a"]}, "Japan": ["b", "c"]}), "utf-8")
    found = read_references(file)
    assert found.about(FACT) == ("a",)
    assert found.about(OTHER) == ("b", "c")
    assert found.about(FACT.changed(relation="P1")) == ()
    assert sorted(found.texts()) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1]", "a list"),
        ("{", "not JSON"),
        ('{"Rome": "a"}', "a text"),
        ('{"P1": {"Rome": [1]}}', "text 1 is a number"),
    ],
)
def test_reference_texts_that_are_none_are_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    file = tmp_path / "texts.json"
    file.write_text(content, "utf-8")
    with pytest.raises(InputError, match=words) as refused:
        read_references(file)
    assert str(file) in str(refused.value) and "give an object" in str(refused.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_references(tmp_path / "none.json")
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_references(file)


def test_reference_texts_of_names_that_differ_in_capitals() -> None:
    known = References({"": {"Turkey": ["Ankara"], "turkey": ["a bird"], "Rome": ["Tiber"]}})
    assert known.about(FACT.changed(target="Turkey")) == ("Ankara",)
    assert known.about(FACT.changed(target="turkey")) == ("a bird",)
    assert known.about(FACT.changed(target="TURKEY")) == ()
    assert known.about(FACT.changed(target="ROME")) == ("Tiber",)
    assert set(known.to_dict()[""]) == {"Turkey", "turkey", "Rome"}
