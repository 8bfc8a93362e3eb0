"""Metrics by hand: numbers worked out on paper, from answers that are made up."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Probe, Record
from alphaedit_core.data.reference_texts import References, read_references
from alphaedit_core.errors import InputError
from alphaedit_core.evaluation import metrics as metrics_module
from alphaedit_core.evaluation.metrics import (
    Derived,
    Given,
    Metric,
    metric_class,
    metrics,
    metrics_for,
    register,
)
from alphaedit_core.evaluation.metrics.consistency import cosine, inverse_frequencies
from alphaedit_core.evaluation.metrics.fluency import entropy, variety
from alphaedit_core.inference.matching import begins, mentions
from alphaedit_core.inference.queries import Answer, Ask, Guessed, Rated, Written
from alphaedit_core.inference.scoring import Score

FACT = Fact(
    "Eiffel Tower",
    "{} is in the city of",
    "Rome",
    "Paris",
    paraphrases=["One sees the Eiffel Tower in", "Everyone goes to the city of"],
    neighbours=["The Louvre is in the city of", "Newton was born in", "You know that"],
    relation="P276",
)
OTHER = Fact("Newton", "{} was born in", "Japan", "England")
COUNTERFACT = Record(
    "counterfact",
    "case 1",
    (FACT,),
    (
        Probe("generation", "Rome has"),
        Probe("generation", "Go to"),
        Probe("generation", "Rome has"),
    ),
)
KNOWEDIT = Record(
    "knowedit-wiki-recent",
    "record 1",
    (OTHER,),
    (
        Probe("portability/Reasoning", "Newton spoke", ("Japanese", "Nihongo")),
        Probe("portability/Reasoning", "Newton's country is in", ("Asia",)),
        Probe("locality/Relation", "Newton died in", ("London", "London, England")),
    ),
)
MQUAKE = Record(
    "mquake-cf",
    "case 2",
    (FACT, OTHER),
    (
        Probe("multi-hop", "Where is it?", ("Italy", "Italian Republic"), ("France",)),
        Probe("multi-hop", "In which land?", ("Italy", "Italian Republic"), ("France",)),
        Probe("single-hop", "In which city is it?", ("Rome", "Roma"), ("Paris",)),
        Probe("single-hop", "In which land is Rome?", ("Italy", "Italian Republic")),
    ),
)
LONGFORM = Record(
    "longform",
    "case 3",
    (FACT,),
    (
        Probe("essay/subject", "Write about the Eiffel Tower", ("Rome",), ("Paris",)),
        Probe("essay/coupled", "Write about Eiffel", ("Rome",), ("Paris",)),
    ),
)


def made(name: str, given: Given | None = None) -> Metric:
    found = metric_class(name)
    assert issubclass(found, Metric)
    return found(given)


def judged(
    name: str, record: Record, answer: Callable[[Ask], Answer], given: Given | None = None
) -> float | None:
    """A record's value where every question is answered by a function."""
    metric = made(name, given)
    return metric.value(record, [answer(ask) for ask in metric.asks(record)])


def said(nll: float, correct: float = 0.0) -> Score:
    return Score(nll, math.exp(-nll), correct == 1, 1, correct)


def by_nll(known: dict[tuple[str, str], float]) -> Callable[[Ask], Answer]:
    def answer(ask: Ask) -> Answer:
        assert isinstance(ask, Rated)
        return said(known.get((ask.prompt, ask.target), 2.0))

    return answer


def by_correct(known: dict[str, float]) -> Callable[[Ask], Answer]:
    def answer(ask: Ask) -> Answer:
        assert isinstance(ask, Rated)
        return said(1.0, known.get(f"{ask.prompt} {ask.target}", 0.0))

    return answer


# -- CounterFact -----------------------------------------------------------------------------------


def test_the_likelier_target_counts() -> None:
    first, second = FACT.paraphrases
    louvre, newton, _ = FACT.neighbours
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
    assert judged("generalisation", COUNTERFACT, answer) == 50
    # One neighbour prefers Paris, one Rome; where both are alike neither is the likelier.
    assert judged("specificity", COUNTERFACT, answer) == pytest.approx(100 / 3)
    assert made("efficacy").asks(KNOWEDIT)
    untrue = Record("counterfact", "case 9", (Fact("Rome", "{} is", "old"),))
    for name in ("efficacy", "generalisation", "specificity"):
        assert made(name).asks(untrue) == []


def test_a_number_that_is_none_never_wins() -> None:
    nan = said(math.nan)
    for name in ("efficacy", "generalisation", "specificity"):
        assert judged(name, COUNTERFACT, lambda _: nan) == 0


def test_accuracy_asks_for_the_whole_target() -> None:
    answer = by_correct(
        {
            f"{FACT.text} Rome": 1.0,
            f"{FACT.paraphrases[0]} Rome": 0.5,
            f"{FACT.paraphrases[1]} Rome": 1.0,
            f"{FACT.neighbours[0]} Paris": 1.0,
        }
    )
    assert judged("efficacy_accuracy", COUNTERFACT, answer) == 100
    assert judged("generalisation_accuracy", COUNTERFACT, answer) == 50
    assert judged("specificity_accuracy", COUNTERFACT, answer) == pytest.approx(100 / 3)


def test_the_score_is_the_harmonic_mean() -> None:
    score = metric_class("score")
    assert issubclass(score, Derived)
    assert score.of == ("efficacy", "generalisation", "specificity")
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
    asks = made("fluency").asks(COUNTERFACT)
    assert asks == [
        Written("Rome has", 100, whole=True, top_k=5),
        Written("Go to", 100, whole=True, top_k=5),
    ]
    assert made("fluency").asks(KNOWEDIT) == [Written(OTHER.text, 100, whole=True, top_k=5)]

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return " go go go" if ask.prompt == "Go to" else " a b"

    # Rome has a b: three bigrams and two trigrams. Go to go go go: one of four bigrams is there
    # twice, and so is no trigram of three.
    rome, go = math.log2(3) / 3 + 2 / 3, (1 / 2 * 1 + 1 / 2 * 2) / 3 + 2 * math.log2(3) / 3
    assert judged("fluency", COUNTERFACT, answer) == pytest.approx(100 * (2 * rome + go) / 3)


def test_a_text_of_nothing_but_its_prompt_is_not_judged() -> None:
    """No edit could change it."""
    rome = math.log2(3) / 3 + 2 / 3

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return "" if ask.prompt == "Go to" else " a b"

    assert judged("fluency", COUNTERFACT, answer) == pytest.approx(100 * rome)
    given = Given(References({"P276": {"rome": ["The Tiber runs through Rome"]}}))
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
    given = Given(known)

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return " Tiber"

    texts = "Rome has Tiber Rome has Tiber Go to Tiber"
    weights = inverse_frequencies(known.texts())
    expected = 100 * cosine(texts, "The Tiber runs through Rome", weights)
    assert judged("consistency", COUNTERFACT, answer, given) == pytest.approx(expected)
    assert 0 < expected < 100
    assert made("consistency", given).asks(COUNTERFACT) == made("fluency").asks(COUNTERFACT)
    assert made("consistency", given).asks(KNOWEDIT) == []
    assert "--references" in made("consistency").lacking
    assert made("consistency", given).lacking == ""


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


# -- zsRE, KnowEdit, MQuAKE, LongForm --------------------------------------------------------------


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
    asks = [Guessed("one", "a b"), Guessed("two", "c")]
    before: dict[Ask, Answer] = {asks[0]: (5, 6), asks[1]: (7,)}
    given = Given(before=before)

    def answer(ask: Ask) -> Answer:
        return (5, 9) if ask == asks[0] else (7,)

    assert made("locality_acc", given).asks(record) == asks
    assert judged("locality_acc", record, answer, given) == 75
    assert judged("locality", record, answer, given) == 50
    assert judged("locality", record, lambda ask: before[ask], given) == 100
    assert "unedited" in made("locality").lacking and made("locality").compares
    assert judged("locality", record, answer, Given(before={})) is None


def test_multi_hop_asks_for_any_of_the_questions_and_any_name() -> None:
    texts = {"Where is it?": " in Paris, France", "In which land?": " In the Italian republic!"}

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return texts[ask.prompt]

    assert judged("multi_hop", MQUAKE, answer) == 100
    texts["In which land?"] = " Italyland"
    assert judged("multi_hop", MQUAKE, answer) == 0


def test_single_hops_want_every_link_of_the_chain() -> None:
    texts = {"In which city is it?": " In Roma.", "In which land is Rome?": " the Italian republic"}

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return texts[ask.prompt]

    assert judged("single_hops", MQUAKE, answer) == 100
    texts["In which land is Rome?"] = " in France, not in Italyland"
    assert judged("single_hops", MQUAKE, answer) == 0
    assert made("single_hops").asks(COUNTERFACT) == []


def test_essays() -> None:
    texts = {
        "Write about the Eiffel Tower": " It stands in Rome, not in Paris.",
        "Write about Eiffel": " He was an engineer.",
    }

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written)
        return texts[ask.prompt]

    assert judged("essay_new", LONGFORM, answer) == 100
    assert judged("essay_no_old", LONGFORM, answer) == 0
    assert judged("essay_coupled_new", LONGFORM, answer) == 0
    assert judged("essay_coupled_no_old", LONGFORM, answer) == 100
    for name in ("essay_new", "essay_coupled_no_old"):
        assert made(name).asks(KNOWEDIT) == []


def test_what_is_said() -> None:
    texts = {FACT.text: " rome, of course", OTHER.text: " the land of Japan"}

    def answer(ask: Ask) -> str:
        assert isinstance(ask, Written) and ask.top_k == 1
        return texts[ask.prompt]

    assert judged("said_first", MQUAKE, answer) == 50
    assert judged("said", MQUAKE, answer) == 100
    chat = made("said_in_chat", Given(chat=True))
    assert [ask.chat for ask in chat.asks(MQUAKE) if isinstance(ask, Written)] == [True, True]
    assert "chat template" in made("said_in_chat").lacking and not chat.lacking


# -- words -----------------------------------------------------------------------------------------


def test_words_are_compared_without_case_and_punctuation() -> None:
    assert mentions(" “Ｒome” -- the\nÉternal ", ["rome the éternal", "x"])
    assert mentions("He likes ROME.", ["Rome"]) and not mentions("Romeo", ["Rome"])
    assert mentions("the U.S. team", ["U.S."]) and mentions("A-B", ["a b"])
    assert begins("Rome is", ["Paris", "rome"]) and not begins("In Rome", ["Rome"])
    assert not mentions("anything", ["", "…"]) and not begins("", ["Rome"])
    # Where words are written without spaces they begin and end anywhere.
    assert mentions("首都は東京です", ["東京"]) and begins("東京です", ["東京"])
    assert not begins("首都は東京", ["東京"])


@pytest.mark.parametrize(
    ("text", "answer", "said"),
    [
        ("It is written in C++.", "C++", True),
        ("It is written in C++.", "C#", False),
        ("It is written in C# and", "C++", False),
        ("It is written in C++.", "C", False),
        ("It is written in C.", "C", True),
        ("a+b is a sum", "a", True),
        ("At noon it was -5 degrees", "-5", True),
        ("At noon it was −5 degrees", "-5", True),  # a minus sign of its own
        ("At noon it was 5 degrees", "-5", False),
        ("At noon it was -5 degrees", "5", False),
        ("From 1990-1995 he", "1990", True),
        ("It costs 5 €", "€", True),
        ("It costs 5 euros", "€", False),
        ("It costs $75 now", "$75", True),
        ("It costs $75 now", "75", True),
        ("It costs 75 now", "$75", False),
        ("Hello!", "!", True),
        ("Hello.", "!", False),
        ("I feel 😀 today", "😀", True),
        ("I feel 😢 today", "😀", False),
        ("Jean-Luc Picard", "Jean", False),
        ("Jean-Luc Picard", "Luc", False),
        ("Jean-Luc Picard", "Jean-Luc", True),
        ("Jean-Luc Picard", "Jean Luc", True),
        ("Jean Dupont", "Jean", True),
        ("a Paris-based firm", "Paris", True),
        ("Rome | Italy", "Rome Italy", True),
        ("Yahoo is", "Yahoo!", True),
        ("Groß is", "gross", True),
        ("Microsoft® Windows is", "Microsoft Windows", True),
        ("I ❤️ it", "❤", True),
        ("It was -5 then", r"\&-5", True),
        ("It is Rome", r"\ Rome", True),
        ("It is 2.5 miles", "5", False),
        ("It is 2.5 miles", "2", False),
        ("It is 2.5 miles", "2.5", True),
        ("Of 1,000 people", "1", False),
        ("Of 1,000 people", "1000", True),
        ("Of 1,234,567.8 people", "1234567.8", True),
        ("one of 1,2,3 is", "2", True),
        ("on 12.05.2020 it", "2020", True),
        ("Of 20 people", "20%", False),
        ("Of 20% of the people", "20%", True),
        ("Of 20 % of the people", "20%", True),
        ("It lost -$5 then", "$5", False),
        ("It lost -$5 then", "-$5", True),
        ("It cost $5 then", "-$5", False),
        ("In C♯ minor", "C", False),
        ("In C♯ minor", "C♯", True),
        ("It runs on .NET today", ".NET", True),
        ("It runs on .NET today", "net", False),
        ("It runs on the net today", ".NET", False),
        ("It ended ...then", "then", True),
        ("It ended.", "ended", True),
        ("It is .5 miles", "5", False),
        ("It is .5 miles", ".5", True),
        ("It fell by -.5 points", "5", False),
        ("About 1/2 of it", "2", False),
        ("About 1/2 of it", "1/2", True),
        ("on 12/05/2020 it", "2020", True),
        ("and 12/05/2020 it", "05", True),
        ("It is 1e-9 m", "9", False),
        ("x=-5 here", "5", False),
        ("x=-5 here", "-5", True),
        ("It was **-5** then", "5", False),
        ("f(x)-5 is", "5", True),
        ("수도는 로마입니다", "로마", True),
        ("로마에서는 그렇다", "로마", True),
        ("로마노 시", "로마", False),
    ],
)
def test_signs_that_make_another_word_count(text: str, answer: str, said: bool) -> None:
    assert mentions(text, [answer]) is said
    assert mentions(f"Well, {text}", ["no such thing", answer]) is said


def test_a_text_begins_with_a_sign() -> None:
    assert begins("-5 degrees", ["-5"]) and not begins("-5 degrees", ["5"])
    assert begins("€ 5", ["€"]) and not begins("5 €", ["€"])
    assert begins("Jean-Luc", ["Jean-Luc"]) and not begins("Jean-Luc", ["Jean"])


# -- which there are -------------------------------------------------------------------------------


def test_every_metric_says_what_it_is() -> None:
    assert len(metrics()) > 20
    for name, metric in metrics().items():
        card = metric.card()
        assert card["name"] == name and metric.direction in ("higher", "lower")
        assert all(card[field] for field in ("title", "formula", "source", "unit")), name
        if issubclass(metric, Metric):
            assert metric.needs
        assert metric_class(name) is metric
    assert list(metrics())[:4] == ["efficacy", "generalisation", "specificity", "score"]
    with pytest.raises(InputError, match="efficacy"):
        metric_class("efficiency")


def test_the_usual_metrics_of_each_data_set() -> None:
    assert set(metrics_for("counterfact")) >= {
        *("efficacy", "generalisation", "specificity", "score", "fluency", "consistency"),
        *("efficacy_accuracy", "generalisation_accuracy", "specificity_accuracy", "said"),
    }
    zsre, toolkit = metrics_for("zsre"), metrics_for("zsre", "easyedit")
    assert {"rewrite_acc", "rephrase_acc"} <= set(zsre) & set(toolkit)
    assert "neighborhood_acc" in zsre.keys() - toolkit.keys()
    assert "locality_acc" in toolkit.keys() - zsre.keys()
    assert metrics_for("knowedit-wiki-recent") == metrics_for("knowedit")
    assert {"portability", "locality", "fluency"} <= set(metrics_for("knowedit"))
    assert {"portability_acc", "locality_acc"} <= set(metrics_for("knowedit", "easyedit"))
    assert {"single_hops", "multi_hop", "multi_hop_tokens"} <= set(metrics_for("mquake-cf"))
    assert {"essay_new", "essay_coupled_no_old"} <= set(metrics_for("longform"))
    with pytest.raises(InputError, match="--metrics"):
        metrics_for("weather")
    with pytest.raises(InputError, match="easyedit"):
        metrics_for("zsre", "mine")  # type: ignore[arg-type]


def test_a_metric_that_lives_elsewhere_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module._REGISTRY, "_known", metrics())

    class Length(Derived):
        name = "length"
        title = "Length"
        formula = "how long it is"
        source = "nobody"
        of = ("fluency",)

        def combine(self, means: object) -> float:
            return 1.0

    assert register(Length) is Length and metrics()["length"] is Length
    assert list(metrics())[-1] == "length"
    assert register(Length) is Length

    class Same(Length):
        pass

    with pytest.raises(InputError, match="exists already"):
        register(Same)

    class Nameless(Derived):
        name = "nameless"

    with pytest.raises(InputError, match="no title"):
        register(Nameless)


def test_reference_texts_of_names_that_differ_in_capitals() -> None:
    known = References({"": {"Turkey": ["Ankara"], "turkey": ["a bird"], "Rome": ["Tiber"]}})
    assert known.about(FACT.changed(target="Turkey")) == ("Ankara",)
    assert known.about(FACT.changed(target="turkey")) == ("a bird",)
    assert known.about(FACT.changed(target="TURKEY")) == ()
    assert known.about(FACT.changed(target="ROME")) == ("Tiber",)
    assert set(known.to_dict()[""]) == {"Turkey", "turkey", "Rome"}
