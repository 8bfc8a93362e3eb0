"""Every published layout, read as facts and probes."""

from __future__ import annotations

import re
import unicodedata

import pytest
from published import COUNTERFACT, COUPLED, KNOWEDIT, LONGFORM, MQUAKE, WIKIBIO, ZSRE, changed

from alphaedit_core import Fact, Probe, Record
from alphaedit_core.data.datasets.fields import answers, other_than, slotted
from alphaedit_core.data.datasets.registry import dataset
from alphaedit_core.errors import InputError


def test_counterfact() -> None:
    assert dataset("counterfact").record(COUNTERFACT, "case 12") == Record(
        "counterfact",
        "case 12",
        (
            Fact(
                "Alhambra",
                "{} was built in",
                "Norway",
                target_true="Spain",
                paraphrases=["Rain fell. The Alhambra stands in"],
                neighbors=["The Escorial was built in", "The Giralda stands in"],
                relation="P17",
            ),
        ),
        (
            Probe("attribute", "Nidaros Cathedral was built in", ("Norway",), ("Spain",)),
            Probe("generation", "The Alhambra's gardens"),
            Probe("generation", "The Alhambra's gardens"),
        ),
    )
    requests = {"requested_rewrite": COUNTERFACT["requested_rewrite"]}
    bare = dataset("counterfact").record(requests, "record 1")
    assert (bare.facts[0].paraphrases, bare.facts[0].neighbors, bare.probes) == ((), (), ())


def test_zsre_writes_the_true_answer_or_the_false_one() -> None:
    probe = Probe("locality", "nq question: who sails the yellow boat?", ("the harbour master",))
    fact = Fact(
        "Ada Quill",
        "Which town was {} from?",
        "Bergen",
        paraphrases=["Ada Quill came from which town?"],
    )
    true = Record("zsre", "record 1", (fact,), (probe,))
    assert dataset("zsre").record(ZSRE, "record 1") == true
    assert dataset("zsre", target="true").record(ZSRE, "record 1") == true
    false = Record("zsre", "record 1", (fact.changed(target="Porto", target_true="Bergen"),),
                   (probe,))  # fmt: skip
    assert dataset("zsre", target="alt").record(ZSRE, "record 1") == false
    # A target that is true anyway has no other that is true.
    same = changed(ZSRE, "alt", to="bergen")
    [fact] = dataset("zsre", target="alt").record(same, "record 1").facts
    assert (fact.target, fact.target_true) == ("bergen", None)
    marked = changed(ZSRE, "loc", to="nq question: is it yellow?")
    assert dataset("zsre").record(marked, "").probes[0].prompt == "nq question: is it yellow?"


def test_mquake() -> None:
    found = dataset("mquake-cf").record(MQUAKE, "case 7")
    country = "Of which country is Ada Quill a citizen?"
    assert found.facts == (
        Fact("Ada Quill", "{} is a citizen of", "Chile", "Japan", [country], relation="P27"),
        Fact("Chile", "The capital of {} is", "Arica", "Santiago", relation="P36"),
    )
    right = ("Arica", "San Marcos de Arica")
    wrong = ("Tokyo", "Edo")  # ARICA is a new name too, tokyo is there already
    assert found.probes == (
        Probe("multi-hop", "Which is the capital of Ada Quill's country?", right, wrong),
        Probe("multi-hop", "Where does Ada Quill vote?", right, wrong),
        Probe("single-hop", country, ("Chile", "Republic of Chile"), ("Japan", "Nippon")),
        Probe("single-hop", "What is the capital of Chile?", ("Arica",)),
    )


@pytest.mark.parametrize("name", ["knowedit-wiki-counterfact", "knowedit-zsre"])
def test_knowedit(name: str) -> None:
    found = dataset(name).record(KNOWEDIT, "record 4")
    assert found == Record(
        name,
        "record 4",
        (
            Fact(
                "Ada Quill",
                "The occupation of {} is",
                "glazier",
                target_true="cooper",
                paraphrases=["Ada Quill works as a"],
            ),
        ),
        (
            Probe("portability/Subject_Aliasing", "The occupation of A. Quill is", ("glazier",)),
            Probe("portability/Reasoning", "Ada Quill works with", ("glass", "panes", "putty")),
            Probe("locality/Relation_Specificity", "Ada Quill was born in", ("Bergen",)),
        ),
        (
            "portability/Reasoning 2: has no ground_truth to compare with",
            "locality/Forgetfulness 1: has no ground_truth to compare with",
        ),
    )
    assert [probe.group for probe in found.probes] == ["portability", "portability", "locality"]


def test_knowedit_without_what_may_be_missing() -> None:
    reader = dataset("knowedit-wiki-recent")
    bare = {name: KNOWEDIT[name] for name in ("subject", "prompt", "target_new")}
    assert reader.record(bare, "") == Record(
        reader.name, "", (Fact("Ada Quill", "The occupation of {} is", "glazier"),)
    )
    empty = bare | {"portability": None, "locality": {"Forgetfulness": None}, "rephrase": ""}
    assert reader.record(empty, "") == reader.record(bare, "")
    # Several wordings of a question, and the other name that the paraphrase goes by.
    listed = bare | {
        "rephrase": "Ada Quill is a",
        "locality": {"Forgetfulness": [{"prompt": ["She is", "Is she"], "ground_truth": "A"}]},
    }
    found = reader.record(listed, "")
    assert found.facts[0].paraphrases == ("Ada Quill is a",)
    assert found.probes == (Probe("locality/Forgetfulness", "She is", ("A",)),)


def test_wikibio() -> None:
    prompt = "This is a passage about {}. Ada Quill (1901) was a glazier."
    assert dataset("knowedit-wikibio").record(WIKIBIO, "record 1") == Record(
        "knowedit-wikibio",
        "record 1",
        (Fact("ada quill", prompt, "She lived in Bergen."),),
        (Probe("locality/Relation_Specificity", "ada quill given name", ("Ada",)),),
    )


def test_longform_as_published_and_as_easyedit_asks_for_it() -> None:
    essays = LONGFORM["leme_inputs"]
    expected = Record(
        "longform",
        "case 3",
        (
            Fact(
                "Ada Quill",
                "Who is {}'s brother?",
                "Bo Nib",
                target_true="Carl Quill",
                paraphrases=["Ada Quill is the sister of whom?"],
            ),
        ),
        (
            Probe("essay/subject", essays["subject_prompt"], ("Bo Nib",), ("Carl Quill",)),
            Probe("essay/coupled", essays["coupled_prompt"], ("Bo Nib",), ("Carl Quill",)),
            Probe(
                "locality/neighborhood",
                "nq question: who sails the yellow boat",
                ("the harbour master",),
            ),
        ),
    )
    assert dataset("longform").record(LONGFORM, "case 3") == expected
    assert dataset("longform").record(COUPLED, "case 3") == expected


@pytest.mark.parametrize(
    ("prompt", "subject", "expected"),
    [
        ("Where is Ada Quill?", "Ada Quill", ("Where is {}?", "Ada Quill")),
        ("Where is ADA quill?", "Ada Quill", ("Where is {}?", "ADA quill")),  # the prompt's own
        ("ada quill: Ada Quill is", "Ada Quill", ("ada quill: {} is", "Ada Quill")),
        ("Ada and Ada are", "Ada", ("{} and Ada are", "Ada")),
        ("Adah met Ada in", "Ada", ("Adah met {} in", "Ada")),
        ("The Adas live in", "Ada", ("The {}s live in", "Ada")),  # no better place
        ("Religion on io is", "Io", ("Religion on {} is", "io")),
        ("埃菲尔铁塔位于", "埃菲尔铁塔", ("{}位于", "埃菲尔铁塔")),
        ("Who made C++ (1985)?", "C++", ("Who made {} (1985)?", "C++")),
        ("Yahoo! was sold by", "Yahoo!", ("{} was sold by", "Yahoo!")),
        ("C++ is younger than C is", "C", ("C++ is younger than {} is", "C")),
        ("Jean-Luc met Jean in", "Jean", ("Jean-Luc met {} in", "Jean")),
        ("-5 and 5 are", "5", ("-5 and {} are", "5")),
        ("From 1990-95 to 95", "95", ("From 1990-95 to {}", "95")),
    ],
)
def test_the_subjects_place(prompt: str, subject: str, expected: tuple[str, str]) -> None:
    assert slotted(prompt, subject) == expected
    cut, written = expected
    assert cut.replace("{}", written) == prompt


def test_a_subjects_place_does_not_depend_on_how_it_is_composed() -> None:
    for form in ("NFC", "NFD"):
        prompt = unicodedata.normalize(form, "Café is")
        for other in ("NFC", "NFD"):
            assert slotted(prompt, unicodedata.normalize(other, "Café")) == ("{} is", "Café")


def test_a_subject_without_a_place() -> None:
    expected = 'subject "Io" is not in src "Which religion?"; write it there'
    with pytest.raises(InputError, match=re.escape(expected)):
        slotted("Which religion?", "Io", "src")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", ("a",)),
        (["b", "a", "b"], ("b", "a")),
        ([["a", "A"], ["b"], []], ("a", "A", "b")),
        (["a", ["b"]], ("a", "b")),
        ([" a ", "", " ", None], ("a",)),
        ("", ()),
        (None, ()),
        ([], ()),
        ([[]], ()),
    ],
)
def test_answers_of_every_published_form(value: object, expected: tuple[str, ...]) -> None:
    assert answers({"ground_truth": value}, "ground_truth") == expected


def test_what_is_right_is_not_wrong() -> None:
    assert other_than(["A", None, "b", "B", " a"], ["a"]) == ("b",)
