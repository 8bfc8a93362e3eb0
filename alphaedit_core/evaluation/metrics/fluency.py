"""Fluency: how varied the words of generated texts are. A model that loops has little of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec

from alphaedit_core.data.records import Record
from alphaedit_core.errors import InputError
from alphaedit_core.inference.queries import Answer, Query
from alphaedit_core.messages import not_installed

from . import questions
from .base import Metric, texts


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
        f"Texts of {questions.LENGTH} tokens with the prompt, drawn from the {questions.TOP_K} "
        "likeliest tokens, seeded, after the prompts for generation (else the facts' own). A text "
        "counts as often as its prompt is listed; the released evaluation writes another one each "
        "time, which has the same expectation. A prompt that is as long already is left out. Words "
        "by nltk's word_tokenize(preserve_line=True): sentences are not split before, so a full "
        "stop stays with its word, and a value is some points below the released evaluation's. "
        "EasyEdit prints it without the factor 100."
    )
    default_for = ("counterfact", "knowedit")

    @classmethod
    def missing_package(cls) -> str:
        return "" if find_spec("nltk") else not_installed(cls.name, "nltk", "eval")

    def queries(self, record: Record) -> list[Query]:
        return [*questions.generation_prompts(record)]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        asked = questions.generation_prompts(record)
        found = zip(asked.items(), texts(answers), strict=True)
        # Where nothing was written only the prompt could be judged, which no edit changes.
        judged = [(count, variety(ask.prompt + new)) for (ask, count), new in found if new]
        times = sum(count for count, _ in judged)
        return 100 * sum(count * one for count, one in judged) / times if times else None


def variety(text: str) -> float:
    """1/3 H2 + 2/3 H3 of a text, in bits.

    Raises:
        InputError: if nltk is not installed.
    """
    if missing := Fluency.missing_package():
        raise InputError(missing)
    from nltk.tokenize import word_tokenize  # slow to import

    words = word_tokenize(text, preserve_line=True)
    return entropy(words, 2) / 3 + 2 * entropy(words, 3) / 3


def entropy(words: Sequence[str], n: int) -> float:
    """Entropy of the n-grams of some words, in bits; 0 if there is no n-gram."""
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())
