"""Fluency: the variety of words in generated texts; low for a model that loops."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

from typing_extensions import override

from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError
from alphaedit_core.inference.queries import Answer, Query
from alphaedit_core.messages import not_installed

from .base import Metric, texts
from .prompt_sets import LENGTH, TOP_K, generation_prompts


class Fluency(Metric):
    """Entropy of bigrams and trigrams."""

    name = "fluency"
    title = "Fluency"
    formula = (
        "1/3 H2 + 2/3 H3, the entropies (bits) of the bigrams and trigrams of prompt and "
        "continuation, mean over the record's texts"
    )
    source = "Zhang et al. 2018; Meng et al. 2022 (ROME), section 3.4 (GE)"
    unit = "bits × 100, mean over records"
    note = (
        f"Texts of {LENGTH} tokens including the prompt, sampled from the top {TOP_K}, seeded, "
        "after the generation prompts (or the facts' own). A text counts as often as its prompt is "
        "listed; the released evaluation generates a new one each time, with the same expectation. "
        "Prompts that already have as many tokens are skipped. Words are those of nltk's "
        "word_tokenize(preserve_line=True): sentences are not split first, so a period stays with "
        "its word, and values are a few points below those of the released evaluation. "
        "EasyEdit reports it without the factor 100."
    )
    default_for = ("counterfact", "knowedit")

    @classmethod
    @override
    def missing_package(cls) -> str:
        return "" if find_spec("nltk") else not_installed(cls.name, "nltk", "eval")

    @override
    def queries(self, record: Record) -> list[Query]:
        return [*generation_prompts(record)]

    @override
    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        generated = zip(generation_prompts(record).items(), texts(answers), strict=True)
        # Without new text only the prompt could be judged, which no edit changes.
        judged = [(count, variety(query.prompt + new)) for (query, count), new in generated if new]
        total = sum(count for count, _ in judged)
        return 100 * sum(count * value for count, value in judged) / total if total else None


def variety(text: str) -> float:
    """Return 1/3 H2 + 2/3 H3 of a text, in bits.

    Raises:
        InputError: if nltk is not installed.
    """
    if missing := Fluency.missing_package():
        raise InputError(missing)
    from nltk.tokenize import word_tokenize  # slow to import

    words = word_tokenize(text, preserve_line=True)
    return entropy(words, 2) / 3 + 2 * entropy(words, 3) / 3


def entropy(words: Sequence[str], n: int) -> float:
    """Return the entropy of the n-grams of some words, in bits; 0 without n-grams."""
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())
