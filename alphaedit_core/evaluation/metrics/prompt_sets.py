"""The prompts of a record by what they are for, wherever its data set keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.matching import mentions
from alphaedit_core.inference.queries import Answer, GenerationQuery, Query

from .base import texts

#: Length of the texts of fluency and consistency with their prompts, and tokens drawn from.
LENGTH, TOP_K = 100, 5

Pair = tuple[str, str]


def rewrites(record: Record) -> list[Pair]:
    """The facts' own prompts with the new targets."""
    return [(fact.text, fact.target) for fact in record.facts]


def paraphrase_pairs(record: Record) -> list[Pair]:
    """Their paraphrases with the new targets."""
    return [(prompt, fact.target) for fact in record.facts for prompt in fact.paraphrases]


def locality_pairs(record: Record) -> list[Pair]:
    """What is to stay as it was, with its answer: neighbors, and probes of locality."""
    pairs = [
        (prompt, fact.target_true)
        for fact in record.facts
        if fact.target_true is not None
        for prompt in fact.neighbors
    ]
    return pairs + answered(record, "locality")


def answered(record: Record, group: str) -> list[Pair]:
    """The probes of one group that have an answer, with the published one."""
    return [(probe.prompt, probe.answers[0]) for probe in record.asked(group) if probe.answers]


def open_questions(record: Record, group: str, tokens: int) -> list[Query]:
    """The probes of one group that have an answer, to be answered in so many tokens."""
    return [GenerationQuery(probe.prompt, tokens) for probe in record.asked(group) if probe.answers]


def answered_correctly(record: Record, group: str, answers: Sequence[Answer]) -> list[bool]:
    """Whether each of them is answered with one of its answers, of what was written to them."""
    probes = [probe for probe in record.asked(group) if probe.answers]
    pairs = zip(probes, texts(answers), strict=True)
    return [mentions(text, probe.answers) for probe, text in pairs]


def generation_prompts(record: Record) -> dict[GenerationQuery, int]:
    """The texts that fluency and consistency read, with how often the record lists the prompt.

    After the prompts for generation; without any, after the facts' own. CounterFact draws its ten
    prompts from about three: one that is listed again is not written again, its text counts again.
    """
    prompts = [probe.prompt for probe in record.asked("generation")]
    counts = Counter(prompts or [fact.text for fact in record.facts])
    return {GenerationQuery(prompt, LENGTH, True, TOP_K): count for prompt, count in counts.items()}
