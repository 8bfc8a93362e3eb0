"""The facts table without a browser: typing, pasting, uploading, what rows need and are."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, small
from tiny import tiny_model, tiny_tokenizer

import alphaedit_core
from alphaedit_core.data.fact_files import example_facts, facts_from_bytes
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import InputError
from alphaedit_core.inference.completions import complete
from alphaedit_core.model.tokenization import target_ids
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.panel import RunPanel
from alphaedit_widgets.fact_drafts import Draft, needs, ready
from alphaedit_widgets.facts import true_targets as old_targets_module
from alphaedit_widgets.facts.panel import FactsPanel
from alphaedit_widgets.facts.target_tokens import split_target
from alphaedit_widgets.facts.true_targets import first_words
from alphaedit_widgets.state import State

TOWER = ("Eiffel Tower", "{} is in the city of", "Rome")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("facts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "complete", lambda *a, **k: complete(*a, **{**k, "tokens": 2}))
        yield folder


@pytest.fixture(scope="module")
def session() -> EditSession:
    """Of a model that no test here changes."""
    return EditSession(tiny_model("llama"))


@pytest.fixture
def panel(session: EditSession) -> FactsPanel:
    return FactsPanel(session)


class Browser:
    """Asks what the script in the page asks, in the same messages."""

    def __init__(self, panel: FactsPanel) -> None:
        self.editor, self.sent = panel.editor, 0

    def ask(self, do: str, **more: Any) -> None:
        self.sent += 1
        request = {"do": do, **more, "view": "this page", "n": self.sent}
        self.editor._handle_custom_msg(request, [])

    def type(self, row: int, **fields: str) -> None:
        """Type into the row that is shown with this number."""
        for field, value in fields.items():
            self.ask("type", key=self.key(row), field=field, value=value)

    def key(self, row: int) -> int:
        return int(self.editor.rows[row - 1]["key"])


@pytest.fixture
def browser(panel: FactsPanel) -> Browser:
    return Browser(panel)


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def shown(panel: FactsPanel) -> list[tuple[str, str, str, str, str]]:
    """The rows of the page without the empty one: texts of the inputs, and the status."""
    *rows, last = panel.editor.rows
    assert last["new"] and last["subject"] == last["prompt"] == last["target"] == ""
    names = ("subject", "prompt", "target", "target_true", "status")
    return [tuple(row[name] for name in names) for row in rows]  # type: ignore[misc]


# -- typing ----------------------------------------------------------------------------------------


def test_typing_into_the_empty_row_makes_a_fact(panel: FactsPanel, browser: Browser) -> None:
    subject, prompt, target = TOWER
    browser.type(1, subject=subject)
    assert panel.statuses == ["needs: a prompt"] and panel.facts == []
    browser.type(1, prompt=prompt)
    assert panel.statuses == ["needs: a target"]
    browser.type(1, target=target, target_true="Paris", group="towers")
    panel.add_button.click()
    assert panel.facts == [Fact(*TOWER, target_true="Paris")]
    assert shown(panel) == [(*TOWER, "Paris", "ready")]
    assert panel.drafts[0].group == "towers"
    assert "selected: Eiffel Tower" in panel._chosen.value
    assert 'data-testid="selected"' in panel._chosen.value
    assert words(panel._count.value) == "1 row: 1 ready"


def test_what_was_typed_is_known_at_once(panel: FactsPanel, browser: Browser) -> None:
    """The click that follows on typing in the page finds the typed text (S1.4)."""
    edit = RunPanel(panel.state)
    assert edit.run_button.disabled
    browser.type(1, subject=TOWER[0], prompt=TOWER[1], target="Paris")
    browser.type(1, target="Rome")
    assert not edit.run_button.disabled and panel.state.facts[0].target == "Rome"
    browser.type(1, prompt="no place")
    assert edit.run_button.disabled and panel.facts == []


def test_requests_made_before_rows_moved_find_their_rows(
    panel: FactsPanel, browser: Browser
) -> None:
    panel.facts = FACTS
    third, empty = browser.key(3), browser.key(5)
    browser.ask("delete", key=browser.key(1))
    browser.ask("type", key=third, field="target", value="京都")
    browser.ask("type", key=empty, field="subject", value="Berlin")
    assert [draft.subject for draft in panel.drafts] == [
        *(fact.subject for fact in FACTS[1:]),
        "Berlin",
    ]
    assert [draft.target for draft in panel.drafts] == [FACTS[1].target, "京都", "Paris", ""]
    assert browser.key(2) == third and browser.key(4) == empty


def test_a_second_click_on_delete_takes_no_other_row(panel: FactsPanel, browser: Browser) -> None:
    panel.facts = FACTS
    key = browser.key(2)
    browser.ask("delete", key=key)
    browser.ask("delete", key=key)
    assert [draft.subject for draft in panel.drafts] == [
        fact.subject for fact in (FACTS[0], *FACTS[2:])
    ]
    assert 'role="alert"' in panel._message.value and "gone" in panel.message


def test_each_request_is_answered_for_its_view(panel: FactsPanel, browser: Browser) -> None:
    browser.type(1, subject="Rome")
    assert panel.editor.heard == ["this page", 1]
    browser.ask("type", key=99, field="subject", value="x")
    assert panel.editor.heard == ["this page", 2]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"do": "type", "key": 0, "field": "outcome", "value": "applied"},
        {"do": "type", "key": 0, "field": "subject", "value": 3},
        {"do": "type", "key": None, "field": "subject", "value": "x"},
        {"do": "close", "key": 0},
        {"do": "paste", "text": 5},
        {"do": "select", "key": 0},
        "select",
    ],
)
def test_a_request_that_makes_no_sense_does_nothing(panel: FactsPanel, request_: Any) -> None:
    panel.editor._handle_custom_msg(request_, [])
    assert panel.drafts == () and panel.selected == -1 and panel.state.failure is None


def test_a_row_that_is_emptied_is_the_empty_row_again(panel: FactsPanel, browser: Browser) -> None:
    key = browser.key(1)
    browser.type(1, subject="Rome")
    assert len(panel.editor.rows) == 2
    browser.type(1, subject="")
    assert panel.drafts == () and [row["key"] for row in panel.editor.rows] == [key]
    browser.type(1, group="mine")
    assert panel.drafts == (Draft(group="mine"),) and panel.statuses == ["draft"]


def test_half_a_surrogate_pair_does_not_get_into_a_row(panel: FactsPanel, browser: Browser) -> None:
    browser.type(1, subject="a\ud83db", prompt="{} \U0001f600 is", target="x")
    assert panel.drafts[0].subject == "a\ufffdb" and "\U0001f600" in panel.drafts[0].prompt
    panel.add("half \ud83d", "{} is", "x")
    json.dumps(panel.editor.rows, ensure_ascii=False).encode()
    panel.select(1)
    (panel._chosen.value + panel.static_html() + panel.summary()).encode()


def test_many_rows(panel: FactsPanel) -> None:
    panel.facts = [Fact(f"Tower {i}", "{} is in", "Rome") for i in range(600)]
    assert len(panel.facts) == 600 and len(panel.editor.rows) == 501
    assert panel.editor.rows[-1]["new"]
    assert "600 rows: 600 ready; the first 500 are shown" in words(panel._count.value)


# -- what rows need --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("draft", "need"),
    [
        (Draft(), "a subject"),
        (Draft("Rome", "", "x"), "a prompt"),
        (Draft("Rome", "{} is", "  "), "a target"),
        (Draft("Rome", "Rome is", "x"), '{} in the prompt, where "Rome" stands'),
        (Draft("Rome", "It is", "x"), "{} in the prompt, where the subject stands"),
        (Draft("Rome", "{} is {}", "x"), "one {} in the prompt, not 2; {{}} is a literal {}"),
        (Draft("\u200b", "{} is", "x"), 'a change: subject "\u200b" is blank; give a text'),
        (Draft("Rome", "{} is", "x"), ""),
    ],
)
def test_a_draft_says_what_it_needs(draft: Draft, need: str) -> None:
    assert draft.need == need == needs([draft])[0]
    if need:
        with pytest.raises(InputError, match=re.escape(f"needs {need}")):
            draft.fact()
    else:
        assert draft.fact() == Fact("Rome", "{} is", "x")


def test_a_duplicate_is_marked_and_does_not_run(panel: FactsPanel, browser: Browser) -> None:
    edit = RunPanel(panel.state)
    panel.add(*TOWER)
    panel.add("Eiffel  Tower", "{} is in the city of", "Berlin")
    marked = "needs: another subject or prompt, it is about the same as row 1"
    assert panel.statuses == ["ready", marked] and shown(panel)[1][-1] == marked
    assert edit.run_button.disabled and len(panel.facts) == 1
    browser.type(2, subject="Colosseum")
    assert panel.statuses == ["ready", "ready"] and not edit.run_button.disabled


def test_facts_of_equal_ids_do_not_stop_the_others() -> None:
    drafts = [Draft(*TOWER, id="1"), Draft("Newton", "{} was", "Dutch", id="1")]
    assert needs(drafts) == ["", 'an id of its own, row 1 is "1" too']
    assert [fact.subject for fact in ready(drafts)] == ["Eiffel Tower"]


def test_another_fact_loses_what_belonged_to_the_old_one() -> None:
    draft = Draft(*TOWER, paraphrases=("See the Eiffel Tower in",), id="7")
    assert draft.typed(group="x").id == "7"
    other = draft.typed(subject="Big Ben")
    assert other.id == "" and other.paraphrases == ("See the Big Ben in",)
    assert draft.typed(target="Rome") == draft


# -- tokens ----------------------------------------------------------------------------------------


def test_every_target_shows_its_tokens(panel: FactsPanel) -> None:
    tokenizer = panel.session.model.tokenizer
    panel.facts = FACTS
    for index, fact in enumerate(FACTS):
        row = panel.editor.rows[index]
        for target, shown in ((fact.target, row["tokens"]), (fact.target_true, row["oldTokens"])):
            count = len(target_ids(tokenizer, fact.text, target)) if target else 0
            assert bool(shown) == (count > 0)
    row = panel.editor.rows[0]
    assert "".join(row["tokens"]) == "·Rome·in·Italy" == "".join(panel.tokens(0))
    panel.add("x", "{} is", "a\nb")
    assert "".join(panel.editor.rows[4]["tokens"]) == "·a↵b"
    panel.add("y", "", "a b c")
    assert panel.editor.rows[5]["tokens"] == []
    # Whether a space stands before it is seen, and can be said.
    for prompt, target, first in (
        ('{} is in the city of "', "Rome", "R"),
        ("{} is in the city of", "Rome", "·"),
        ("{} is in the city of", "\\&Rome", "R"),
        ('{} is in the city of "', "\\ Rome", "·"),
    ):
        panel.add("z", prompt, target)
        assert "".join(panel.editor.rows[-2]["tokens"]).startswith(first)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("target", ["Rome in Italy", "Berlin", "日本の都", "北極", "n't – Ω"])
def test_token_texts_are_the_target(kind: Any, bos: bool, target: str) -> None:
    tokenizer = tiny_tokenizer(kind, bos=bos)
    split = split_target(tokenizer, "The city of", target)
    joined = re.sub(r" \(\d+ tokens\)", "", "".join(split.texts)).replace("·", " ")
    assert joined == ("" if ord(target[0]) > 0x3000 else " ") + target
    assert split.tokens == len(target_ids(tokenizer, "The city of", target))
    counts = [int(found[1]) if (found := re.search(r"\((\d+) tokens\)", t)) else 1
              for t in split.texts]  # fmt: skip
    assert sum(counts) == split.tokens


def test_tokens_are_asked_for_once(panel: FactsPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.facts = FACTS
    monkeypatch.setattr("alphaedit_widgets.facts.tokenized_rows.split_target", None)
    panel.select(2)
    panel.change(1, group="x")
    panel.state.touch()
    assert panel.editor.rows[1]["group"] == "x"


# -- buttons ---------------------------------------------------------------------------------------


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
    ("bad", "said"),
    [
        ("Newton, {} was born in, Japan", "line 3: has 1 column, not 3 or 4"),
        ("Newton\t{} was born in", "line 3: has 2 columns"),
        ("a\t{} b\tc\td\te", "line 3: has 5 columns"),
        ("Newton\tHe was\tJapan", "line 3: needs {} in the prompt, where the subject stands"),
        ("Newton\t{} was\t", "line 3: needs a target"),
    ],
)
def test_a_bad_line_adds_none_and_is_named(panel: FactsPanel, bad: str, said: str) -> None:
    good = "\t".join(TOWER)
    panel.paste_area.value = f"{good}\n\n{bad}\nRome\t{{}} is\told"
    panel.paste_rows_button.click()
    assert panel.drafts == () and said in panel.message
    assert 'role="alert"' in panel._message.value
    assert bad in panel.paste_area.value
    with pytest.raises(InputError, match=re.escape(said)):
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
    told = {"kind": "piece", "token": name, "name": name, "size": len(content)}
    for at in range(0, max(len(content), 1), piece):
        part = memoryview(content[at : at + piece])
        panel.upload_button._handle_custom_msg(told | {"at": at}, [part])


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
    for name, content, said in (
        ("a.json", b'[{"subject": "x"}]', 'a.json: fact 1: field "prompt" is missing'),
        ("a.csv", b"subject,prompt,target\nx,{} is\n", "a.csv: line 2: the row has 2 cells"),
        ("a.tsv", b"x\ty\n", "a.tsv: line 1: has 2 columns"),
        ("a.tsv", b"\xff\xfe", "a.tsv: not UTF-8 at byte 0"),
        ("a.json", b"\xff\xfe", "a.json: not UTF-8 at byte 0"),
    ):
        give(panel, name, content)
        assert said in panel.message and panel.drafts == ()
        assert 'role="alert"' in panel._message.value
    assert facts_from_bytes(b'[{"subject": "x", "prompt": "{} is", "target": "y"}]', "other") == [
        Fact("x", "{} is", "y")
    ]


def test_a_file_over_the_limit_is_refused_with_the_way_around(panel: FactsPanel) -> None:
    """The browser sends none of it, only how large it is."""
    told = {"kind": "piece", "token": "a", "name": "large.json", "size": 101 * 2**20, "at": 0}
    panel.upload_button._handle_custom_msg(told, [])
    assert panel.message == (
        "large.json: 101 MiB, and an upload has 100 MiB at most; put it where the kernel runs and "
        'read it in a cell: wb.facts = read_facts("facts.json")'
    )
    assert "read_facts" in alphaedit_core.__all__ and panel.drafts == ()


def test_pieces_that_are_missing_or_of_an_older_file_are_not_taken(panel: FactsPanel) -> None:
    content = json.dumps([fact.to_dict() for fact in FACTS]).encode()
    told = {"kind": "piece", "name": "a.json", "size": len(content)}

    def send(token: str, at: int, size: int) -> None:
        part = content[at : at + size]
        panel.upload_button._handle_custom_msg(told | {"token": token, "at": at}, [part])

    send("one", 0, 50)
    send("two", 0, 80)
    send("one", 50, len(content))
    assert panel.drafts == () and panel.message == ""
    send("two", 80, len(content))
    assert panel.facts == list(FACTS)
    send("three", 0, 50)
    send("three", 60, len(content))
    assert panel.message == "a.json: did not arrive whole; upload it again"
    assert panel.facts == list(FACTS)


def test_examples_are_loaded_once(panel: FactsPanel) -> None:
    examples = example_facts()
    panel.add(examples[0].subject, examples[0].prompt, "Vienna")
    panel.examples_button.click()
    assert len(panel.facts) == len(examples) == len(panel.drafts)
    assert panel.facts[0].target == "Vienna"
    assert panel.facts[1:] == examples[1:]
    assert "4 neighbours" in panel.editor.rows[1]["extra"]
    panel.examples_button.click()
    assert len(panel.drafts) == len(examples) and "already" in panel.message


def test_rows_are_copied_deleted_and_brought_back(panel: FactsPanel, browser: Browser) -> None:
    panel.facts = FACTS
    panel.select(2)
    browser.ask("duplicate", key=browser.key(1))
    assert panel.selected == 1 and panel.drafts[1].subject == FACTS[0].subject
    assert "same as row 1" in panel.statuses[1]
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
        with pytest.raises(InputError, match="no row with the index"):
            panel.delete(wrong)  # type: ignore[arg-type]


def test_the_paste_box_opens_and_closes(panel: FactsPanel) -> None:
    shown = [panel._pasting.layout.display]
    for _ in range(2):
        panel.paste_button.click()
        shown.append(panel._pasting.layout.display)
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


# -- old targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        (" Paris, the capital of France.", "Paris"),
        (" New York City. It is", "New York City"),
        (" New York in the", "New York"),
        (' "Paris" and', "Paris"),
        (" Lyon (France)", "Lyon"),
        (" the city of Rome", "the"),
        ("\n\n1889 by Gustave", "1889"),
        (" A Very Long Name Indeed It Is", "A Very Long Name"),
        (" 3.5. It", "3.5"),
        ("日本の首都", "日本"),
        ("カタカナー、です", "カタカナー"),
        (" Saint-Étienne's", "Saint-Étienne's"),
        (" -5 degrees", "-5"),
        (" $75, which", "$75"),
        (" - a dash", "a"),
        (" U.S. Army and", "U.S. Army"),
        (" the U.S.", "the"),
        (" St. Louis, where", "St. Louis"),
        (" J. R. R. Tolkien.", "J. R. R. Tolkien"),
        (" Paris. The city", "Paris"),
        (" Vitamin C. The", "Vitamin C"),
        (" C++ and", "C++"),
        (" .NET by Microsoft", ".NET"),
        (" ...The end", "The"),
        (" U.S. The army", "U.S."),
        (" U.S. Army. The", "U.S. Army"),
        (" ...", ""),
        ("", ""),
        ("\n", ""),
    ],
)
def test_a_continuation_is_cut_to_its_first_word_or_name(text: str, cut: str) -> None:
    assert first_words(text) == cut


def test_old_targets_are_what_the_unedited_model_says(place: Path) -> None:
    session = EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    panel = FactsPanel(session)
    facts = [Fact(f.subject, f.prompt, f.target, f.target_true) for f in FACTS]
    untouched = tiny_model("llama")
    expected = [
        fact.target_true or first_words(complete(untouched, [fact.text])[0]) for fact in facts
    ]
    panel.facts = facts
    edit = RunPanel(panel.state)
    edit.run(block=True)
    assert session.applied == 1
    digest = session.weights_digest()
    job = panel.fill_old_targets(block=True)
    assert job is not None and job.where == "prompt 1 / 1"
    assert [draft.target_true for draft in panel.drafts] == expected
    assert session.weights_digest() == digest
    assert "old targets filled: " in panel.message

    # The same session: statuses are about what the model holds now.
    assert session.last_result is not None
    outcomes = ["applied" if o.written else "failed" for o in session.last_result.outcomes]
    assert panel.statuses == outcomes
    panel.change(0, group="x")
    assert panel.statuses == outcomes
    panel.change(0, target="Berlin")
    assert panel.statuses == ["ready", *outcomes[1:]]
    panel.change(0, target=facts[0].target)
    assert panel.statuses == outcomes
    session.undo()
    panel.state.touch()
    assert panel.statuses == ["ready"] * 4 == [row[-1] for row in shown(panel)]
    session.redo()
    panel.state.touch()
    assert [row[-1] for row in shown(panel)] == outcomes


def test_rows_may_change_while_the_model_is_asked(
    panel: FactsPanel, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def held(model: Any, prompts: list[str], monitor: Any) -> list[str]:
        seen.append(list(prompts))
        asked.set()
        assert go.wait(10)
        return [" Paris, France" if "Tower" in prompt else " ." for prompt in prompts]

    monkeypatch.setattr(old_targets_module, "complete", held)
    panel.add(*TOWER)
    panel.add("Big Ben", "{} is in", "Rome")
    panel.add("Tower Bridge", "{} is in", "paris")
    panel.add("Louvre", "{} is in", "", target_true="Paris")
    panel.add("no prompt", "", "x")
    panel.fill_button.click()
    assert asked.wait(10)
    assert panel.fill_button.disabled
    browser.type(1, target="Berlin")
    browser.ask("delete", key=browser.key(2))
    browser.type(5, subject="Big Ben", prompt="{} is in")
    go.set()
    assert panel.state.job is not None and panel.state.job.wait(10)
    assert seen == [["Eiffel Tower is in the city of", "Big Ben is in", "Tower Bridge is in"]]
    assert [(d.target, d.target_true) for d in panel.drafts] == [
        ("Berlin", "Paris"),
        ("paris", ""),
        ("", "Paris"),
        ("x", ""),
        ("", ""),
    ]
    said = "old targets filled: 1; the model says the new target already: 1; the model says no word"
    assert panel.message == f"{said}: 1"
    assert not panel.fill_button.disabled


def test_nothing_to_ask_starts_no_job(panel: FactsPanel) -> None:
    panel.add(*TOWER, target_true="Paris")
    assert panel.fill_old_targets() is None and panel.state.job is None
    assert "without an old target" in panel.message


# -- shared with other panels, and without a kernel ------------------------------------------------


def test_panels_of_one_state_stay_in_step(session: EditSession) -> None:
    state = State(session)
    one, other = FactsPanel(state), FactsPanel(state)
    Browser(one).type(1, subject="Rome", prompt="{} is", target="x")
    assert shown(one) == shown(other) != []
    other.add("Newton", "{} was", "Dutch")
    Browser(other).ask("select", key=Browser(other).key(2))
    assert "selected: Newton" in one._chosen.value
    assert one.editor.selected == Browser(one).key(2)
    one.delete(0)
    assert other.selected == 0 and "selected: Newton" in other._chosen.value


def test_selection_and_rows_reach_the_others_together(panel: FactsPanel) -> None:
    """Deleting a row above the selected one shows no other fact in between."""
    panel.facts = FACTS
    panel.select(2)
    seen: list[Fact | None] = []
    panel.state.observe(lambda _: seen.append(panel.state.fact), ["drafts", "selected"])
    panel.delete(0)
    assert set(seen) == {FACTS[2]}


def test_static_output_is_a_table_of_the_rows(panel: FactsPanel) -> None:
    panel.facts = FACTS
    panel.add("<img src=x onerror=alert(1)>", "{} & <b>", "x")
    panel.select(4)
    bundle = panel._repr_mimebundle_()
    html = bundle["text/html"]
    body = html.partition("<tbody>")[2]
    assert html.count("<table") == 1 and body.count("<tr>") == 5
    for fact in FACTS:
        assert fact.subject in html and fact.target in html
    assert "<img" not in html and "&lt;img" in html and "{} &amp; &lt;b&gt;" in html
    assert "<img" not in panel._chosen.value
    panel.paste_area.value = "<img src=x>\t1"
    panel.paste_rows_button.click()
    assert "<img" not in panel._message.value
    assert bundle["text/plain"] == (
        "FactsPanel(5 rows, 5 ready, selected: <img src=x onerror=alert(1)>)"
    )


def test_every_row_is_one_part_of_one_widget(panel: FactsPanel) -> None:
    def count(widget: Any) -> int:
        return 1 + sum(count(child) for child in getattr(widget, "children", ()))

    before = count(panel)
    panel.facts = [Fact(f"Tower {i}", "{} is in", "Rome") for i in range(100)]
    assert count(panel) == before and len(panel.editor.rows) == 101


def test_the_script_sends_messages_and_sets_texts_only() -> None:
    from alphaedit_widgets.components.inputs import script

    source = script("facts")
    assert "innerHTML" not in source and "insertAdjacentHTML" not in source
    # A changed trait could wait until the last one is answered, and come after a click.
    assert "save_changes" not in source and source.count("model.send(") == 1


@pytest.mark.parametrize(
    ("old", "new", "text", "expected"),
    [
        ("US", "Chile", "Unlike the USSR, the US has", "Unlike the USSR, the Chile has"),
        (
            "US",
            "Chile",
            "US's, (US), US-made, pre-US; BUS US2 US_x",
            "Chile's, (Chile), Chile-made, pre-Chile; BUS US2 US_x",
        ),
        ("Jean", "Ada", "Jean and Jean-Luc and Saint-Jean", "Ada and Jean-Luc and Saint-Jean"),
        ("C", "Rust", "C++, C#, C; C", "C++, C#, Rust; Rust"),
        ("Paris", "Rome", "Parisians of Paris", "Parisians of Rome"),
        ("co", "x", "CO co Co", "CO x Co"),
        ("U.S.", "Chile", "U.S.A. and the U.S. army", "U.S.A. and the Chile army"),
        ("東京", "京都", "今の東京は東京都の", "今の京都は京都都の"),
        ("ताज", "लाल", "ताजा ताज", "ताजा लाल"),
        ("กา", "x", "กา่ กา", "กา่ x"),
        ("Zoe\u0301", "Ada", "Zo\xe9 met Zo\xe9e", "Ada met Zo\xe9e"),
        ("👩", "x", "👩\u200d🔬 👩", "👩\u200d🔬 x"),
        ("a", "aa", "a a", "aa aa"),
        ("a.b", "$1", "a.b axb", "$1 axb"),
    ],
)
def test_a_new_subject_takes_the_old_ones_place_and_no_other(
    old: str, new: str, text: str, expected: str
) -> None:
    draft = Draft(old, "{} is", "x", paraphrases=(text, "{} {}"), neighbours=(text,))
    assert draft.typed(subject=new).paraphrases == (expected, "{} {}")
    assert draft.typed(subject=new).neighbours == (text,)


def test_a_control_token_is_said_on_its_row(panel: FactsPanel) -> None:
    token = panel.session.model.tokenizer.all_special_tokens[0]
    panel.add("Rome", "{} is", f"old {token}")
    panel.add("Paris", "{} is", "old")
    assert [row["extra"] for row in panel.editor.rows[-3:-1]] == [f"control token {token}", ""]
