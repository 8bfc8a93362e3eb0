"""Multi-hop questions: does the model reason with the new facts."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, Query

from .base import Metric, percent
from .questions import answered_correctly, open_questions

_TOKENS = 24


class MultiHop(Metric):
    """By what the model says."""

    name = "multi_hop"
    title = "Multi-hop accuracy"
    formula = (
        "the new answer or an alias stands in the greedy answer to any of the case's multi-hop "
        f"questions, {_TOKENS} tokens"
    )
    source = "Zhong et al. 2023 (MQuAKE), section 3"
    unit = "% of records"
    note = (
        "By generation, without worked examples or a chain of thought in front. multi_hop_tokens "
        "is the teacher-forced variant, a mean over the questions."
    )
    needs = "multi-hop questions"
    default_for = ("mquake",)

    def queries(self, record: Record) -> list[Query]:
        return open_questions(record, "multi-hop", _TOKENS)

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        return percent([any(answered_correctly(record, "multi-hop", answers))])
