"""General ability: accuracy and F1 on questions unrelated to the edits.

The tasks are the six of Fang et al. 2025 (SST-2, MRPC, CoLA, RTE, NLI, MMLU) and two more from
their released code. A question follows a few answered examples. The model's answer is the option
with the largest *sum* of the log-likelihoods of its tokens, like ``acc`` in the LM Evaluation
Harness (Gao et al. 2021). The options are single words and letters. Dividing by the number of
tokens, as the released code does, would favor words that are split into more tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alphaedit_core.display.escaping import escape
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.inference.scoring import rate
from alphaedit_core.integers import as_integer
from alphaedit_core.model.editable_model import EditableModel, using_model
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession

from .ability_tasks import Item, Task

DEFINITIONS: Mapping[str, str] = {
    "accuracy": "share of the items whose right option is the likeliest one, %; higher is better. "
    "After ± the standard error, √(p (1 − p) / n)",
    "F1": "weighted, as in the released code of Fang et al. 2025: 2 TP / (2 TP + FP + FN) of each "
    "label, mean weighted with the number of items that have the label, %; higher is better. A "
    "model that gives one of two equally frequent answers always has 33",
    "chance": "accuracy of guessing: mean of 1 / number of options, %",
    "no answer": "share of the items without a single likeliest option (a tie, likelihoods that "
    "are not finite, or a question longer than the model's window), %; they count as wrong",
    "n": "number of items",
    "shots": "mean number of answered examples before a question; fewer than requested if the "
    "window of the model is too short",
}
"""Metric definitions, by column heading."""

HEADINGS = ("task", *DEFINITIONS)
"""Column headings of the table."""


@dataclass(frozen=True)
class TaskAbility:
    """Results of a model on one task.

    Attributes:
        task: name of the task.
        title: display name of the task.
        labels: index of the correct option of each item.
        answers: index of the likeliest option of each item; None if there is no single one.
        chance: accuracy of guessing, %.
        shots: mean number of examples before a question.
    """

    task: str
    title: str
    labels: tuple[int, ...]
    answers: tuple[int | None, ...]
    chance: float
    shots: float

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.labels)

    @property
    def accuracy(self) -> float:
        """Share of the items with the correct answer, %."""
        correct = sum(a == b for a, b in zip(self.labels, self.answers, strict=True))
        return 100 * correct / self.n

    @property
    def error(self) -> float:
        """Standard error of the accuracy, in percentage points."""
        share = self.accuracy / 100
        return 100 * math.sqrt(share * (1 - share) / self.n)

    @property
    def f1(self) -> float:
        """Weighted F1, %; see ``DEFINITIONS``."""
        return 100 * weighted_f1(self.labels, self.answers)

    @property
    def above_chance(self) -> bool:
        """Whether the accuracy is more than two standard errors above guessing."""
        return self.accuracy - self.chance > 2 * self.error

    @property
    def unanswerable(self) -> float:
        """Share of the items without an answer, %."""
        return 100 * self.answers.count(None) / self.n


@dataclass(frozen=True)
class Ability:
    """Results of a model on several tasks.

    Attributes:
        tasks: results of each task, in the given order.
    """

    tasks: tuple[TaskAbility, ...]

    @property
    def accuracy(self) -> float:
        """Mean accuracy over the tasks, %."""
        return sum(task.accuracy for task in self.tasks) / len(self.tasks)

    @property
    def f1(self) -> float:
        """Mean F1 over the tasks, %."""
        return sum(task.f1 for task in self.tasks) / len(self.tasks)

    def __getitem__(self, task: str) -> TaskAbility:
        """Return the results of one task by name."""
        return {result.task: result for result in self.tasks}[task]

    @property
    def note(self) -> str:
        """A warning that names the tasks with an accuracy near or below chance; "" for none."""
        near_chance = [task.title for task in self.tasks if not task.above_chance]
        if not near_chance:
            return ""
        return (
            f"accuracy near or below chance (within two standard errors): {', '.join(near_chance)};"
            " if this holds for the unedited model, these tasks cannot show the cost of an edit"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table: a row per task, and a row of means."""
        rows = [
            (
                task.title, f"{task.accuracy:.1f} ± {task.error:.1f}", f"{task.f1:.1f}",
                f"{task.chance:.1f}", f"{task.unanswerable:.1f}", str(task.n), f"{task.shots:.1f}",
            )
            for task in self.tasks
        ]  # fmt: skip
        return [*rows, ("mean", f"{self.accuracy:.1f}", f"{self.f1:.1f}", "", "", "", "")]

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as JSON-serializable values."""
        return {
            "accuracy": self.accuracy,
            "f1": self.f1,
            "tasks": {
                task.task: {
                    "accuracy": task.accuracy,
                    "standard_error": task.error,
                    "f1": task.f1,
                    "n": task.n,
                    "chance": task.chance,
                    "unanswerable": task.unanswerable,
                    "shots": task.shots,
                    "labels": list(task.labels),
                    "answers": list(task.answers),
                }
                for task in self.tasks
            },
        }

    def __repr__(self) -> str:
        return text_table(HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        definitions = html_table(("number", "definition"), list(DEFINITIONS.items()))
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return html_table(HEADINGS, self.rows()) + note + definitions


@using_model
def measure_ability(
    model: EditableModel, tasks: Sequence[Task], monitor: Monitor | None = None
) -> Ability:
    """Measure a model with its current weights on some tasks.

    All questions are scored in one call. If a question with all examples is longer than the model's
    window, the last examples are left out.

    Args:
        model: the model.
        tasks: at least one task, as returned by :func:`~.ability_tasks.read_tasks`.
        monitor: receives progress.

    Raises:
        InputError: if ``tasks`` is empty, or a task has no items.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    if not tasks:
        raise InputError("there is no task; give at least one")
    for task in tasks:
        if not task.items:
            raise InputError(f'task "{task.name}" has no items; give at least one')
    total = sum(len(item.options) for task in tasks for item in task.items)
    with monitor.stage("ability", total, "option"):
        by_task = [[_question(model, task, item, monitor) for item in task.items] for task in tasks]
        asked = [q for questions in by_task for q in questions if q is not None]
        # One call for all, so that shared beginnings such as the examples are computed once.
        pairs = [(q.prompt, option) for q in asked for option, _ in q.options]
        ratings = rate(model, pairs, monitor=monitor, done=monitor.advance)
        scores = iter(rating.score for rating in ratings)
        results = []
        for task, questions in zip(tasks, by_task, strict=True):
            answers = [
                None if q is None else likeliest([next(scores).nll * n for _, n in q.options])
                for q in questions
            ]
            results.append(
                TaskAbility(
                    task.name,
                    task.title,
                    tuple(item.label for item in task.items),
                    tuple(answers),
                    100 * sum(1 / len(item.options) for item in task.items) / len(task.items),
                    sum(q.shots for q in questions if q) / len(task.items),
                )
            )
    return Ability(tuple(results))


def ability_of_states(
    session: EditSession,
    tasks: Sequence[Task],
    states: Sequence[int],
    monitor: Monitor | None = None,
) -> dict[int, Ability]:
    """Measure several states of a session, and restore the weights afterwards.

    Args:
        session: the session.
        tasks: as for :func:`measure_ability`.
        states: numbers of edits, including undone ones; 0 is the unedited model.
        monitor: receives progress.

    Returns:
        The ability by number of edits.

    Raises:
        InputError: as for :func:`measure_ability`.
        SessionError: if a state does not exist, or another thread uses the model.
        Canceled: if canceled.
    """
    monitor, edits = monitor or Monitor(), len(session.history)
    integers = [as_integer(number) for number in states]
    for number, integer in zip(states, integers, strict=True):
        if integer is None or not 0 <= integer <= edits:
            raise SessionError(f"there is no state {number}; give 0 to {edits}")
    states = [number for number in integers if number is not None]
    by_state: dict[int, Ability] = {}
    with session.model.exclusive(), monitor.stage("states", len(states), "state"):
        for number in states:
            with session.at_state(number):
                by_state[number] = measure_ability(session.model, tasks, monitor)
            monitor.advance()
    return by_state


def likeliest(nlls: Sequence[float]) -> int | None:
    """Return the index of the smallest number; None for a tie, or if a number is not finite."""
    if not all(math.isfinite(nll) for nll in nlls):
        return None
    best = min(nlls)
    return nlls.index(best) if nlls.count(best) == 1 else None


def weighted_f1(labels: Sequence[int], answers: Sequence[int | None]) -> float:
    """Return the mean F1 of the labels that occur, weighted by their frequency; 0 to 1."""
    pairs, total = list(zip(labels, answers, strict=True)), 0.0
    for label in set(labels):
        support = sum(a == label for a, _ in pairs)
        hits = sum(a == b == label for a, b in pairs)
        predicted = sum(b == label for _, b in pairs)
        # 2 TP / (2 TP + FP + FN), with TP + FP = predicted and TP + FN = support.
        total += support * 2 * hits / (predicted + support)
    return total / len(pairs)


@dataclass(frozen=True)
class _Question:
    """An item as a prompt for one model.

    Attributes:
        prompt: examples and question.
        options: each option with its number of tokens after the prompt.
        shots: number of examples.
    """

    prompt: str
    options: list[tuple[str, int]]
    shots: int


def _question(model: EditableModel, task: Task, item: Item, monitor: Monitor) -> _Question | None:
    """Return an item with as many examples as fit; None if even the question does not fit."""
    monitor.check()
    limit = model.max_length
    lengths = [len(target_ids(model.tokenizer, item.question, text)) for text in item.options]
    if not all(lengths):
        return None
    options = list(zip(item.options, lengths, strict=True))
    for shots in range(len(task.examples), -1, -1):
        prompt = task.prompt(item, shots)
        ids, _ = encode(model.tokenizer, prompt)
        if limit is None or len(ids) + max(lengths) <= limit:
            return _Question(prompt, options, shots)
    return None
