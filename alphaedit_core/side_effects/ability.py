"""General ability: how well a model still answers questions that no edit is about.

The six tasks of Fang et al. 2025 (SST-2, MRPC, CoLA, RTE, NLI, MMLU), and two more of their
released code. A question stands behind a few answered ones, and the model's answer is the option
that is likeliest after it: the one with the largest *sum* of the log-likelihoods of its tokens, as
``acc`` of the LM Evaluation Harness has it (Gao et al. 2021). The options are single words and
letters; dividing by their length, as the released code does, would only favor a word for being
cut into more tokens.
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
    "no answer": "share of the items for which no option is the likeliest (equally likely ones, "
    "numbers that are none, a question longer than the model's window), %; they count as wrong",
    "n": "items asked",
    "shots": "answered examples before a question, on average: as many of those wanted as the "
    "model's window has room for",
}
"""Metric definitions, by the heading that stands over them."""

HEADINGS = ("task", *DEFINITIONS)
"""What stands over the columns of the table."""


@dataclass(frozen=True)
class TaskAbility:
    """How a model does at one task.

    Attributes:
        task: name of the task.
        title: the name for people.
        labels: index of the right option of each item.
        answers: index of the likeliest option; None where no option is that.
        chance: accuracy of guessing, %.
        shots: examples before a question, on average.
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
        """Share of the items that are answered rightly, %."""
        right = sum(a == b for a, b in zip(self.labels, self.answers, strict=True))
        return 100 * right / self.n

    @property
    def error(self) -> float:
        """Standard error of the accuracy, in points of a percent."""
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
    """How a model does at several tasks.

    Attributes:
        tasks: one for each task, in the order asked.
    """

    tasks: tuple[TaskAbility, ...]

    @property
    def accuracy(self) -> float:
        """Mean over the tasks, %."""
        return sum(one.accuracy for one in self.tasks) / len(self.tasks)

    @property
    def f1(self) -> float:
        """Mean over the tasks, %."""
        return sum(one.f1 for one in self.tasks) / len(self.tasks)

    def __getitem__(self, task: str) -> TaskAbility:
        """The numbers of one task, by its name."""
        return {one.task: one for one in self.tasks}[task]

    @property
    def note(self) -> str:
        """Tasks that the model is no better at than guessing, in words; "" for none."""
        guessed = [one.title for one in self.tasks if not one.above_chance]
        if not guessed:
            return ""
        return (
            f"within two standard errors of guessing, or under it: {', '.join(guessed)}; where the "
            "unedited model is, these cannot show what an edit costs"
        )

    def rows(self) -> list[tuple[str, ...]]:
        """The table: a row for each task, and their mean."""
        rows = [
            (
                one.title, f"{one.accuracy:.1f} ± {one.error:.1f}", f"{one.f1:.1f}",
                f"{one.chance:.1f}", f"{one.unanswerable:.1f}", str(one.n), f"{one.shots:.1f}",
            )
            for one in self.tasks
        ]  # fmt: skip
        return [*rows, ("mean", f"{self.accuracy:.1f}", f"{self.f1:.1f}", "", "", "", "")]

    def to_dict(self) -> dict[str, Any]:
        """All numbers, ready for JSON."""
        return {
            "accuracy": self.accuracy,
            "f1": self.f1,
            "tasks": {
                one.task: {
                    "accuracy": one.accuracy,
                    "standard_error": one.error,
                    "f1": one.f1,
                    "n": one.n,
                    "chance": one.chance,
                    "unanswerable": one.unanswerable,
                    "shots": one.shots,
                    "labels": list(one.labels),
                    "answers": list(one.answers),
                }
                for one in self.tasks
            },
        }

    def __repr__(self) -> str:
        return text_table(HEADINGS, self.rows())

    def _repr_html_(self) -> str:
        meanings = html_table(("number", "what it is"), list(DEFINITIONS.items()))
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return html_table(HEADINGS, self.rows()) + note + meanings


@using_model
def measure_ability(
    model: EditableModel, tasks: Sequence[Task], monitor: Monitor | None = None
) -> Ability:
    """Ask a model, as it stands, all questions of some tasks.

    Everything goes through the model together. Where a question is too long for the model's window
    with all examples before it, the last ones are left out.

    Args:
        model: the model.
        tasks: at least one, as :func:`~.ability_tasks.read_tasks` gives them.
        monitor: what to report to.

    Raises:
        InputError: if there is no task, or one without items.
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
        put = [[_put(model, task, item, monitor) for item in task.items] for task in tasks]
        asked = [one for questions in put for one in questions if one is not None]
        # In one call: what prompts have in common, as the examples, need not be read twice.
        pairs = [(one.prompt, option) for one in asked for option, _ in one.options]
        ratings = rate(model, pairs, monitor=monitor, done=monitor.advance)
        scores = iter(rating.score for rating in ratings)
        found = []
        for task, questions in zip(tasks, put, strict=True):
            answers = [
                None if one is None else likeliest([next(scores).nll * n for _, n in one.options])
                for one in questions
            ]
            found.append(
                TaskAbility(
                    task.name,
                    task.title,
                    tuple(item.label for item in task.items),
                    tuple(answers),
                    100 * sum(1 / len(item.options) for item in task.items) / len(task.items),
                    sum(one.shots for one in questions if one) / len(task.items),
                )
            )
    return Ability(tuple(found))


def ability_of_states(
    session: EditSession,
    tasks: Sequence[Task],
    states: Sequence[int],
    monitor: Monitor | None = None,
) -> dict[int, Ability]:
    """The ability in several states of a session; the weights are as before afterwards.

    Args:
        session: the session.
        tasks: as for :func:`measure_ability`.
        states: numbers of edits; 0 is the unedited model.
        monitor: what to report to.

    Raises:
        InputError: as :func:`measure_ability`.
        SessionError: if there is no such state, or another thread uses the model.
        Canceled: if canceled.
    """
    monitor, edits = monitor or Monitor(), len(session.history)
    wanted = [as_integer(number) for number in states]
    for number, whole in zip(states, wanted, strict=True):
        if whole is None or not 0 <= whole <= edits:
            raise SessionError(f"there is no state {number}; give 0 to {edits}")
    states = [number for number in wanted if number is not None]
    found: dict[int, Ability] = {}
    with session.model.exclusive(), monitor.stage("states", len(states), "state"):
        for number in states:
            with session.at_state(number):
                found[number] = measure_ability(session.model, tasks, monitor)
            monitor.advance()
    return found


def likeliest(nlls: Sequence[float]) -> int | None:
    """Index of the smallest number; None if two are equally small, or one is not finite."""
    if not all(math.isfinite(nll) for nll in nlls):
        return None
    best = min(nlls)
    return nlls.index(best) if nlls.count(best) == 1 else None


def weighted_f1(labels: Sequence[int], answers: Sequence[int | None]) -> float:
    """F1 of each label that occurs, their mean weighted with how often it does; 0 to 1."""
    pairs, total = list(zip(labels, answers, strict=True)), 0.0
    for label in set(labels):
        support = sum(a == label for a, _ in pairs)
        hits = sum(a == b == label for a, b in pairs)
        said = sum(b == label for _, b in pairs)
        # 2 TP / (2 TP + FP + FN): what is said and what is true, each hit counted in both.
        total += support * 2 * hits / (said + support)
    return total / len(pairs)


@dataclass(frozen=True)
class _Put:
    """An item as a model is asked it.

    Attributes:
        prompt: examples and question.
        options: the options, each with the number of its tokens as it follows.
        shots: examples that it has.
    """

    prompt: str
    options: list[tuple[str, int]]
    shots: int


def _put(model: EditableModel, task: Task, item: Item, monitor: Monitor) -> _Put | None:
    """An item with as many examples as fit; None where not even the question does."""
    monitor.check()
    room = model.max_length
    lengths = [len(target_ids(model.tokenizer, item.question, one)) for one in item.options]
    if not all(lengths):
        return None
    options = list(zip(item.options, lengths, strict=True))
    for shots in range(len(task.examples), -1, -1):
        prompt = task.prompt(item, shots)
        ids, _ = encode(model.tokenizer, prompt)
        if room is None or len(ids) + max(lengths) <= room:
            return _Put(prompt, options, shots)
    return None
