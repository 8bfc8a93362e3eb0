"""Published data sets: every layout read and refused, what is left out, fetching, the command."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import sys
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from commands import listing
from published import (
    COUNTERFACT,
    COUPLED,
    KNOWEDIT,
    LONGFORM,
    MQUAKE,
    PUBLISHED,
    WIKIBIO,
    ZSRE,
    changed,
)

import alphaedit_core
from alphaedit_core import Fact, Probe, Record
from alphaedit_core.cli import main
from alphaedit_core.data import datasets as package
from alphaedit_core.data.datasets import (
    LeftOut,
    Records,
    cached_dataset,
    dataset,
    datasets,
    fetch_dataset,
    read_records,
    register,
    registry,
)
from alphaedit_core.data.datasets.counterfact import CounterFact
from alphaedit_core.data.datasets.fields import answers, other_than, slotted
from alphaedit_core.data.records import distinct
from alphaedit_core.errors import Cancelled, CorruptFileError, FetchError, InputError
from alphaedit_core.progress import Monitor, Stage

quiet = Monitor(show=None)


def write(path: Path, *records: object) -> Path:
    """A file with these records: JSON, or JSONL where its suffix says so."""
    if path.suffix == ".jsonl":
        text = "\n\n".join(json.dumps(record) for record in records)
    else:
        text = json.dumps(records)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, name: str, **arguments: Any) -> str:
    """What is said of a file that is refused, after its name; one line, checked."""
    with pytest.raises(InputError) as caught:
        read_records(path, name, monitor=quiet, **arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# -- the layouts ---------------------------------------------------------------------------------


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
                neighbours=["The Escorial was built in", "The Giralda stands in"],
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
    assert (bare.facts[0].paraphrases, bare.facts[0].neighbours, bare.probes) == ((), (), ())


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
    said = 'subject "Io" is not in src "Which religion?"; write it there'
    with pytest.raises(InputError, match=re.escape(said)):
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


# -- the registry --------------------------------------------------------------------------------


def test_each_data_set_says_what_it_is() -> None:
    known = datasets()
    assert list(known) == list(PUBLISHED)
    for name, one in known.items():
        assert one.name == name
        for said in (one.title, one.about, one.source, one.licence, one.publisher, one.layout):
            assert said and "\n" not in said
        assert one.address is None or one.address.startswith("https://")
        assert dict(one.chosen) == {option: values[0] for option, values in one.options.items()}
    assert alphaedit_core.read_records is read_records


@pytest.mark.parametrize(
    ("name", "chosen", "said"),
    [
        ("zsrE", {}, 'data set "zsrE" does not exist; give one of counterfact, zsre, mquake-cf, '),
        ("zsre", {"target": "new"}, 'zsre: target "new" is not known; give one of true, alt'),
        ("zsre", {"goal": "alt"}, 'zsre has no option "goal"; its options: target'),
        ("zsre", {"name": "alt"}, 'zsre has no option "name"; its options: target'),
        ("zsre", {"self": "alt"}, 'zsre has no option "self"; its options: target'),
        ("longform", {"target": "alt"}, 'longform has no option "target"; its options: none'),
    ],
)
def test_refused_choice(name: str, chosen: dict[str, str], said: str) -> None:
    with pytest.raises(InputError) as caught:
        dataset(name, **chosen)
    assert str(caught.value).startswith(said)


NEW = """
from alphaedit_core.data.datasets import Dataset
from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record


class Pairs(Dataset):
    name = "pairs"
    title = about = source = licence = publisher = layout = "pairs"

    def record(self, raw, name):
        return Record(self.name, name, (Fact(raw["s"], "{} is", raw["t"]),))
"""


def test_a_new_file_is_found_by_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs_of_mine.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(registry._REGISTRY, "_known", {})
    monkeypatch.setattr(registry._REGISTRY, "_is_read", False)
    try:
        assert list(datasets()) == [*PUBLISHED, "pairs"], "after those whose order is known"
        file = write(tmp_path / "pairs.json", {"s": "Snow", "t": "white"})
        assert read_records(file, "pairs").facts == [Fact("Snow", "{} is", "white")]
    finally:
        sys.modules.pop("alphaedit_core.data.datasets.pairs_of_mine", None)


def test_refused_registration() -> None:
    class Nameless(CounterFact):
        name = None  # type: ignore[assignment]

    class Second(CounterFact):
        name = "zsre"

    datasets()
    with pytest.raises(InputError, match="data set Nameless: has no name; set it to a text"):
        register(Nameless)
    with pytest.raises(InputError, match='data set "zsre" exists already'):
        register(Second)
    assert register(CounterFact) is CounterFact, "once more is no harm"


# -- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("suffix", ["json", "jsonl", "txt"])
def test_a_file_of_each_data_set(tmp_path: Path, name: str, suffix: str) -> None:
    raw = PUBLISHED[name]
    file = write(tmp_path / f"file.{suffix}", raw, raw)
    found = read_records(file, name, monitor=quiet)
    label = "line 1" if suffix == "jsonl" else "record 1"
    label = f"case {raw['case_id']}" if "case_id" in raw else label
    assert found.records[0] == dataset(name).record(raw, label)
    assert (len(found), found.left_out) == (2, [])
    assert list(found) == found.records
    assert found.facts == [fact for record in found for fact in record.facts]
    assert found.source.file == file
    assert found.source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    kept = distinct(found.records)
    # Multi-hop questions are a case's own, also where its facts are another's.
    own = bool(found.records[0].asked("multi-hop"))
    assert (len(kept.records), len(kept.left_out)) == ((2, 0) if own else (1, 1))


def test_lines_without_a_list(tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_text(json.dumps(ZSRE) + "\n" + json.dumps(ZSRE), encoding="utf-8")
    assert [one.name for one in read_records(file, "zsre")] == ["line 1", "line 2"]


ABSENT = changed(ZSRE, "subject", to="Eve Brush")
BLANK = changed(ZSRE, "answers", 0, to=" ")


def test_records_that_cannot_be_used_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "zsre.json", ABSENT, ZSRE, 3, BLANK, ZSRE)
    monitor = Monitor(show=None)
    with caplog.at_level(logging.WARNING):
        found = read_records(file, "zsre", monitor=monitor)
    assert [one.name for one in found] == ["record 2", "record 5"]
    assert found.left_out == [
        LeftOut(
            "record 1",
            'subject "Eve Brush" is not in src "Which town was Ada Quill from?"; write it there',
        ),
        LeftOut("record 3", "3 is a number; give an object"),
        LeftOut("record 4", 'answers 1: "" is blank; give a text'),
    ]
    [warning] = monitor.warnings
    assert warning == (
        f"{file}: 3 of 5 records left out; the first, record 1: {found.left_out[0].reason}"
    )
    assert warning in caplog.text
    assert "2 of zsRE, 2 facts, 3 left out" in repr(found)
    said = f"record 1: {found.left_out[0].reason}"
    assert refusal(file, "zsre", strict=True) == said
    assert read_records(write(file, ZSRE), "zsre", strict=True).left_out == []


def test_a_limit_counts_what_can_be_used(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre.json", ABSENT, ZSRE, ZSRE, BLANK)
    found = read_records(file, "zsre", limit=2, monitor=quiet)
    assert ([one.name for one in found], len(found.left_out)) == (["record 2", "record 3"], 1)
    assert len(read_records(file, "zsre", limit=9, monitor=quiet).left_out) == 2
    for limit in (0, True, "2"):
        with pytest.raises(InputError, match=r"limit .* give 1 or more"):
            read_records(file, "zsre", limit=limit)  # type: ignore[arg-type]


def test_reading_is_told_and_cancelled(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre.json", ZSRE, ABSENT, ZSRE, ZSRE)
    seen: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        assert (stage.name, stage.unit, stage.total) == ("reading zsRE", "record", 3)
        seen.append(stage.done)

    read_records(file, "zsre", limit=3, monitor=Monitor(show=show))
    assert seen == [0, 1, 2, 3, 3]
    with pytest.raises(Cancelled):
        read_records(file, "zsre", monitor=Monitor(show=None, cancel=lambda: len(seen) == 5))


def test_a_data_set_that_was_made_before(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre.json", ZSRE)
    reader = dataset("zsre", target="alt")
    assert read_records(file, reader).facts[0].target == "Porto"
    found = read_records(file, reader, target="true")
    assert found.facts[0].target == "Bergen"
    assert found.to_dict()["options"] == {"target": "true"}


def test_what_there_is_as_json(tmp_path: Path) -> None:
    file = write(tmp_path / "knowedit.json", KNOWEDIT, {})
    found = read_records(file, "knowedit-zsre", monitor=quiet)
    assert json.loads(json.dumps(found.to_dict())) == {
        "dataset": "knowedit-zsre",
        "options": {},
        "file": str(file),
        "sha256": found.source.sha256,
        "counts": {
            "records": 1, "facts": 1, "paraphrases": 1, "neighbours": 0,
            "locality/Relation_Specificity": 1, "portability/Reasoning": 1,
            "portability/Subject_Aliasing": 1,
        },
        "left_out": [{"name": "record 2", "reason": 'field "prompt" is missing; add it'}],
        "unasked": [
            {"name": "record 1", "reason": reason} for reason in found.records[0].unasked
        ],
    }  # fmt: skip
    assert len(found.unasked) == 2


@pytest.mark.parametrize(
    ("name", "record", "said"),
    [
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", to=...),
         'case 12: field "requested_rewrite" is missing; add it'),
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", "target_new", to=None),
         "case 12: target null is not a text; give a text"),
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", "prompt", to="It is in"),
         'case 12: prompt "It is in" has no {} for the subject; write {} where the subject'),
        ("counterfact", changed(COUNTERFACT, "neighborhood_prompts", 1, to=""),
         'case 12: neighbour 2: "" is blank; give a text'),
        ("counterfact", changed(COUNTERFACT, "generation_prompts", to="Go on"),
         'case 12: generation_prompts "Go on" is one text; give a list: ["Go on"]'),
        ("counterfact", changed(COUNTERFACT, "attribute_prompts", 0, to=3),
         'case 12: attribute_prompts 1: 3 is not a text; write "3"'),
        ("counterfact", MQUAKE, "case 7: requested_rewrite [{"),
        ("zsre", changed(ZSRE, "src", to=...), 'record 1: field "src" is missing; add it'),
        ("zsre", changed(ZSRE, "src", to=["a"]), 'record 1: src ["a"] is not a text; give a text'),
        ("zsre", changed(ZSRE, "answers", to=[]),
         "record 1: answers are missing; give a list with the true answer first"),
        ("zsre", changed(ZSRE, "answers", to="Bergen"),
         'record 1: answers "Bergen" is one text; give a list: ["Bergen"]'),
        ("zsre", changed(ZSRE, "rephrase", to="\u200b"), "record 1: rephrase"),
        ("zsre", changed(ZSRE, "loc_ans", to=...), 'record 1: field "loc_ans" is missing; add it'),
        ("zsre", [ZSRE], "record 1: [{"),
        ("mquake-cf", changed(MQUAKE, "requested_rewrite", to=[]),
         "case 7: requested_rewrite [] is a list; give a list of at least one object with"),
        ("mquake-cf", COUNTERFACT, "case 12: requested_rewrite {"),
        ("mquake-cf", changed(MQUAKE, "requested_rewrite", 1, to="x"),
         'case 7: requested_rewrite 2: requested_rewrite "x" is a text; give one object with'),
        ("mquake-cf", changed(MQUAKE, "requested_rewrite", 1, "subject", to=...),
         'case 7: requested_rewrite 2: field "subject" is missing; add it (a text)'),
        ("mquake-cf", changed(MQUAKE, "new_answer", to=...),
         'case 7: field "new_answer" is missing; add it'),
        ("mquake-cf", changed(MQUAKE, "answer_alias", to=[None]),
         "case 7: answer_alias 1: null is not a text; give a text"),
        ("mquake-cf", changed(MQUAKE, "questions", to=4),
         "case 7: questions 4 is a number; give a list of texts"),
        ("mquake-cf", changed(MQUAKE, "new_single_hops", 1, "answer", to=""),
         'case 7: new_single_hops 2: answer "" is blank; give a text'),
        ("mquake-cf", changed(MQUAKE, "single_hops", to={}),
         "case 7: single_hops {} is an object; give a list of objects"),
        ("knowedit-zsre", changed(KNOWEDIT, "target_new", to=1990),
         'record 1: target_new 1990 is not a text; write "1990"'),
        ("knowedit-zsre", changed(KNOWEDIT, "rephrase_prompt", to=[]),
         "record 1: rephrase_prompt [] is not a text; give a text"),
        ("knowedit-zsre", changed(KNOWEDIT, "ground_truth", to={"a": 1}),
         'record 1: ground_truth {"a": 1} is not a text; give a text'),
        ("knowedit-zsre", changed(KNOWEDIT, "portability", to=["a"]),
         'record 1: portability ["a"] is a list; give an object'),
        ("knowedit-zsre", changed(KNOWEDIT, "portability", "Reasoning", to="a"),
         'record 1: portability: Reasoning 1 "a" is a text; give an object'),
        ("knowedit-zsre", changed(KNOWEDIT, "portability", "Reasoning", 1, "prompt", to=...),
         'record 1: portability/Reasoning 2: field "prompt" is missing; add it'),
        ("knowedit-zsre", changed(KNOWEDIT, "locality", "Forgetfulness", 0, "ground_truth", to=5),
         'record 1: locality/Forgetfulness 1: ground_truth 5 is not a text; write "5"'),
        ("knowedit-wiki-recent", changed(KNOWEDIT, "subject", to="Eve"),
         'record 1: subject "Eve" is not in prompt "The occupation of Ada Quill is"; write it'),
        ("knowedit-wikibio", changed(WIKIBIO, "labels", to=["She"]),
         'record 1: labels ["She"] is not a text; give a text'),
        ("knowedit-wikibio", changed(WIKIBIO, "concept", to="eve"),
         'record 1: subject "eve" is not in text "This is a passage'),
        ("longform", changed(LONGFORM, "leme_inputs", to=...),
         'case 3: field "leme_inputs" is missing; add it'),
        ("longform", changed(LONGFORM, "leme_inputs", "coupled_prompt", to=" "),
         'case 3: leme_inputs: coupled_prompt "" is blank; give a text'),
        ("longform", changed(LONGFORM, "target_neg", to=...),
         'case 3: field "target_neg" is missing; add it'),
        ("longform", changed(COUPLED, "answers", to=[]),
         "case 3: answers are missing; give a list with the true answer first"),
        ("longform", changed(COUPLED, "coupled_prompts_and_properties", "coupled_entities", to=[]),
         "case 3: coupled_prompts_and_properties: coupled_entities is empty; give at least one"),
        ("longform", changed(COUPLED, "coupled_prompts_and_properties", to=None),
         "case 3: coupled_prompts_and_properties null is null; give an object"),
    ],
)  # fmt: skip
def test_refused_record(tmp_path: Path, name: str, record: object, said: str) -> None:
    file = write(tmp_path / "file.json", record)
    assert refusal(file, name, strict=True).startswith(said)
    # The same reason where it is only left out; a file of nothing else is refused all the same.
    write(file, record, PUBLISHED[name])
    [left_out] = read_records(file, name, monitor=quiet).left_out
    assert f"{left_out.name}: {left_out.reason}".startswith(said)
    write(file, record, record)
    message = refusal(file, name)
    assert message.startswith(f"none of 2 records can be used as {name}; {said}")
    assert "or name another data set (counterfact, zsre" in message


def test_braces_of_a_complete_prompt_are_no_places(tmp_path: Path) -> None:
    record = changed(ZSRE, "src", to="{} or Ada Quill?") | {"rephrase": "Which {} of Ada Quill?"}
    [fact] = read_records(write(tmp_path / "file.json", record), "zsre", strict=True).facts
    assert (fact.text, fact.subject_span) == ("{} or Ada Quill?", (6, 15))
    assert fact.paraphrases == ("Which {} of Ada Quill?",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty; put at least one record into it"),
        (b"[]", "the list of records is empty; put at least one into it"),
        (b"{}", "the file holds one object; put it into a list: [{...}]"),
        (b"3", "the file holds a number; write a list"),
        (b'[\n {"subject": }]', "not valid JSON at line 2, column 14 ("),
        (b"[" * 100_000, "not valid JSON at line 1, column 101 (nested more than 100 levels"),
        ('[\n"é"]'.encode("latin-1"), "not UTF-8 at byte 3 (line 2); save the file in UTF-8"),
    ],
)
def test_refused_file(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "file.json").write_bytes(content)
    assert refusal(tmp_path / "file.json", "zsre").startswith(said)


def test_refused_place(tmp_path: Path) -> None:
    said = "there is no such file; correct the path"
    assert refusal(tmp_path / "none.json", "zsre") == said
    assert refusal(tmp_path, "zsre") == "this is a folder; name a file in it"
    (tmp_path / "f.jsonl").write_text(json.dumps(ZSRE) + "\n{]", encoding="utf-8")
    assert refusal(tmp_path / "f.jsonl", "zsre").startswith("not valid JSON at line 2, column 2 (")


# -- fetching ------------------------------------------------------------------------------------


@dataclass
class Reply:
    """What the publisher answers at one address."""

    content: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None  # what it claims; None for the truth
    first: int | None = None  # bytes after which it waits until told to go on


class Publisher(ThreadingHTTPServer):
    """Serves replies by path, and remembers what was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: dict[str, Reply] = {}
        self.asked: list[str] = []
        self.go_on = threading.Event()

    def address(self, path: str, reply: Reply | None = None) -> str:
        if reply is not None:
            self.replies[path] = reply
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        reply = self.server.replies.get(self.path, Reply(b"gone", 404))
        self.send_response(reply.status)
        length = len(reply.content) if reply.length is None else reply.length
        if length >= 0:
            self.send_header("Content-Length", str(length))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        first = len(reply.content) if reply.first is None else reply.first
        self.wfile.write(reply.content[:first])
        self.wfile.flush()
        if reply.content[first:]:
            self.server.go_on.wait(60)
            self.wfile.write(reply.content[first:])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def publisher(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    server = Publisher()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.go_on.set()
    server.shutdown()
    thread.join()
    server.server_close()


FILE = json.dumps([COUNTERFACT]).encode()


def test_fetched_once_and_known_ever_after(
    publisher: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = publisher.address("/counterfact.json", Reply(FILE))
    monkeypatch.setattr(CounterFact, "address", address)
    with pytest.raises(InputError, match=r"counterfact is not in the cache; fetch it \(fetch=True"):
        read_records(None, "counterfact")
    assert publisher.asked == [], "nothing is fetched that was not asked for"
    found = read_records(None, "counterfact", fetch=True, monitor=quiet)
    assert found.records == [dataset("counterfact").record(COUNTERFACT, "case 12")]
    path = cache / "datasets" / "counterfact.json"
    assert found.source.file == path and path.read_bytes() == FILE
    note = json.loads((cache / "datasets" / "counterfact.json.json").read_text("utf-8"))
    assert note == {
        "sha256": hashlib.sha256(FILE).hexdigest(), "size": len(FILE), "address": address,
    }  # fmt: skip
    again = read_records(None, "counterfact", fetch=True, monitor=quiet)
    assert again.records == found.records
    assert read_records(None, "counterfact").source == found.source
    assert fetch_dataset("counterfact", quiet) == path == cached_dataset("counterfact")
    assert publisher.asked == ["/counterfact.json"]


def test_a_file_that_has_changed_is_refused(publisher: Publisher, cache: Path) -> None:
    address = publisher.address("/new.json", Reply(FILE))
    path = fetch_dataset("zsre", quiet, address)
    path.write_bytes(FILE + b" ")
    for use in (lambda: fetch_dataset("zsre", quiet, address), lambda: cached_dataset("zsre"),
                lambda: read_records(None, "zsre", fetch=True)):  # fmt: skip
        with pytest.raises(CorruptFileError) as caught:
            use()
        assert str(caught.value) == (
            f"{path}: not the file that was first used (its SHA-256 is not the one noted in "
            "zsre.json.json); remove both and fetch it again"
        )
    # The remedy helps.
    for file in path.parent.iterdir():
        file.unlink()
    assert fetch_dataset("zsre", quiet, address).read_bytes() == FILE
    path.with_name("zsre.json.json").write_text("[]")
    with pytest.raises(CorruptFileError):
        cached_dataset("zsre")


def test_a_file_placed_by_hand_is_known_from_its_first_use(cache: Path) -> None:
    path = cache / "datasets" / "zsre.json"
    path.parent.mkdir(parents=True)
    write(path, ZSRE)
    assert len(read_records(None, "zsre")) == 1
    assert json.loads(path.with_name("zsre.json.json").read_text("utf-8"))["address"] is None
    write(path, ZSRE, ZSRE)
    with pytest.raises(CorruptFileError):
        read_records(None, "zsre")


def unknown(publisher: Publisher) -> str:
    return publisher.address("/none.json")


def moved_page(publisher: Publisher) -> str:
    return publisher.address("/page.json", Reply(b"<html>we have moved</html>"))


def empty_answer(publisher: Publisher) -> str:
    return publisher.address("/empty.json", Reply(b""))


def broken_off(publisher: Publisher) -> str:
    return publisher.address("/short.json", Reply(FILE, length=len(FILE) + 5))


def leads_away(publisher: Publisher) -> str:
    headers = {"Location": "http://example.org/counterfact.json"}
    return publisher.address("/away.json", Reply(b"", 302, headers))


def leads_to_a_file(publisher: Publisher) -> str:
    return publisher.address("/file.json", Reply(b"", 302, {"Location": "file:///etc/hostname"}))


def nobody(publisher: Publisher) -> str:
    return "http://127.0.0.1:9/counterfact.json"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (unknown, "/none.json cannot be fetched (404 Not Found); check the network, or download"),
        (moved_page, "/page.json is not a file of records (not valid JSON at line 1, column 1"),
        (empty_answer, "/empty.json is not a file of records (the file is empty"),
        (broken_off, f"/short.json broke off after {len(FILE)} of {len(FILE) + 5} bytes"),
        (leads_away, "leads to http://example.org/counterfact.json, which is not https"),
        (leads_to_a_file, "Redirection to url 'file:///etc/hostname' is not allowed"),
        (nobody, "http://127.0.0.1:9/counterfact.json cannot be fetched ("),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(
    publisher: Publisher, cache: Path, where: Any, said: str
) -> None:
    address = where(publisher)
    with pytest.raises(FetchError) as caught:
        fetch_dataset("counterfact", quiet, address)
    message = str(caught.value)
    assert said in message and len(message.splitlines()) == 1
    assert set(listing(cache)) == {str(cache / "datasets")}


def test_a_redirect_on_this_machine_is_followed(publisher: Publisher) -> None:
    place = publisher.address("/new/zsre.json", Reply(FILE))
    address = publisher.address("/old.json", Reply(b"", 302, {"Location": place}))
    assert fetch_dataset("zsre", quiet, address).read_bytes() == FILE


@pytest.mark.parametrize(
    "address",
    ["http://example.org/a.json", "file:///etc/hostname", "ftp://127.0.0.1/a", "a.json", "https://",
     "http://127.0.0.1.example.org/a", "http://[::1/a"],
)  # fmt: skip
def test_refused_address(cache: Path, address: str) -> None:
    with pytest.raises(InputError, match="is not an https one; give one that is"):
        fetch_dataset("zsre", quiet, address)


def test_without_an_address_the_publisher_is_named(cache: Path) -> None:
    for use in (lambda: fetch_dataset("longform", quiet), lambda: read_records(None, "longform"),
                lambda: read_records(None, "longform", fetch=True)):  # fmt: skip
        with pytest.raises(InputError) as caught:
            use()
        message = str(caught.value)
        assert message.startswith("longform has no lasting address to fetch it from; download it")
        assert "zsre_mend_eval_with_coupled_entities.json, and give its path" in message


@pytest.mark.parametrize("claimed", [None, -1], ids=["length", "no length"])
def test_progress_is_the_bytes_that_have_come(publisher: Publisher, claimed: int | None) -> None:
    content = json.dumps([COUNTERFACT] * 400).encode()
    reply = Reply(content, length=claimed, first=len(content) // 2)
    seen: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        assert stage.name == "fetching CounterFact" and stage.unit == "B"
        assert stage.total == (len(content) if claimed is None else None)
        seen.append(stage.done)
        if stage.done == len(content) // 2:
            publisher.go_on.set()

    fetch_dataset("counterfact", Monitor(show=show), publisher.address("/big.json", reply))
    assert seen == sorted(seen) and seen[-1] == len(content)
    assert len(content) // 2 in seen


def test_cancel_in_the_middle_leaves_nothing(publisher: Publisher, cache: Path) -> None:
    stop = threading.Event()
    reply = Reply(FILE, first=len(FILE) // 2)

    def show(stage: Stage, *, closed: bool) -> None:
        if stage.done:
            stop.set()

    address = publisher.address("/slow.json", reply)
    with pytest.raises(Cancelled):
        fetch_dataset("counterfact", Monitor(show=show, cancel=stop), address)
    assert set(listing(cache)) == {str(cache / "datasets")}
    with pytest.raises(Cancelled):
        fetch_dataset("counterfact", Monitor(show=None, cancel=stop), address)
    assert publisher.asked == ["/slow.json"], "and nothing is asked for when it is too late"


def test_a_cache_that_cannot_be_made_is_one_line(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FetchError, match="ALPHAEDIT_CACHE") as caught:
        fetch_dataset("zsre", quiet, publisher.address("/a.json", Reply(FILE)))
    assert "\n" not in str(caught.value)


# -- the command ---------------------------------------------------------------------------------


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["datasets", *map(str, words)])
    return code, *capsys.readouterr()


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ran(capsys)
    assert (code, err) == (0, "")
    rows = out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == list(datasets())
    for row, one in zip(rows, datasets().values(), strict=True):
        assert one.licence in row and (one.address or one.publisher) in row
    code, out, err = ran(capsys, "--json")
    listed = json.loads(out)["datasets"]
    assert [one["name"] for one in listed] == list(datasets())
    assert listed[1]["options"] == {"target": ["true", "alt"]}
    assert all(one["layout"] and one["source"] for one in listed)


def test_the_command_checks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "zsre.json", ZSRE, ABSENT, ZSRE)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--option", "target=alt")
    assert code == 0
    assert "zsre.json: zsRE, target=alt\nSHA-256 " in out
    assert re.search(r"^records +2$", out, re.MULTILINE)
    assert re.search(r"^locality +2$", out, re.MULTILINE)
    assert "records left out: 1\n  record 2: subject" in out
    assert out.endswith("questions not asked: 0\n")
    assert "1 of 3 records left out" in err
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--json")
    assert (code, json.loads(out)["counts"]["facts"]) == (0, 2)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--strict")
    assert (code, out) == (2, "") and f"{file}: record 2: subject" in err
    write(file, *[ABSENT] * 30, ZSRE)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre")
    assert "  record 20: " in out and "  record 21: " not in out
    assert "  … and 10 more (--json lists all)" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "FILE"], "--check needs --dataset; give one of counterfact, "),
        (["--dataset", "zsre"], "--dataset says how a file is checked; give --check FILE, too"),
        (["--option", "target=alt"], "--option says how a file is checked"),
        (["--fetch", "zsre", "--strict"], "--strict says how a file is checked"),
        (["--fetch", "nope"], 'data set "nope" does not exist'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "alt"],
         '--option "alt" is not understood; give for example target=alt'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "fetch=yes"],
         'zsre has no option "fetch"; its options: target'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "target=no"],
         'zsre: target "no" is not known'),
        (["--check", "FILE", "--fetch", "zsre"], "not allowed with argument --check"),
        (["--check", "none.json", "--dataset", "zsre"], "none.json: there is no such file"),
    ],
)  # fmt: skip
def test_refused_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    file = write(tmp_path / "zsre.json", ZSRE)
    code, out, err = ran(capsys, *(file if word == "FILE" else word for word in words))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert said in err


def test_the_command_fetches(
    publisher: Publisher,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(CounterFact, "address", publisher.address("/c.json", Reply(FILE)))
    path = cache / "datasets" / "counterfact.json"
    said = f"counterfact: {path}\n"
    assert ran(capsys, "--fetch", "counterfact") == (0, said, "")
    code, out, _ = ran(capsys, "--fetch", "counterfact", "--json")
    assert (code, json.loads(out)) == (0, {"dataset": "counterfact", "file": str(path)})


# -- samples of what is published ----------------------------------------------------------------

SAMPLES = {
    "counterfact.json": "counterfact",
    "counterfact_requests.json": "counterfact",
    "zsre.json": "zsre",
    "mquake_cf.json": "mquake-cf",
    "knowedit_wiki_counterfact.json": "knowedit-wiki-counterfact",
    "knowedit_wiki_recent.json": "knowedit-wiki-recent",
    "knowedit_zsre.json": "knowedit-zsre",
    "knowedit_wikibio.json": "knowedit-wikibio",
    "leme_zsre.json": "longform",
}


def published_prompts(raw: dict[str, Any]) -> list[str]:
    """The complete prompts of a record's facts, each layout's in its own way."""
    if "requested_rewrite" in raw:
        rewrites = raw["requested_rewrite"]
        rewrites = rewrites if isinstance(rewrites, list) else [rewrites]
        return [one["prompt"].replace("{}", one["subject"]) for one in rewrites]
    return [next(raw[name] for name in ("src", "prompt", "text") if name in raw)]


def published_questions(raw: dict[str, Any]) -> int:
    """How many probes a record holds, counted without reading them."""
    listed = ("attribute_prompts", "generation_prompts", "questions", "new_single_hops")
    count = sum(len(raw.get(name, ())) for name in listed)
    count += "loc" in raw
    count += 2 * ("leme_inputs" in raw)
    for part in ("portability", "locality"):
        for group in raw.get(part, {}).values():
            count += len(group) if isinstance(group, list) else 1
    return count


@pytest.mark.parametrize("file", SAMPLES)
def test_samples_are_read_fully(samples: Path, file: str) -> None:
    path = samples / file
    if not path.exists():
        pytest.skip(f"{file} is not among the samples")
    published = json.loads(path.read_text("utf-8"))
    found: Records = read_records(path, SAMPLES[file], strict=True)
    assert len(found) == len(published) >= 20
    for raw, record in zip(published, found, strict=True):
        texts = [" ".join(text.split()) for text in published_prompts(raw)]
        assert [" ".join(fact.text.split()) for fact in record.facts] == texts
        assert len(record.probes) + len(record.unasked) == published_questions(raw)
        for probe in record.probes:
            assert bool(probe.answers) == (probe.group != "generation")
            assert not set(probe.answers) & set(probe.wrong)
    assert len(found.unasked) <= 0.01 * len(found)


def test_other_targets_of_the_sample(samples: Path) -> None:
    path = samples / "zsre.json"
    if not path.exists():
        pytest.skip("zsre.json is not among the samples")
    published = json.loads(path.read_text("utf-8"))
    for target, wanted in (("true", lambda raw: raw["answers"][0]), ("alt", lambda r: r["alt"])):
        facts = read_records(path, "zsre", target=target).facts
        assert [fact.target for fact in facts] == [wanted(raw).strip() for raw in published]
