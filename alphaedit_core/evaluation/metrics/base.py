"""What a metric is: a formula with source and direction, its queries, and its value of a record.

A metric never runs the model. It returns the queries of a record; :func:`~.evaluate.evaluate` runs
the queries of all metrics and all records together, each once, and hands the answers back. So a new
metric is one short class and as fast as the others. Most are a prompt set with a judgment
(:class:`~.prompt_metric.PromptMetric`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from alphaedit_core.data.records import Record
from alphaedit_core.data.reference_texts import References
from alphaedit_core.inference.queries import Answer, Query
from alphaedit_core.inference.scores import Score

Direction = Literal["higher", "lower"]

#: Whose definition applies where the papers and EasyEdit differ.
Compat = Literal["paper", "easyedit"]


@dataclass(frozen=True)
class MetricContext:
    """What metrics use besides the model's answers.

    Attributes:
        references: texts to compare with; None for none.
        before: answers of the unedited model; None if it was not evaluated.
        chat: whether the model has a chat template.
    """

    references: References | None = None
    before: Mapping[Query, Answer] | None = None
    chat: bool = False


class MetricInfo(ABC):
    """What a reader has to know about a number.

    Attributes:
        name: identifier in tables and JSON, such as ``efficacy_accuracy``.
        title: the name for people.
        formula: how one record is judged, as in the paper, in plain text.
        source: paper and section, or toolkit.
        direction: which way is better.
        unit: the unit, such as percent of records, or bits times 100.
        note: limits of the number, or other definitions of it; "" for none.
        default_for: names of the data sets that it is measured on by default, followed by
            ``:paper`` or ``:easyedit`` if only by these definitions.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = "% of prompts, mean per record, then over records"
    note: ClassVar[str] = ""
    default_for: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing_package(cls) -> str:
        """Return which required package is not installed, with the remedy; "" for none."""
        return ""

    @classmethod
    def card(cls) -> dict[str, str]:
        """Return everything but the data sets, ready for JSON."""
        fields = ("name", "title", "formula", "source", "direction", "unit", "note")
        return {field: getattr(cls, field) for field in fields}


class Metric(MetricInfo):
    """One number computed from a model's answers.

    Args:
        context: what else the metric uses; None for nothing.

    Attributes:
        needs: what a record must have, as it follows "no record has".
        needs_baseline: whether the metric compares with the unedited model. Its queries then run
            even without a baseline, as the model may be the unedited one.
    """

    needs: ClassVar[str] = "anything to query"
    needs_baseline: ClassVar[bool] = False

    def __init__(self, context: MetricContext | None = None) -> None:
        self.context = context or MetricContext()

    @property
    def unavailable_reason(self) -> str:
        """Why the metric has no value, with the remedy; "" if it has one."""
        return self.missing_package()

    @abstractmethod
    def queries(self, record: Record) -> list[Query]:
        """Return the queries of a record; none if the metric does not apply to it."""

    @abstractmethod
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        """Return the record's value, or None if it has none.

        The metric is the mean over all records with a value.

        Args:
            record: the record.
            answers: in the order of :meth:`queries`.
        """


class CompositeMetric(MetricInfo):
    """A number computed from the means of other metrics.

    Attributes:
        of: names of the other metrics.
    """

    of: ClassVar[tuple[str, ...]]

    @abstractmethod
    def combine(self, means: Sequence[float]) -> float:
        """Return the number, given the means in the order of :attr:`of`."""


def percent(hits: Sequence[float]) -> float | None:
    """Return the mean of numbers from 0 to 1, times 100; None if there are none."""
    return 100 * sum(hits) / len(hits) if hits else None


def scores(answers: Sequence[Answer]) -> list[Score]:
    """Return the answers to :class:`~.queries.LikelihoodQuery`."""
    return [answer for answer in answers if isinstance(answer, Score)]


def texts(answers: Sequence[Answer]) -> list[str]:
    """Return the answers to :class:`~.queries.GenerationQuery`."""
    return [answer for answer in answers if isinstance(answer, str)]
