"""What a metric is: a formula with its source and direction, what it asks, and how it judges.

A metric never runs the model itself. It says what it wants to know of a record; the questions of
all metrics and all records are asked together (:func:`~.evaluate.evaluate`), each of them once,
and the answers are handed back. So a new metric is one short file, and as fast as the others.
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

#: Where the papers and EasyEdit define a number differently: whose definitions count.
Compat = Literal["paper", "easyedit"]


@dataclass(frozen=True)
class MetricContext:
    """What metrics go by beside the model's answers.

    Attributes:
        references: texts to compare with; None for none.
        before: what the unedited model answered; None where it was not asked.
        chat: whether the model has a chat template.
    """

    references: References | None = None
    before: Mapping[Query, Answer] | None = None
    chat: bool = False


class MetricInfo(ABC):
    """What a reader has to know of a number.

    Attributes:
        name: what tables and JSON call it, such as ``efficacy_accuracy``.
        title: the same for people.
        formula: how one record is judged, as a reader of the paper would write it, in plain text.
        source: paper and section, or whose toolkit.
        direction: which way is better.
        unit: what the number is: percent of records, bits times 100.
        note: what it does not say, or where others define it otherwise; "" for nothing.
        default_for: data sets of which it is one of the usual numbers, by their names; with
            ``:paper`` or ``:easyedit`` behind where it is only by one's definitions.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    direction: ClassVar[Direction] = "higher"
    unit: ClassVar[str] = "% of records, mean within each first"
    note: ClassVar[str] = ""
    default_for: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def missing_package(cls) -> str:
        """The package that it needs and that is not installed, with the remedy; "" for none."""
        return ""

    @classmethod
    def card(cls) -> dict[str, str]:
        """All but the data sets, ready for JSON."""
        fields = ("name", "title", "formula", "source", "direction", "unit", "note")
        return {field: getattr(cls, field) for field in fields}


class Metric(MetricInfo):
    """One number about a model's answers.

    Args:
        given: what else it goes by; None for nothing.

    Attributes:
        needs: what a record has to have, as it follows "no record has".
        needs_baseline: whether it compares with the unedited model. Then it asks where that was not
            asked yet, too: its answers may be those of the unedited model.
    """

    needs: ClassVar[str] = "anything that it asks for"
    needs_baseline: ClassVar[bool] = False

    def __init__(self, given: MetricContext | None = None) -> None:
        self.given = given or MetricContext()

    @property
    def unavailable_reason(self) -> str:
        """What it cannot do without and was not given, with the remedy; "" for nothing."""
        return self.missing_package()

    @abstractmethod
    def queries(self, record: Record) -> list[Query]:
        """What is to be known of a record; nothing where the metric means nothing for it."""

    @abstractmethod
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        """The record's value, of answers in the order of :meth:`queries`; None if there is none.

        The mean over all records that have a value is the metric's.
        """


class CompositeMetric(MetricInfo):
    """A number that is made from the means of others, not from records.

    Attributes:
        of: names of those others.
    """

    of: ClassVar[tuple[str, ...]]

    @abstractmethod
    def combine(self, means: Sequence[float]) -> float:
        """The number, of means in the order of :attr:`of`."""


def percent(hits: Sequence[float]) -> float | None:
    """The mean of numbers from 0 to 1, times 100; None of none."""
    return 100 * sum(hits) / len(hits) if hits else None


def scores(answers: Sequence[Answer]) -> list[Score]:
    """Answers to :class:`~.queries.LikelihoodQuery`."""
    return [answer for answer in answers if isinstance(answer, Score)]


def texts(answers: Sequence[Answer]) -> list[str]:
    """Answers to :class:`~.queries.GenerationQuery`."""
    return [answer for answer in answers if isinstance(answer, str)]
