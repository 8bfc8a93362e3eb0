"""Reading a file of records: skipped records, messages and errors."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

import pytest
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
from record_files import ABSENT, BLANK, quiet, refusal, write

from alphaedit_core.data.datasets.reading import SkippedRecord, read_records
from alphaedit_core.data.datasets.registry import dataset
from alphaedit_core.data.records import distinct
from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.progress import Monitor, Stage


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


def test_records_that_cannot_be_used_are_left_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "zsre.json", ABSENT, ZSRE, 3, BLANK, ZSRE)
    monitor = Monitor(show=None)
    with caplog.at_level(logging.WARNING):
        found = read_records(file, "zsre", monitor=monitor)
    assert [one.name for one in found] == ["record 2", "record 5"]
    assert found.left_out == [
        SkippedRecord(
            "record 1",
            'subject "Eve Brush" is not in src "Which town was Ada Quill from?"; write it there',
        ),
        SkippedRecord("record 3", "3 is a number; give an object"),
        SkippedRecord("record 4", 'answers 1: "" is blank; give a text'),
    ]
    [warning] = monitor.warnings
    assert warning == (
        f"{file}: 3 of 5 records left out; the first, record 1: {found.left_out[0].reason}"
    )
    assert warning in caplog.text
    assert "2 of zsRE, 2 facts, 3 left out" in repr(found)
    expected = f"record 1: {found.left_out[0].reason}"
    assert refusal(file, "zsre", strict=True) == expected
    assert read_records(write(file, ZSRE), "zsre", strict=True).left_out == []


def test_a_limit_counts_what_can_be_used(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre.json", ABSENT, ZSRE, ZSRE, BLANK)
    found = read_records(file, "zsre", limit=2, monitor=quiet)
    assert ([one.name for one in found], len(found.left_out)) == (["record 2", "record 3"], 1)
    assert len(read_records(file, "zsre", limit=9, monitor=quiet).left_out) == 2
    for limit in (0, True, "2"):
        with pytest.raises(InputError, match=r"limit .* give 1 or more"):
            read_records(file, "zsre", limit=limit)  # type: ignore[arg-type]


def test_reading_is_told_and_canceled(tmp_path: Path) -> None:
    file = write(tmp_path / "zsre.json", ZSRE, ABSENT, ZSRE, ZSRE)
    seen: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        assert (stage.name, stage.unit, stage.total) == ("reading zsRE", "record", 3)
        seen.append(stage.done)

    read_records(file, "zsre", limit=3, monitor=Monitor(show=show))
    assert seen == [0, 1, 2, 3, 3]
    with pytest.raises(Canceled):
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
            "records": 1, "facts": 1, "paraphrases": 1, "neighbors": 0,
            "locality/Relation_Specificity": 1, "portability/Reasoning": 1,
            "portability/Subject_Aliasing": 1,
        },
        "left_out": [{"name": "record 2", "reason": 'field "prompt" is missing; add it'}],
        "unasked": [
            {"name": "record 1", "reason": reason} for reason in found.records[0].skipped_questions
        ],
    }  # fmt: skip
    assert len(found.skipped_questions) == 2


@pytest.mark.parametrize(
    ("name", "record", "expected"),
    [
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", to=...),
         'case 12: field "requested_rewrite" is missing; add it'),
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", "target_new", to=None),
         "case 12: target null is not a text; give a text"),
        ("counterfact", changed(COUNTERFACT, "requested_rewrite", "prompt", to="It is in"),
         'case 12: prompt "It is in" has no {} for the subject; write {} in place of the subject'),
        ("counterfact", changed(COUNTERFACT, "neighborhood_prompts", 1, to=""),
         'case 12: neighbor 2: "" is blank; give a text'),
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
def test_refused_record(tmp_path: Path, name: str, record: object, expected: str) -> None:
    file = write(tmp_path / "file.json", record)
    assert refusal(file, name, strict=True).startswith(expected)
    # The same reason where it is only left out; a file of nothing else is refused all the same.
    write(file, record, PUBLISHED[name])
    [left_out] = read_records(file, name, monitor=quiet).left_out
    assert f"{left_out.name}: {left_out.reason}".startswith(expected)
    write(file, record, record)
    message = refusal(file, name)
    assert message.startswith(f"none of 2 records can be used as {name}; {expected}")
    assert "or name another data set (counterfact, zsre" in message


def test_braces_of_a_complete_prompt_are_no_places(tmp_path: Path) -> None:
    record = changed(ZSRE, "src", to="{} or Ada Quill?") | {"rephrase": "Which {} of Ada Quill?"}
    [fact] = read_records(write(tmp_path / "file.json", record), "zsre", strict=True).facts
    assert (fact.text, fact.subject_span) == ("{} or Ada Quill?", (6, 15))
    assert fact.paraphrases == ("Which {} of Ada Quill?",)


@pytest.mark.parametrize(
    ("content", "expected"),
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
def test_refused_file(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "file.json").write_bytes(content)
    assert refusal(tmp_path / "file.json", "zsre").startswith(expected)


def test_refused_place(tmp_path: Path) -> None:
    expected = "there is no such file; correct the path"
    assert refusal(tmp_path / "none.json", "zsre") == expected
    assert refusal(tmp_path, "zsre") == "this is a folder; name a file in it"
    (tmp_path / "f.jsonl").write_text(json.dumps(ZSRE) + "\n{]", encoding="utf-8")
    assert refusal(tmp_path / "f.jsonl", "zsre").startswith("not valid JSON at line 2, column 2 (")
