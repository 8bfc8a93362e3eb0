"""Ability tasks: reading of files, the questions of items, and refusals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from ability_task_files import WRITTEN, write
from tiny import prose

from alphaedit_core.errors import InputError
from alphaedit_core.side_effects.ability_tasks import NAMES, Item, read_tasks


def test_every_task_is_read_and_turned_into_questions(folder: Path) -> None:
    tasks = read_tasks(folder, 5, 3)
    assert tuple(task.name for task in tasks) == NAMES == tuple(WRITTEN)
    asked = {task.name: task.items[2] for task in tasks}
    assert asked["sst2"] == Item(
        f"Review: {prose(4, 2)} is old, 2 times\nIs this review positive or negative? Answer:",
        ("negative", "positive"), 0,
    )  # fmt: skip
    assert asked["mrpc"].question.startswith("First: Rome has 2.\nSecond: Rome is {old}.\n")
    assert asked["rte"].answered.endswith("follow from the text? Answer: yes")
    assert tasks[3].items[1].answered.endswith("Answer: no"), "1 is not_entailment in RTE"
    assert asked["nli"] == Item(
        "Text: Japan has 2.\nClaim: It is in Europe.\nDoes the claim follow from the text? Answer:",
        ("yes", "no"), 0,
    )  # fmt: skip
    assert asked["mmlu"] == Item(
        f"Question: What is 2?\nA. Rome\nB. 3\nC. {prose(3, 2)}\nD. No\nAnswer:",
        ("A", "B", "C", "D"),
        2,
    )
    assert asked["dialogue"].options == ("A", "B", "C") and asked["dialogue"].label == 2
    assert asked["dialogue"].question.count("\nB. f : and {n} ?\n") == 1
    assert asked["sentiment_analysis"].label == 0
    assert [task.title for task in tasks][:3] == ["SST-2", "MRPC", "CoLA"]


def test_examples_come_from_the_end_and_are_balanced_and_not_items(folder: Path) -> None:
    for task in read_tasks(folder, 6, 4):
        written = [WRITTEN[task.name](n) for n in range(12)]
        assert len(task.items) == 6 and len(task.examples) == 4
        asked = {item.question for item in task.items}
        assert not asked & {item.question for item in task.examples}
        labels = Counter(item.label for item in task.examples)
        assert max(labels.values()) - min(labels.values()) <= 1, (task.name, labels)
        assert len(labels) == min(4, len(set(task.items[0].options)))
        assert len({item.question for item in task.examples}) == 4
        assert written
    assert read_tasks(folder, 6, 4) == read_tasks(folder, 6, 4, seed=0)
    other = [read_tasks(folder, 6, 4, seed=seed) for seed in range(4)]
    assert len({repr(tasks) for tasks in other}) == 4
    assert all(a.items == b.items for a, b in zip(other[0], other[1], strict=True))
    unbalanced = [WRITTEN["sst2"](2 * n) for n in range(9)] + [WRITTEN["sst2"](19)]
    [task] = read_tasks(write(folder / "sst2.json", unbalanced), 5, 4)
    assert Counter(item.label for item in task.examples) == {0: 3, 1: 1}


def test_the_number_of_items(folder: Path) -> None:
    def counts(**how: Any) -> tuple[int, int]:
        [task] = read_tasks(folder, names=["cola"], **how)
        return len(task.items), len(task.examples)

    assert counts() == (8, 4), "30 are wanted, and 4 examples have to remain"
    assert counts(limit=None, shots=0) == (12, 0)
    assert counts(limit=12, shots=2) == (10, 2)
    write(folder / "cola.json", [WRITTEN["cola"](n % 3) for n in range(12)])
    assert counts(limit=3, shots=4) == (3, 0), "what is asked is no example, however often it comes"


def test_a_prompt_has_the_examples_before_the_question(folder: Path) -> None:
    [task] = read_tasks(folder / "cola.json", 2, 2)
    item, (first, second) = task.items[1], task.examples
    assert task.prompt(item) == f"{first.answered}\n\n{second.answered}\n\n{item.question}"
    assert task.prompt(item, 1) == f"{first.answered}\n\n{item.question}"
    assert task.prompt(item, 0) == item.question


def test_files_can_be_named_one_by_one(folder: Path) -> None:
    files = [folder / "rte.json", folder / "sst2.json"]
    assert [task.name for task in read_tasks(files)] == ["sst2", "rte"]
    assert [task.name for task in read_tasks(str(folder), names=["rte", "mmlu"])] == ["rte", "mmlu"]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("sst2", {"label": 2}, 'item 3: label 2 is not known; write 0, 1'),
        ("sst2", {"label": True}, "item 3: label true is not known"),
        ("sst2", {"label": -1}, r"label -1 is not known \(a file without answers has -1\)"),
        ("sst2", {"sentence": " "}, 'item 3: sentence "" is blank; give a text'),
        ("sst2", {"sentence": 5}, "item 3: sentence 5 is a number; give a text"),
        ("mrpc", {"sentence2": None}, "item 3: sentence2 null is null; give a text"),
        ("nli", {"label": "neutral"}, 'label "neutral" is not known; write entailment, not_ent'),
        ("mmlu", {"choices": ["one"]}, r'item 3: choices \["one"\] is not a list of 2 to 8 texts'),
        ("mmlu", {"choices": ["a", ""]}, 'item 3: choices B: "" is blank'),
        ("mmlu", {"answer": 4}, "item 3: answer 4 is not known; write A, B, C, D, 0, 1, 2, 3"),
        ("dialogue", {"answers": "D"}, 'item 3: answers "D" is not known; write A, B, C'),
    ],
)  # fmt: skip
def test_an_invalid_item_is_named(
    folder: Path, name: str, change: dict[str, Any], message: str
) -> None:
    items = [WRITTEN[name](n) for n in range(12)]
    items[2] |= change
    write(folder / f"{name}.json", items)
    with pytest.raises(InputError, match=rf"{name}\.json: .*{message}") as caught:
        read_tasks(folder)
    assert "\n" not in str(caught.value)
    del items[2][next(iter(change))]
    write(folder / f"{name}.json", items)
    with pytest.raises(InputError, match=f'item 3: field "{next(iter(change))}" is missing'):
        read_tasks(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[{", "not valid JSON at line 1, column 3"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"{}", "the file holds an object; write a list"),
        (b"[]", "has 0 items, too few for 4 examples and a question"),
        (b"[3]", "item 1: 3 is a number; an item is an object"),
    ],
)
def test_a_file_that_is_not_a_task(folder: Path, content: bytes, message: str) -> None:
    (folder / "rte.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"rte\.json: .*{message}"):
        read_tasks(folder)


def test_invalid_arguments_are_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for place, how, message in (
        (folder, {"limit": 0}, "limit 0 is not a number from 1"),
        (folder, {"shots": -1}, "shots -1 is not a number from 0"),
        (folder, {"shots": 2.5}, "shots 2.5 is not"),
        (folder, {"names": ["glue"]}, 'task "glue" is not known; possible are sst2'),
        (empty, {}, "holds no task; add files with names such as sst2.json"),
        (tmp_path / "none", {}, "no such folder"),
        ([], {}, "no file of a task is given"),
        ([folder / "notes.json"], {}, "no task has this name"),
        ([folder / "rte.json", folder / "rte.json"], {}, "a task is named twice"),
        ([folder / "rte.json"], {"names": ["cola"]}, 'task "cola": there is no cola.json'),
        ([tmp_path / "rte.json"], {}, r"cannot be read \(No such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_tasks(place, **how)  # type: ignore[arg-type]
