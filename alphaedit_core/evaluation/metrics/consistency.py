"""Consistency: do generated texts use the words of texts about things that the new target fits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, Query

from . import questions
from .base import Metric, texts

_WORD = re.compile(r"\w\w+")


class Consistency(Metric):
    """TF-IDF cosine of a record's texts and reference texts."""

    name = "consistency"
    title = "Consistency"
    formula = (
        "cosine of the TF-IDF vectors of all generated texts of the record, joined, and of all "
        "reference texts about things that share the new attribute, joined"
    )
    source = "Meng et al. 2022 (ROME), section 3.4 (RS)"
    unit = "cosine × 100, mean over records"
    note = (
        "Needs reference texts of your own. Inverse document frequencies are those of the "
        "reference texts, ln((1 + n) / (1 + df)) + 1, and words that none of them has do not "
        "count; the released evaluation takes frequencies of Wikipedia, which gives other numbers. "
        "The texts are those of fluency, each as often as its prompt is listed."
    )
    needs = "a relation and target that there are reference texts for"
    default_for = ("counterfact:paper",)

    @property
    def unavailable_reason(self) -> str:
        if self.given.references is None:
            return "no reference texts were given; name a file of them (--references)"
        return ""

    def queries(self, record: Record) -> list[Query]:
        return [*questions.generation_prompts(record)] if self._references(record) else []

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        found = zip(questions.generation_prompts(record).items(), texts(answers), strict=True)
        # Where nothing was written only the prompt could be judged, which no edit changes.
        parts = [ask.prompt + new for (ask, count), new in found if new for _ in range(count)]
        if not parts:
            return None
        said = " ".join(parts)
        return 100 * cosine(said, " ".join(self._references(record)), self._weights)

    def _references(self, record: Record) -> list[str]:
        known = self.given.references
        return [] if known is None else [t for fact in record.facts for t in known.about(fact)]

    @cached_property
    def _weights(self) -> dict[str, float]:
        known = self.given.references
        return inverse_frequencies([] if known is None else known.texts())


def inverse_frequencies(documents: Sequence[str]) -> dict[str, float]:
    """ln((1 + n) / (1 + df)) + 1 of every word of n documents, of which df have it."""
    having = Counter(word for document in documents for word in set(_words(document)))
    n = len(documents)
    return {word: math.log((1 + n) / (1 + df)) + 1 for word, df in having.items()}


def cosine(one: str, other: str, weights: Mapping[str, float]) -> float:
    """Cosine of two texts' vectors of word counts times weights; 0 if one has no word of weight."""
    a, b = ({w: n * weights[w] for w, n in Counter(_words(t)).items() if w in weights}
            for t in (one, other))  # fmt: skip
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(x * b.get(word, 0.0) for word, x in a.items()) / lengths if lengths else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
