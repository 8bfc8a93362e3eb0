"""General ability: files, examples, likelihoods option by option, F1 by its formula, command."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Workplace
from examples import CONTEXTS, FACTS, quiet, small
from hypothesis import given
from hypothesis import strategies as st
from tiny import WINDOW, prose, tiny_model

from alphaedit_core.errors import Cancelled, InputError, SessionError
from alphaedit_core.inference.completions import complete
from alphaedit_core.inference.scoring import rate
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects import ability as ability_module
from alphaedit_core.side_effects.ability import (
    DEFINITIONS,
    Ability,
    TaskAbility,
    ability_of_states,
    likeliest,
    measure_ability,
    weighted_f1,
)
from alphaedit_core.side_effects.ability_tasks import NAMES, Item, Task, read_tasks

#: Long enough for four examples of our own items.
LONG = {"max_position_embeddings": 512}


def binary(number: int, **fields: Any) -> dict[str, Any]:
    return {"label": number % 2, "idx": number} | fields


#: How an item of each task is written, by a number.
WRITTEN: dict[str, Any] = {
    "sst2": lambda n: binary(n, sentence=f"{prose(4, n)} is old, {n} times "),
    "mrpc": lambda n: binary(n, sentence1=f"Rome has {n}.", sentence2="Rome is {old}."),
    "cola": lambda n: binary(n, sentence=f"{prose(6, n)} were {n}."),
    "rte": lambda n: binary(n, sentence1=f"Italy has {n}.", sentence2="Italy is old."),
    "nli": lambda n: {
        "index": str(n), "sentence1": f"Japan has {n}.", "sentence2": "It is in Europe.",
        "label": ("entailment", "not_entailment")[n % 2],
    },
    "mmlu": lambda n: {
        "question": f"What is {n}?", "subject": "x", "choices": ["Rome", "3", prose(3, n), "No"],
        "answer": n % 4,
    },
    "sentiment_analysis": lambda n: {"sentence": f"so old, {n} . ' ", "label": str(n % 2)},
    "dialogue": lambda n: {
        "answers": "ABC"[n % 3], "article": f"f : {prose(5, n)} . m : no .", "id": f"dev_{n}",
        "options": ["f : well .", "f : and {n} ?", "m : Rome ?"],
    },
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file for every task, 12 items each."""
    place = tmp_path / "tasks"
    place.mkdir()
    for name, written in WRITTEN.items():
        write(place / f"{name}.json", [written(n) for n in range(12)])
    (place / "notes.json").write_text("not a task")
    return place


def write(file: Path, content: object) -> Path:
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


# -- files -----------------------------------------------------------------------------------------


def test_every_task_is_read_and_asked_in_words(folder: Path) -> None:
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


def test_examples_are_of_the_end_balanced_and_never_asked(folder: Path) -> None:
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


def test_how_many_are_asked(folder: Path) -> None:
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
        ("mmlu", {"choices": ["one"]}, r'item 3: choices \["one"\] is no list of 2 to 8 texts'),
        ("mmlu", {"choices": ["a", ""]}, 'item 3: choices B: "" is blank'),
        ("mmlu", {"answer": 4}, "item 3: answer 4 is not known; write A, B, C, D, 0, 1, 2, 3"),
        ("dialogue", {"answers": "D"}, 'item 3: answers "D" is not known; write A, B, C'),
    ],
)  # fmt: skip
def test_a_wrong_item_is_named(
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
def test_a_file_that_is_no_task(folder: Path, content: bytes, message: str) -> None:
    (folder / "rte.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"rte\.json: .*{message}"):
        read_tasks(folder)


def test_what_cannot_be_read_is_refused(folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for place, how, message in (
        (folder, {"limit": 0}, "limit 0 is not a number from 1"),
        (folder, {"shots": -1}, "shots -1 is not a number from 0"),
        (folder, {"shots": 2.5}, "shots 2.5 is not"),
        (folder, {"names": ["glue"]}, 'task "glue" is not known; possible are sst2'),
        (empty, {}, "holds no task; put files into it that are named after sst2.json"),
        (tmp_path / "none", {}, "no such folder"),
        ([], {}, "no file of a task is given"),
        ([folder / "notes.json"], {}, "no task has this name"),
        ([folder / "rte.json", folder / "rte.json"], {}, "a task is named twice"),
        ([folder / "rte.json"], {"names": ["cola"]}, 'task "cola": there is no cola.json'),
        ([tmp_path / "rte.json"], {}, r"cannot be read \(No such file"),
    ):
        with pytest.raises(InputError, match=message):
            read_tasks(place, **how)  # type: ignore[arg-type]


# -- likelihoods -----------------------------------------------------------------------------------


@torch.no_grad()
def plain(model: EditableModel, prompt: str, options: tuple[str, ...]) -> list[float]:
    """The sum of the log-probabilities of each option's tokens, a pass for each."""
    found = []
    for option in options:
        ids, _ = encode(model.tokenizer, prompt)
        goal = list(target_ids(model.tokenizer, prompt, option))
        logits = model.model(input_ids=torch.tensor([ids + goal])).logits[0].double()
        given = logits[len(ids) - 1 : -1].log_softmax(dim=-1)
        found.append(sum(float(row[t]) for row, t in zip(given, goal, strict=True)))
    return found


@pytest.mark.parametrize("shots", [0, 2])
@pytest.mark.parametrize("layout", ["llama", "gpt2"])
def test_answers_are_the_options_of_largest_likelihood(
    layout: str, shots: int, folder: Path
) -> None:
    fields: dict[str, Any] = {"n_positions": 512} if layout == "gpt2" else LONG
    model = tiny_model(layout, seed=1, dtype=torch.float64, **fields)
    tasks = read_tasks(folder, 7, shots)
    found = measure_ability(model, tasks, quiet())
    for task, one in zip(tasks, found.tasks, strict=True):
        sums = [plain(model, task.prompt(item), item.options) for item in task.items]
        expected = [own.index(max(own)) for own in sums]
        assert list(one.answers) == expected
        labels = [item.label for item in task.items]
        assert one.labels == tuple(labels)
        right = sum(a == b for a, b in zip(expected, labels, strict=True))
        assert one.accuracy == pytest.approx(100 * right / 7)
        assert (one.n, one.shots, one.unanswerable) == (7, shots, 0.0)
    assert any(len(set(one.answers)) > 1 for one in found.tasks), "answers must not all be alike"


def test_options_of_several_tokens_are_summed() -> None:
    """By hand: of equal means the shorter option is the likelier one."""
    model = tiny_model(dtype=torch.float64)
    options = ("Rome", "in the city of Paris", "Italy and Rome")
    task = Task("own", tuple(Item(f"{n} Newton is", options, 0) for n in range(12)))
    [one] = measure_ability(model, [task], quiet()).tasks
    sums = [plain(model, item.question, options) for item in task.items]
    assert one.answers == tuple(own.index(max(own)) for own in sums)
    lengths = [len(target_ids(model.tokenizer, "is", option)) for option in options]
    assert len(set(lengths)) > 1
    means = [[s / n for s, n in zip(own, lengths, strict=True)] for own in sums]
    assert one.answers != tuple(own.index(max(own)) for own in means)
    assert one.title == "own" and one.chance == pytest.approx(100 / 3)


def test_everything_goes_in_one_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[tuple[str, str]]] = []

    def counted(model: Any, pairs: list[tuple[str, str]], **options: Any) -> Any:
        calls.append(pairs)
        return rate(model, pairs, **options)

    monkeypatch.setattr(ability_module, "rate", counted)
    tasks = read_tasks(folder, 5, 3)
    measure_ability(tiny_model(**LONG), tasks, quiet())
    assert calls == [
        [
            (task.prompt(item), option)
            for task in tasks
            for item in task.items
            for option in item.options
        ]
    ]


def test_examples_are_left_out_where_there_is_no_room() -> None:
    model = tiny_model()
    short, long = Item("Rome is", ("old", "new"), 0), Item("Newton " * 55 + "is", ("a", "b"), 1)
    never = Item("Paris " * 100, ("old", "new"), 0)
    task = Task("own", (short, long, never), (Item("Italy is in " * 4, ("old", "new"), 1),))
    lengths = [len(encode(model.tokenizer, task.prompt(i, 0))[0]) for i in task.items]
    assert lengths[0] < lengths[1] < WINDOW < lengths[2]
    [one] = measure_ability(model, [task], quiet()).tasks
    sums = [
        plain(model, task.prompt(short), short.options),
        plain(model, long.question, ("a", "b")),
    ]
    assert one.answers == (*(own.index(max(own)) for own in sums), None)
    assert one.shots == pytest.approx(1 / 3) and one.unanswerable == pytest.approx(100 / 3)


def test_a_model_that_says_nothing_answers_nothing(folder: Path) -> None:
    model = tiny_model(**LONG)
    with torch.no_grad():
        model.anatomy.norm.weight[0] = torch.nan
    [one] = measure_ability(model, read_tasks(folder, 4, 0, ["mmlu"]), quiet()).tasks
    assert one.answers == (None,) * 4
    assert (one.accuracy, one.f1, one.unanswerable) == (0.0, 0.0, 100.0)


def test_progress_counts_the_options(folder: Path) -> None:
    stages: dict[str, tuple[float, float | None]] = {}

    def show(stage: Any, *, closed: bool) -> None:
        stages[stage.name] = (stage.done, stage.total)

    measure_ability(tiny_model(**LONG), read_tasks(folder, 5, 1, ["rte", "mmlu"]), Monitor(show))
    assert stages == {"ability": (5 * 2 + 5 * 4, 5 * 2 + 5 * 4)}


def test_no_tasks_and_cancel(folder: Path) -> None:
    model = tiny_model(**LONG)
    with pytest.raises(InputError, match="there is no task"):
        measure_ability(model, [], quiet())
    with pytest.raises(InputError, match='task "own" has no items'):
        measure_ability(model, [Task("own", ())], quiet())
    with pytest.raises(Cancelled):
        measure_ability(model, read_tasks(folder), Monitor(None, lambda: True))


# -- numbers ---------------------------------------------------------------------------------------


def test_which_is_likeliest() -> None:
    assert likeliest([3.0, 1.0, 2.0]) == 1
    assert likeliest([1.0, 1.0, 2.0]) is None
    assert likeliest([2.0, 2.0, 1.0]) == 2
    assert likeliest([1.0, math.nan]) is None and likeliest([1.0, math.inf]) is None


def test_f1_by_hand() -> None:
    # Label 0: precision 2/3, recall 2/3; label 1: precision 1/1, recall 1/2.
    assert weighted_f1([0, 0, 0, 1, 1], [0, 0, None, 0, 1]) == pytest.approx(
        3 / 5 * (2 / 3) + 2 / 5 * (2 * 1 * 0.5 / 1.5)
    )
    assert weighted_f1([0, 1] * 5, [0] * 10) == pytest.approx(1 / 3)
    assert weighted_f1([0, 1], [0, 1]) == 1 and weighted_f1([0, 1], [None, None]) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(0, 3)), min_size=1))
def test_f1_is_its_formula(pairs: list[tuple[int, int | None]]) -> None:
    """Precision and recall of each label, and their harmonic mean."""
    labels, answers = [a for a, _ in pairs], [b for _, b in pairs]
    total = 0.0
    for label in range(4):
        true = sum(a == label and b == label for a, b in pairs)
        precision = true / max(1, answers.count(label))
        recall = true / max(1, labels.count(label))
        f1 = 2 * precision * recall / (precision + recall) if true else 0.0
        total += f1 * labels.count(label) / len(labels)
    assert weighted_f1(labels, answers) == pytest.approx(total)


def an_ability() -> Ability:
    good = TaskAbility("sst2", "SST-2", (0, 1) * 8, (0, 1) * 7 + (1, 1), 50.0, 4.0)
    poor = TaskAbility("mmlu", "MMLU", (0, 1, 2, 3), (0, 0, None, 0), 25.0, 3.5)
    return Ability((good, poor))


def test_the_table_has_every_number_and_what_it_means() -> None:
    found = an_ability()
    good, poor = found.tasks
    assert good.accuracy == 93.75 and good.error == pytest.approx(
        100 * (0.9375 * 0.0625 / 16) ** 0.5
    )
    assert good.above_chance and not poor.above_chance
    f1 = 100 * weighted_f1(good.labels, good.answers)
    assert found.rows() == [
        ("SST-2", "93.8 ± 6.1", f"{f1:.1f}", "50.0", "0.0", "16", "4.0"),
        ("MMLU", "25.0 ± 21.7", "12.5", "25.0", "25.0", "4", "3.5"),
        ("mean", "59.4", f"{(f1 + 12.5) / 2:.1f}", "", "", "", ""),
    ]
    assert found["mmlu"] is poor
    assert "guessing, or under it: MMLU; where" in found.note
    assert Ability((good,)).note == ""
    html = found._repr_html_()
    for name, meaning in DEFINITIONS.items():
        assert f">{name}</th>" in html and name in repr(found)
        assert meaning.partition(",")[0] in html
    assert "guessing, or under it: MMLU" in html
    told = found.to_dict()
    assert told["tasks"]["mmlu"]["answers"] == [0, 0, None, 0]
    assert told["accuracy"] == found.accuracy and told["tasks"]["sst2"]["f1"] == f1
    json.dumps(told)


# -- states and the command ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ability")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "complete", partial(complete, tokens=2))
        yield folder


def test_states_are_asked_as_they_are(place: Path, folder: Path) -> None:
    hp = small(place, ridge=0.01, steps=12, clamp_factor=3.0)
    session = EditSession(tiny_model(seed=1, **LONG), hyperparameters=hp, contexts=CONTEXTS[:1])
    tasks = read_tasks(folder, 6, 1)
    before = measure_ability(session.model, tasks, quiet())
    session.edit(FACTS[:2], monitor=quiet())
    after = measure_ability(session.model, tasks, quiet())
    session.undo()
    digest = session.weights_digest()
    found = ability_of_states(session, tasks, [0, 1], quiet())
    assert found == {0: before, 1: after} and before != after
    assert session.weights_digest() == digest
    with pytest.raises(SessionError, match="no state 2; give 0 to 1"):
        ability_of_states(session, tasks, [0, 2], quiet())
    stop = threading.Event()

    def show(stage: Any, *, closed: bool) -> None:
        if stage.name == "states" and stage.done == 1:
            stop.set()

    with pytest.raises(Cancelled):
        ability_of_states(session, tasks, [1, 0], Monitor(show, stop))
    assert session.weights_digest() == digest


class TestCommand:
    @pytest.fixture
    def work(self, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
        return Workplace(tmp_path / "work", capsys)

    def test_of_a_model_and_of_a_session(self, work: Workplace, folder: Path) -> None:
        how = ("--tasks", "rte, sst2", "--limit", 6, "--shots", 1)
        told = work.run("ability", folder, "--model", work.model, *how, "--json").json
        [state] = told["states"]
        assert (state["edits"], list(state["tasks"])) == (0, ["sst2", "rte"])
        assert (told["limit"], told["shots"], told["session"]) == (6, 1, None)
        kept = work.folder / "s"
        work.edit(work.facts, "--session", kept)
        both = work.run("ability", folder, "--session", kept, *how, "--json").json["states"]
        assert [one["edits"] for one in both] == [0, 1]
        assert both[0] == state
        ran = work.run("ability", folder, "--session", kept, *how, "--states", "1")
        assert (ran.code, ran.err) == (0, "")
        rows = [line.split()[:2] for line in ran.out.splitlines()[2:5]]
        assert rows == [["1", "SST-2"], ["1", "RTE"], ["1", "mean"]]

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--tasks", ","], '--tasks "," names none; give for example sst2,mmlu'),
            (["--tasks", "glue"], 'task "glue" is not known'),
            (["--states", "1"], "--states names states of a session; give --session, too"),
            (["--shots", "-1"], '"-1" is not a whole number'),
            (["--limit", "0"], '"0" is not a whole number above 0'),
            (["--shots", "12"], "too few for 12 examples"),
        ],
    )
    def test_what_is_refused_in_one_line(
        self, work: Workplace, folder: Path, more: list[str], message: str
    ) -> None:
        ran = work.run("ability", folder, "--model", work.folder / "no model", *more)
        assert (ran.code, ran.out) == (2, "")
        assert message in ran.err and ran.err.count("\n") == 1


# -- data sets as they are published ---------------------------------------------------------------


def test_published_files_are_read_whole(samples: Path) -> None:
    tasks = read_tasks(samples / "capability", limit=None)
    assert {task.name for task in tasks} == set(NAMES)
    for task in tasks:
        assert len(task.items) >= 20 and len(task.examples) == 4
        assert len({item.label for item in task.items}) == len(task.items[0].options)
        assert not {i.question for i in task.items} & {i.question for i in task.examples}
    model = tiny_model(max_position_embeddings=2048, dtype=torch.float64)
    some = read_tasks(samples / "capability", limit=20, shots=1, names=["cola", "mmlu"])
    for task, one in zip(some, measure_ability(model, some, quiet()).tasks, strict=True):
        sums = [plain(model, task.prompt(item), item.options) for item in task.items]
        assert list(one.answers) == [own.index(max(own)) for own in sums]
