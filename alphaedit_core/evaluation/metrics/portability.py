"""Portability: answers that follow from the new fact without having been written."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, LikelihoodQuery, Query

from .base import Metric, percent, scores


class Portability(Metric):
    """Aliases, reasoning, the reverse relation."""

    name = "portability"
    title = "Portability"
    formula = "every token of the answer, or of one of its aliases, is the argmax after a question"
    source = "Yao et al. 2023; Zhang et al. 2024 (KnowEdit), section 4"
    note = "Teacher-forced. EasyEdit counts tokens of the published answer (portability_acc)."
    needs = "questions of portability"
    default_for = ("knowedit:paper",)

    def queries(self, record: Record) -> list[Query]:
        return [
            LikelihoodQuery(probe.prompt, answer)
            for probe in record.asked("portability")
            for answer in probe.answers
        ]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        found = iter(scores(answers))
        hits = []
        for probe in record.asked("portability"):
            exact = [next(found).exact for _ in probe.answers]
            if exact:
                hits.append(any(exact))
        return percent(hits)
