"""Multi-hop questions: does the model reason with the new facts."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.records import Record

from .base import Answer, Ask, Metric, Written, percent, texts
from .matching import mentions

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

    def asks(self, record: Record) -> list[Ask]:
        return [
            Written(probe.prompt, _TOKENS) for probe in record.asked("multi-hop") if probe.answers
        ]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        probes = [probe for probe in record.asked("multi-hop") if probe.answers]
        pairs = zip(probes, texts(answers), strict=True)
        return percent([any(mentions(text, probe.answers) for probe, text in pairs)])
