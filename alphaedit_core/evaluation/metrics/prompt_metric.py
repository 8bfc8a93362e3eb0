"""Metrics that judge every prompt of a prompt set alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from typing_extensions import override

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, Query

from .base import Metric, percent
from .judgments import Judgment
from .prompt_sets import PromptSet


class PromptMetric(Metric):
    """A prompt set with a judgment.

    Attributes:
        prompts: selects the prompts of a record. Wrap a function in ``staticmethod``.
        judgment: what to ask after each prompt, and how the answer counts.
        record_hit: combines the prompts' values, such as ``any`` or ``all``; None for their mean.
    """

    prompts: ClassVar[PromptSet]
    judgment: ClassVar[Judgment]
    record_hit: ClassVar[Callable[[Sequence[float]], float] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "judgment" in cls.__dict__:
            cls.needs_baseline = cls.judgment.needs_baseline

    @property
    @override
    def unavailable_reason(self) -> str:
        return self.judgment.unavailable_reason(self.context)

    @override
    def queries(self, record: Record) -> list[Query]:
        return [
            query
            for prompt in type(self).prompts(record)
            for query in self.judgment.queries(prompt)
        ]

    @override
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        remaining = iter(answers)
        hits = []
        for prompt in type(self).prompts(record):
            own = [next(remaining) for _ in self.judgment.queries(prompt)]
            hit = self.judgment.hit(prompt, own, self.context) if own else None
            if hit is not None:
                hits.append(hit)
        combine = type(self).record_hit
        return percent(hits if combine is None or not hits else [combine(hits)])
