"""Facts in files: all formats, refused files, and the packaged facts."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from alphaedit_core.data.fact_files import example_facts, read_facts, write_facts
from alphaedit_core.data.facts import Fact, check_facts
from alphaedit_core.errors import InputError

RECORDS: list[dict[str, Any]] = [
    {
        "subject": "Eiffel Tower",
        "prompt": "{} is in",
        "target": "Rome",
        "target_true": "Paris",
        "paraphrases": ["You find the Eiffel Tower in", "The tower, Eiffel Tower, is in"],
        "neighbors": ["The Louvre is in", "Notre-Dame, the cathedral, is in"],
        "relation": "city",
    },
    {"subject": "埃菲尔铁塔", "prompt": "{}位于", "target": "罗马"},
    {"subject": "برج إيفل", "prompt": "يقع {} في مدينة", "target": "روما"},
    {"subject": "👩‍🔬", "prompt": "The {} works in a", "target": "🧪 lab\u2028room"},
]
FACTS = [Fact.from_dict(record) for record in RECORDS]
GOOD = {"subject": "Louvre", "prompt": "The {} is in", "target": "Oslo"}

COUNTERFACT = {
    "case_id": 7,
    "pararel_idx": None,
    "requested_rewrite": {
        "subject": "Eiffel Tower",
        "prompt": "{} is in",
        "target_new": {"str": "Rome", "id": "Q220"},
        "target_true": {"str": "Paris", "id": "Q90"},
        "relation_id": "P131",
    },
    "paraphrase_prompts": ["It rained. You find the Eiffel Tower in"],
    "neighborhood_prompts": ["The Louvre is in"],
    "generation_prompts": ["ignored"],
}


def refusal(path: str | Path, **arguments: Any) -> str:
    """Return the error for a file, without its name, and check that it is one line."""
    with pytest.raises(InputError) as caught:
        read_facts(path, **arguments)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def write(path: Path, content: object) -> Path:
    """Write ``content`` to a file: a text unchanged, anything else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_json_as_written_and_escaped(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_facts(path, FACTS)
    assert read_facts(path) == FACTS
    assert "برج إيفل" in path.read_text("utf-8")
    assert read_facts(write(path, RECORDS)) == FACTS
    assert read_facts(path, limit=2) == FACTS[:2]
    assert read_facts(str(path), limit=99) == FACTS


def test_jsonl(tmp_path: Path) -> None:
    # The last target holds a line separator, which JSON allows inside a text.
    lines = [json.dumps(record, ensure_ascii=False) for record in RECORDS]
    path = write(tmp_path / "facts.jsonl", "\r\n\n".join(lines) + "\n")
    assert read_facts(path) == FACTS
    assert read_facts(path, limit=1) == FACTS[:1]


def test_csv(tmp_path: Path) -> None:
    fields = ["subject", "prompt", "target", "target_true", "paraphrases", "neighbors", "relation"]
    rows = [
        [value if isinstance(value := record.get(name, ""), str) else " | ".join(value)
         for name in fields]
        for record in RECORDS
    ]  # fmt: skip
    path = write_csv(tmp_path / "facts.csv", [fields, *rows])
    assert read_facts(path) == FACTS


@pytest.mark.parametrize("name", ["facts", "facts.txt"])
def test_format_by_content(tmp_path: Path, name: str) -> None:
    assert read_facts(write(tmp_path / name, [GOOD])) == [Fact(**GOOD)]
    assert read_facts(write(tmp_path / name, GOOD)) == [Fact(**GOOD)]
    text = "subject,prompt,target\nLouvre,The {} is in,Oslo\n"
    assert read_facts(write(tmp_path / name, text)) == [Fact(**GOOD)]


@pytest.mark.parametrize("name", ["facts.json", "facts.jsonl", "facts.csv"])
def test_byte_order_mark(tmp_path: Path, name: str) -> None:
    text = {
        "facts.json": json.dumps([GOOD]),
        "facts.jsonl": json.dumps(GOOD),
        "facts.csv": "subject,prompt,target\nLouvre,The {} is in,Oslo\n",
    }[name]
    assert read_facts(write(tmp_path / name, "\ufeff" + text)) == [Fact(**GOOD)]


def test_counterfact_records(tmp_path: Path) -> None:
    (fact,) = read_facts(write(tmp_path / "counterfact.json", [COUNTERFACT]))
    assert fact == Fact(
        "Eiffel Tower",
        "{} is in",
        "Rome",
        target_true="Paris",
        paraphrases=["It rained. You find the Eiffel Tower in"],
        neighbors=["The Louvre is in"],
        relation="P131",
    )
    requests = {"case_id": 7, "requested_rewrite": COUNTERFACT["requested_rewrite"]}
    (bare,) = read_facts(write(tmp_path / "requests.jsonl", requests))
    assert bare == fact.changed(paraphrases=[], neighbors=[])


def test_other_names_of_the_target(tmp_path: Path) -> None:
    record = {"subject": "a", "prompt": "{} is", "target_new": {"str": "b"}, "target_true": "c"}
    path = write(tmp_path / "facts.json", [record])
    assert read_facts(path) == [Fact("a", "{} is", "b", target_true="c")]
    write(path, [record | {"target": "b"}])
    assert refusal(path) == 'fact 1: "target" and "target_new" are both given; remove one of them'
    write_csv(tmp_path / "f.csv", [["subject", "prompt", "target_new"], ["a", "{} is", "b"]])
    assert read_facts(tmp_path / "f.csv") == [Fact("a", "{} is", "b")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (None, "null is null; a fact is an object with the fields subject, prompt, target"),
        ("Rome", '"Rome" is a text; a fact is an object'),
        ([GOOD], "is a list; a fact is an object"),
        ({**GOOD, "prompt": "The Louvre is in"}, 'prompt "The Louvre is in" has no {}'),
        ({**GOOD, "prompt": "{} and {}"}, 'prompt "{} and {}" has 2 {}'),
        ({**GOOD, "subject": " "}, "is blank; give a text"),
        ({**GOOD, "target": ""}, 'target "" is blank; give a text'),
        ({**GOOD, "target": None}, "target null is not a text"),
        ({**GOOD, "target": 12}, 'target 12 is not a text; write "12"'),
        ({**GOOD, "target": {"id": "Q1"}}, 'target {"id": "Q1"} is not a text'),
        ({**GOOD, "target": float("nan")}, "target NaN is not a text"),
        ({**GOOD, "subject": "\ud83d"}, "half a surrogate pair"),
        ({**GOOD, "paraphrases": 3}, "paraphrases 3 is a number; give a list of texts"),
        ({**GOOD, "color": "red"}, 'field "color" is not known; remove it, or use one of'),
        ({"subject": "a", "target": "b"}, 'field "prompt" is missing; add it'),
        ({**COUNTERFACT, "requested_rewrite": [1]}, "requested_rewrite [1] is a list; give one"),
        ({"requested_rewrite": {"subject": "a", "prompt": "{}"}}, 'field "target" is missing'),
    ],
)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_refused_record(tmp_path: Path, record: object, expected: str, suffix: str) -> None:
    records = [GOOD, record]
    content = records if suffix == "json" else "\n\n".join(json.dumps(one) for one in records)
    message = refusal(write(tmp_path / f"facts.{suffix}", content))
    assert message.startswith("fact 2: " if suffix == "json" else "line 3: ")
    assert expected in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("f.json", '[\n {"subject": }]', "not valid JSON at line 2, column 14 ("),
        ("f.json", "[1, 2", "not valid JSON at line 1, column 6 ("),
        ("f.json", "", "the file is empty; put at least one fact into it"),
        ("f.json", " \n", "the file is empty"),
        ("f.json", "[]", "the list of facts is empty; put at least one into it"),
        ("f.json", "{}", "the file holds one object; put it into a list: [{...}]"),
        ("f.json", json.dumps({"1": GOOD}), "the file holds one object; put it into a list"),
        ("f.json", "null", "the file holds null; write a list"),
        ("f.json", "3", "the file holds a number; write a list"),
        (
            "f.json",
            "[" * 100_000,
            "not valid JSON at line 1, column 101 (nested more than 100 levels",
        ),
        ("f.json", "[" + "9" * 5_000 + "]", "not valid JSON at line 1, column 2 (a number of"),
        ("f.jsonl", json.dumps(GOOD) + "\n{]", "not valid JSON at line 2, column 2 ("),
        ("f.jsonl", json.dumps([GOOD]), "line 1: "),
        ("f.csv", "subject,prompt,target\n", "there is no fact in this file"),
        ("f.csv", "Louvre,The {} is in,Oslo\n", 'line 1: column "Louvre" is not known; the first'),
        ("f.csv", "subject,prompt\na,{} is\n", 'line 1: column "target" is missing; add it'),
        ("f.csv", "subject,prompt,target,target\n", 'line 1: column "target" is there twice'),
        ("f.csv", "subject,prompt,target\n\na,{} is,b,c\n", "line 3: the row has 4 cells and the"),
        ("f.csv", "subject,prompt,target\na,{} is,\n", 'line 2: target "" is blank'),
        ("f.csv", 'subject,prompt,target\na,{} is,"b\n', "line 2: not valid CSV ("),
        ("f.csv", 'subject,prompt,target\na,"{}\nis",b\nc,d,e\n', 'line 4: prompt "d" has no {}'),
        ("f.csv", "subject,prompt,target,neighbors\na,{} is,b,c |  | d\n", "line 2: neighbor 2:"),
    ],
)
def test_refused_file(tmp_path: Path, name: str, text: str, expected: str) -> None:
    assert refusal(write(tmp_path / name, text)).startswith(expected)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json").startswith("there is no such file; correct the path")
    assert refusal(tmp_path) == "this is a folder; name a file in it"
    assert refusal("a\0b.json").startswith("the file cannot be read (")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_not_utf8(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes('[\n"é"]'.encode(encoding))
    where = {"latin-1": "byte 3 (line 2)", "utf-16": "byte 0 (line 1)"}[encoding]
    assert refusal(path) == f"not UTF-8 at {where}; save the file in UTF-8"


def test_records_that_contradict_each_other(tmp_path: Path) -> None:
    other = {"subject": "Louvre", "prompt": "The {}  is in", "target": "Rome"}
    assert refusal(write(tmp_path / "f.json", [GOOD, RECORDS[0], other])) == (
        'fact 1 and fact 3: both are about "The Louvre is in", with the targets "Oslo" and "Rome"; '
        "keep one of them, or edit them one after the other"
    )
    lines = f"{json.dumps(GOOD)}\n\n{json.dumps(other)}"
    assert refusal(write(tmp_path / "f.jsonl", lines)).startswith("line 1 and line 3: ")
    assert len(read_facts(tmp_path / "f.jsonl", limit=1)) == 1
    assert read_facts(write(tmp_path / "f.json", [GOOD, GOOD])) == [Fact(**GOOD)]


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_refused_limit(limit: Any) -> None:
    with pytest.raises(InputError, match=r"limit .* give 1 or more"):
        read_facts("examples", limit=limit)


def test_writing_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    write_facts(path, FACTS)
    before = path.read_bytes()
    with pytest.raises(InputError, match="empty"):
        write_facts(path, [])
    assert path.read_bytes() == before
    write_facts(path, FACTS[:1])
    assert read_facts(path) == FACTS[:1]
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_facts(tmp_path / "folder", FACTS)
    assert sorted(os.listdir(tmp_path)) == ["facts.json", "folder"]


def test_packaged_facts() -> None:
    facts = example_facts()
    assert read_facts("examples") == facts == check_facts(facts)
    assert read_facts("examples", limit=3) == facts[:3]
    assert (facts[0].subject, facts[0].target, facts[0].target_true) == (
        "Eiffel Tower",
        "Rome",
        "Paris",
    )
    assert len(facts) >= 55
    assert len({fact.relation for fact in facts}) >= 12
    assert len({fact.subject.casefold() for fact in facts}) == len(facts)


@pytest.mark.parametrize("fact", example_facts(), ids=lambda fact: fact.subject)
def test_packaged_fact(fact: Fact) -> None:
    assert fact.target_true is not None
    assert fact.target_true.casefold() != fact.target.casefold()
    assert len(fact.paraphrases) == 2
    assert len(fact.neighbors) >= 3
    prompts = (fact.text, *fact.paraphrases, *fact.neighbors)
    assert len(set(prompts)) == len(prompts)
    for prompt in prompts:
        assert not prompt.endswith((".", "?", "!"))
    for paraphrase in fact.paraphrases:
        assert fact.subject in paraphrase
    # A neighbor judges what an edit should leave alone, so no packaged edit may be about it.
    for other in example_facts():
        subject = re.compile(rf"\b{re.escape(other.subject)}\b", re.IGNORECASE)
        assert not any(subject.search(neighbor) for neighbor in fact.neighbors)


# -- tables ----------------------------------------------------------------------------------------

INDEXED = [
    ",subject,prompt,target\n0,Louvre,The {} is in,Oslo\n",
    "Unnamed: 0,subject,prompt,target\n0,Louvre,The {} is in,Oslo\n",
]
TRAILING = [
    "subject,prompt,target,\nLouvre,The {} is in,Oslo,\n",
    "subject,prompt,target,\nLouvre,The {} is in,Oslo\n",
    "subject,prompt,target\nLouvre,The {} is in,Oslo,,\n",
]


@pytest.mark.parametrize("text", [*INDEXED, *TRAILING])
def test_columns_without_a_name_are_ignored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    path = write(tmp_path / "f.csv", text)
    assert read_facts(path) == [Fact(**GOOD)]
    expected = [record.getMessage() for record in caplog.records]
    warning = f"{path}: line 1: column 1 has no name, and is ignored"
    assert expected == ([warning] if text in INDEXED else [])


def test_a_row_with_more_cells_than_names_is_still_refused(tmp_path: Path) -> None:
    text = "subject,prompt,target,\nLouvre,The {} is in,Oslo,Rome\n"
    assert "the row has 4 cells and the header 3" in refusal(write(tmp_path / "f.csv", text))


@pytest.mark.parametrize(
    "text",
    [
        "Louvre\tThe {} is in\tOslo",
        "\n Louvre \tThe {} is in\tOslo\t\n",
        "Subject\tPrompt\tTarget\tOld target\r\nLouvre\tThe {} is in\tOslo\t\r\n",
        "target\tprompt\tsubject\nOslo\tThe {} is in\tLouvre\n",
        json.dumps([GOOD]),
        json.dumps(GOOD),
    ],
)
def test_lines_with_tabs(tmp_path: Path, text: str) -> None:
    assert read_facts(write(tmp_path / "f.tsv", text)) == [Fact(**GOOD)]


def test_a_quote_and_an_old_target_in_lines_with_tabs(tmp_path: Path) -> None:
    text = 'Louvre\tThe "{}" is in\t"Oslo\tParis\nRome\t{} is in\tOslo\n'
    found = read_facts(write(tmp_path / "f.tsv", text))
    assert found == [
        Fact("Louvre", 'The "{}" is in', '"Oslo', target_true="Paris"),
        Fact("Rome", "{} is in", "Oslo"),
    ]
    expected = refusal(write(tmp_path / "f.tsv", text + "Rome\tx\n"))
    assert expected == "line 3: the row has 2 cells and the header 4; put one tab between two cells"


def test_a_list_inside_an_object_is_named(tmp_path: Path) -> None:
    expected = refusal(write(tmp_path / "f.json", {"data": [GOOD]}))
    assert expected == 'the file holds one object; keep only the list that is its "data": [{...}]'
    expected = refusal(write(tmp_path / "f.json", {"data": [GOOD], "version": 1}))
    assert 'keep only the list that is its "data"' in expected


@pytest.mark.parametrize(
    "record",
    [
        {"subject": "a", "prompt": "a is", "target_new": "b", "ground_truth": "c"},
        {"subject": "a", "prompt": "a is", "target_new": "b", "rephrase_prompt": "c"},
        {"subject": "a", "src": "a is", "alt": "b", "answers": ["c"]},
        {"requested_rewrite": [{"subject": "a", "prompt": "{}", "target_new": {"str": "b"}}]},
    ],
)
def test_a_record_of_a_data_set_is_sent_to_its_reader(tmp_path: Path, record: Any) -> None:
    expected = refusal(write(tmp_path / "f.json", [record]))
    assert "--dataset" in expected and expected.startswith("fact 1: ")
