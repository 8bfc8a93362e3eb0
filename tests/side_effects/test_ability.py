"""General ability: the likelihood of each option, F1 by its formula, and the table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ability_task_files import LONG
from examples import quiet
from hypothesis import given
from hypothesis import strategies as st
from tiny import WINDOW, tiny_model

from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.inference.scoring import rate
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor
from alphaedit_core.side_effects import ability as ability_module
from alphaedit_core.side_effects.ability import (
    DEFINITIONS,
    Ability,
    TaskAbility,
    likeliest,
    measure_ability,
    weighted_f1,
)
from alphaedit_core.side_effects.ability_tasks import NAMES, Item, Task, read_tasks

# -- likelihoods -----------------------------------------------------------------------------------


@torch.no_grad()
def plain(model: EditableModel, prompt: str, options: tuple[str, ...]) -> list[float]:
    """Return the sum of the log-probabilities of each option's tokens, with one pass per option."""
    sums = []
    for option in options:
        ids, _ = encode(model.tokenizer, prompt)
        goal = list(target_ids(model.tokenizer, prompt, option))
        logits = model.model(input_ids=torch.tensor([ids + goal])).logits[0].double()
        logprobs = logits[len(ids) - 1 : -1].log_softmax(dim=-1)
        sums.append(sum(float(row[t]) for row, t in zip(logprobs, goal, strict=True)))
    return sums


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
    """The sum, unlike the mean, favors options with fewer tokens."""
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


def test_all_options_are_scored_in_one_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_examples_that_do_not_fit_are_left_out() -> None:
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


def test_a_model_with_nan_logits_gives_no_answers(folder: Path) -> None:
    model = tiny_model(**LONG)
    with torch.no_grad():
        model.architecture.norm.weight[0] = torch.nan
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
    with pytest.raises(Canceled):
        measure_ability(model, read_tasks(folder), Monitor(None, lambda: True))


# -- numbers ---------------------------------------------------------------------------------------


def test_the_likeliest_option() -> None:
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
def test_f1_follows_its_formula(pairs: list[tuple[int, int | None]]) -> None:
    """F1 is the harmonic mean of the precision and recall of each label."""
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


def test_the_table_has_every_number_and_its_definition() -> None:
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
    assert "near or below chance (within two standard errors): MMLU; if" in found.note
    assert Ability((good,)).note == ""
    html = found._repr_html_()
    for name, definition in DEFINITIONS.items():
        assert f">{name}</th>" in html and name in repr(found)
        assert definition.partition(",")[0] in html
    assert "near or below chance (within two standard errors): MMLU" in html
    data = found.to_dict()
    assert data["tasks"]["mmlu"]["answers"] == [0, 0, None, 0]
    assert data["accuracy"] == found.accuracy and data["tasks"]["sst2"]["f1"] == f1
    json.dumps(data)


# -- published data sets ---------------------------------------------------------------------------


def test_published_files_are_read_completely(samples: Path) -> None:
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
