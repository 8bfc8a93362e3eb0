"""The links of a chain one by one: does the model know what a multi-hop question rests on."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, Query

from .base import Metric, percent
from .questions import answered_correctly, open_questions

_TOKENS = 24


class SingleHops(Metric):
    """By what the model says."""

    name = "single_hops"
    title = "Instance-wise accuracy"
    formula = (
        "for every link of the new chain, its answer or an alias stands in the greedy answer to "
        f"the question about it, {_TOKENS} tokens"
    )
    source = "Zhong et al. 2023 (MQuAKE), section 3"
    unit = "% of records"
    note = (
        "By generation, without worked examples in front. A model can know every link and yet not "
        "the chain's end (multi_hop). A chain has links that were never edited, too: what the "
        "model did not know before counts against it."
    )
    needs = "questions about single links"
    default_for = ("mquake",)

    def queries(self, record: Record) -> list[Query]:
        return open_questions(record, "single-hop", _TOKENS)

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        return percent([all(answered_correctly(record, "single-hop", answers))])
