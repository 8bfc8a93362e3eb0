"""What a metric is: a formula with its source and direction, what it asks, and how it judges.

A metric never runs the model itself. It says what it wants to know of a record; the questions of
all metrics and all records are asked together (:func:`~.evaluation.evaluate`), each of them once,
and the answers are handed back. So a new metric is one short file, and as fast as the others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from alphaedit_core.likelihood import Score
from alphaedit_core.records import Record

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Rated:
    """How likely is a target after a prompt? Answered by a :class:`~.likelihood.Score`.

    Attributes:
        prompt: the prompt.
        target: the target, as it follows the prompt in running text.
    """

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class Written:
    """How does the model go on after a prompt? Answered by the new text, without the prompt.

    Attributes:
        prompt: the prompt.
        tokens: length in tokens; of the new text, or with the prompt where ``whole`` is set.
        whole: whether the prompt counts.
        top_k: tokens that are drawn from at each place; 1 for the likeliest one.
        chat: whether the prompt is put as a user's message in the model's chat template.
    """

    prompt: str
    tokens: int
    whole: bool = False
    top_k: int = 1
    chat: bool = False


Ask = Rated | Written
Answer = Score | str


class Metric(ABC):
    """One number about a model's answers.

    Attributes:
        name: what tables and JSON call it, such as ``efficacy_accuracy``.
        title: the same for people.
        formula: how one record is judged, as a reader of the paper would write it, in plain text.
        source: paper and section, or whose toolkit.
        direction: which way is better.
        unit: what the number is: percent of records, bits times 100.
        note: what it does not say, or where others define it otherwise; "" for nothing.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = "% of records, mean within each first"
    note: ClassVar[str] = ""

    @abstractmethod
    def asks(self, record: Record) -> list[Ask]:
        """What is to be known of a record; nothing where the metric means nothing for it."""

    @abstractmethod
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        """The record's value, of answers in the order of :meth:`asks`; None if there is none.

        The mean over all records that have a value is the metric's.
        """
