"""Consistency: similarity of generated texts to reference texts that fit the new target."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property

from typing_extensions import override

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import Answer, Query

from .base import Metric, texts
from .prompt_sets import generation_prompts

_WORD = re.compile(r"\w\w+")


class Consistency(Metric):
    """TF-IDF cosine of generated and reference texts."""

    name = "consistency"
    title = "Consistency"
    formula = (
        "cosine of the TF-IDF vectors of all generated texts of the record, joined, and of all "
        "reference texts about subjects with the new attribute, joined"
    )
    source = "Meng et al. 2022 (ROME), section 3.4 (RS)"
    unit = "cosine × 100, mean over records"
    note = (
        "Needs your own reference texts. Inverse document frequencies come from the reference "
        "texts, ln((1 + n) / (1 + df)) + 1, and words that occur in none of them are ignored; the "
        "released evaluation uses frequencies from Wikipedia, so its values differ. The generated "
        "texts are those of fluency, each as often as its prompt is listed."
    )
    needs = "a relation and target with reference texts"
    default_for = ("counterfact:paper",)

    @property
    @override
    def unavailable_reason(self) -> str:
        if self.context.references is None:
            return "no reference texts; give a file of them (--references)"
        return ""

    @override
    def queries(self, record: Record) -> list[Query]:
        return [*generation_prompts(record)] if self._references(record) else []

    @override
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        generated = zip(generation_prompts(record).items(), texts(answers), strict=True)
        # Without new text only the prompt could be judged, which no edit changes.
        parts = [q.prompt + new for (q, count), new in generated if new for _ in range(count)]
        if not parts:
            return None
        return 100 * cosine(" ".join(parts), " ".join(self._references(record)), self._weights)

    def _references(self, record: Record) -> list[str]:
        references = self.context.references
        return (
            []
            if references is None
            else [t for fact in record.facts for t in references.about(fact)]
        )

    @cached_property
    def _weights(self) -> dict[str, float]:
        references = self.context.references
        return inverse_frequencies([] if references is None else references.texts())


def inverse_frequencies(documents: Sequence[str]) -> dict[str, float]:
    """Return ln((1 + n) / (1 + df)) + 1 for every word in n documents; df documents contain it."""
    frequencies = Counter(word for document in documents for word in set(_words(document)))
    n = len(documents)
    return {word: math.log((1 + n) / (1 + df)) + 1 for word, df in frequencies.items()}


def cosine(one: str, other: str, weights: Mapping[str, float]) -> float:
    """Return the cosine of two texts' weighted word counts; 0 if one has no weighted word."""
    a, b = ({w: n * weights[w] for w, n in Counter(_words(t)).items() if w in weights}
            for t in (one, other))  # fmt: skip
    lengths = math.hypot(*a.values()) * math.hypot(*b.values())
    return sum(x * b.get(word, 0.0) for word, x in a.items()) / lengths if lengths else 0.0


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
