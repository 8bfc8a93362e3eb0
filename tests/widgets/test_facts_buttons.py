"""Facts that are pasted, uploaded, loaded, copied and deleted."""

from __future__ import annotations

import json
import re

import pytest
from examples import FACTS
from facts_panels import TOWER, Browser, facts_panel, page_of, unchanged_session

import alphaedit_core
from alphaedit_core.data.fact_files import example_facts, facts_from_bytes
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError
from alphaedit_widgets.fact_drafts import Draft
from alphaedit_widgets.facts.panel import FactsPanel

session = pytest.fixture(unchanged_session, scope="module")
panel = pytest.fixture(facts_panel)
browser = pytest.fixture(page_of)


def test_pasted_lines_become_rows(panel: FactsPanel) -> None:
    lines = [
        "Eiffel Tower\t{} is in the city of\tRome\tParis",
        "Newton\t{} was born in\tJapan",
        "東京\t{}は\t日本の都\t",
    ]
    panel.paste_area.value = "\r\n".join(lines)
    panel.paste_rows_button.click()
    assert panel.facts == [
        Fact("Eiffel Tower", "{} is in the city of", "Rome", "Paris"),
        Fact("Newton", "{} was born in", "Japan"),
        Fact("東京", "{}は", "日本の都"),
    ]
    assert panel.message == "3 rows added" and panel.paste_area.value == ""
    assert panel.selected == 0
    headings = "Subject\tPrompt\tTarget\tOld target\nBerlin\t{} is\told\t\t\n"
    assert panel.paste(headings) == 1 and len(panel.facts) == 4


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("Newton, {} was born in, Japan", "line 3: has 1 column, not 3 or 4"),
        ("Newton\t{} was born in", "line 3: has 2 columns"),
        ("a\t{} b\tc\td\te", "line 3: has 5 columns"),
        ("Newton\tHe was\tJapan", "line 3: needs {} in the prompt in place of the subject"),
        ("Newton\t{} was\t", "line 3: needs a target"),
    ],
)
def test_a_bad_line_adds_none_and_is_named(panel: FactsPanel, bad: str, expected: str) -> None:
    good = "\t".join(TOWER)
    panel.paste_area.value = f"{good}\n\n{bad}\nRome\t{{}} is\told"
    panel.paste_rows_button.click()
    assert panel.drafts == () and expected in panel.message
    assert 'role="alert"' in panel._message.value
    assert bad in panel.paste_area.value
    with pytest.raises(InputError, match=re.escape(expected)):
        panel.paste(panel.paste_area.value)


def test_pasted_json_becomes_rows(panel: FactsPanel, browser: Browser) -> None:
    one, two = (fact.to_dict() for fact in FACTS[:2])
    assert panel.paste(json.dumps([one, two], indent=1)) == 2
    panel.clear()
    assert panel.paste(json.dumps(one, indent=1)) == 1
    assert panel.paste(json.dumps(two) + "\n") == 1
    assert panel.facts == list(FACTS[:2])
    with pytest.raises(InputError, match=r"line 2: field \"subject\" is missing"):
        panel.paste(json.dumps(one) + "\n{}\n")
    with pytest.raises(InputError, match="not valid JSON at line 2"):
        panel.paste("[\n{]")
    with pytest.raises(InputError, match="nothing to add"):
        panel.paste(" \n")
    assert len(panel.drafts) == 2
    browser.ask("paste", text="Newton\t{} was\tDutch")
    assert len(panel.drafts) == 3


def give(panel: FactsPanel, name: str, content: bytes, piece: int = 100) -> None:
    """Choose a file, as the page says it."""
    message = {"kind": "piece", "token": name, "name": name, "size": len(content)}
    for at in range(0, max(len(content), 1), piece):
        part = memoryview(content[at : at + piece])
        panel.upload_button._handle_custom_msg(message | {"at": at}, [part])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([fact.to_dict() for fact in FACTS])),
        ("a.jsonl", "\n".join(json.dumps(fact.to_dict()) for fact in FACTS)),
        (
            "a.CSV",
            "subject,prompt,target,target_true\n"
            + "".join(f"{f.subject},{f.prompt},{f.target},{f.target_true or ''}\n" for f in FACTS),
        ),
        (
            "a.tsv",
            "\ufeff"
            + "".join(f"{f.subject}\t{f.prompt}\t{f.target}\t{f.target_true or ''}\n"
                      for f in FACTS),
        ),
    ],
)  # fmt: skip
def test_files_of_every_format_are_taken(panel: FactsPanel, name: str, content: str) -> None:
    give(panel, name, content.encode())
    assert panel.facts == list(FACTS)
    assert panel.message == "4 rows added"


def test_a_file_that_cannot_be_used_adds_none(panel: FactsPanel) -> None:
    for name, content, expected in (
        ("a.json", b'[{"subject": "x"}]', 'a.json: fact 1: field "prompt" is missing'),
        ("a.csv", b"subject,prompt,target\nx,{} is\n", "a.csv: line 2: the row has 2 cells"),
        ("a.tsv", b"x\ty\n", "a.tsv: line 1: has 2 columns"),
        ("a.tsv", b"\xff\xfe", "a.tsv: not UTF-8 at byte 0"),
        ("a.json", b"\xff\xfe", "a.json: not UTF-8 at byte 0"),
    ):
        give(panel, name, content)
        assert expected in panel.message and panel.drafts == ()
        assert 'role="alert"' in panel._message.value
    assert facts_from_bytes(b'[{"subject": "x", "prompt": "{} is", "target": "y"}]', "other") == [
        Fact("x", "{} is", "y")
    ]


def test_a_file_over_the_limit_is_refused_with_the_way_around(panel: FactsPanel) -> None:
    """The browser sends none of it, only how large it is."""
    message = {"kind": "piece", "token": "a", "name": "large.json", "size": 101 * 2**20, "at": 0}
    panel.upload_button._handle_custom_msg(message, [])
    assert panel.message == (
        "large.json: 101 MiB, and uploads are limited to 100 MiB; copy it to the kernel's machine "
        'and read it in a cell: wb.facts = read_facts("facts.json")'
    )
    assert "read_facts" in alphaedit_core.__all__ and panel.drafts == ()


def test_pieces_that_are_missing_or_of_an_older_file_are_not_taken(panel: FactsPanel) -> None:
    content = json.dumps([fact.to_dict() for fact in FACTS]).encode()
    message = {"kind": "piece", "name": "a.json", "size": len(content)}

    def send(token: str, at: int, size: int) -> None:
        part = content[at : at + size]
        panel.upload_button._handle_custom_msg(message | {"token": token, "at": at}, [part])

    send("one", 0, 50)
    send("two", 0, 80)
    send("one", 50, len(content))
    assert panel.drafts == () and panel.message == ""
    send("two", 80, len(content))
    assert panel.facts == list(FACTS)
    send("three", 0, 50)
    send("three", 60, len(content))
    assert panel.message == "a.json: the upload is incomplete; upload it again"
    assert panel.facts == list(FACTS)


def test_examples_are_loaded_once(panel: FactsPanel) -> None:
    examples = example_facts()
    panel.add(examples[0].subject, examples[0].prompt, "Vienna")
    panel.examples_button.click()
    assert len(panel.facts) == len(examples) == len(panel.drafts)
    assert panel.facts[0].target == "Vienna"
    assert panel.facts[1:] == examples[1:]
    assert "4 neighbors" in panel.editor.rows[1]["extra"]
    panel.examples_button.click()
    assert len(panel.drafts) == len(examples) and "already" in panel.message


def test_rows_are_copied_deleted_and_brought_back(panel: FactsPanel, browser: Browser) -> None:
    panel.facts = FACTS
    panel.select(2)
    browser.ask("duplicate", key=browser.key(1))
    assert panel.selected == 1 and panel.drafts[1].subject == FACTS[0].subject
    assert "row 1 has the same" in panel.statuses[1]
    panel.select(3)
    browser.ask("delete", key=browser.key(2))
    assert panel.facts == list(FACTS) and panel.selected == 2
    assert panel.state.fact == FACTS[2]
    panel.delete(3)
    assert panel.selected == 2
    panel.delete(2)
    assert panel.selected == 1
    panel.back_button.click()
    assert panel.facts == list(FACTS[:3]) and panel.selected == 2
    assert panel.back_button.disabled
    panel.clear_button.click()
    assert panel.drafts == () and panel.selected == -1 and panel.clear_button.disabled
    panel.add("Berlin", "{} is", "old")
    panel.back_button.click()
    assert panel.facts == [*FACTS[:3], Fact("Berlin", "{} is", "old")]
    for wrong in (-1, 4, True + 5, "0"):
        with pytest.raises(InputError, match="no row has the index"):
            panel.delete(wrong)  # type: ignore[arg-type]


def test_the_paste_box_opens_and_closes(panel: FactsPanel) -> None:
    shown = [panel._paste_row.layout.display]
    for _ in range(2):
        panel.paste_button.click()
        shown.append(panel._paste_row.layout.display)
    assert shown == ["none", "", "none"]


def test_rows_change_from_python(panel: FactsPanel) -> None:
    index = panel.add(*TOWER)
    panel.change(index, target="Berlin", paraphrases=["The tower is in"])
    assert panel.facts == [Fact(*TOWER[:2], "Berlin", paraphrases=["The tower is in"])]
    with pytest.raises(InputError, match="a row has no goal"):
        panel.change(index, goal="x")
    panel.drafts = [Draft("a"), Draft("b")]
    assert panel.selected == 0 and panel.statuses == ["needs: a prompt"] * 2


def test_given_ids_that_meet_are_given_up(panel: FactsPanel) -> None:
    record = {"subject": "a", "prompt": "{} is", "target": "x", "id": "1"}
    panel.upload("one.json", json.dumps([record]).encode())
    panel.upload("two.json", json.dumps([record | {"subject": "b"}]).encode())
    assert panel.statuses == ["ready", "ready"] and panel.facts[0].id == "1"
