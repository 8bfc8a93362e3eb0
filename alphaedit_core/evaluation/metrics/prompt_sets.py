"""The prompts of a record by purpose, wherever its data set keeps them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from alphaedit_core.data.records import Record
from alphaedit_core.inference.queries import GenerationQuery

#: Length in tokens of the texts of fluency and consistency, prompt included, and their top-k.
LENGTH, TOP_K = 100, 5


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with the answers that count.

    Attributes:
        text: the prompt.
        targets: accepted answers, at least one; the published one comes first.
        foil: the target to compare with; None without one.
    """

    text: str
    targets: tuple[str, ...]
    foil: str | None = None


class PromptSet(Protocol):
    """Selects the prompts of one purpose from a record."""

    def __call__(self, record: Record) -> list[Prompt]:
        """Return the prompts."""


def rewrite(record: Record) -> list[Prompt]:
    """Return the facts' own prompts with the new targets; the true targets are the foils."""
    return [Prompt(fact.text, (fact.target,), fact.target_true) for fact in record.facts]


def paraphrase(record: Record) -> list[Prompt]:
    """Return the facts' paraphrases with the new targets; the true targets are the foils."""
    return [
        Prompt(text, (fact.target,), fact.target_true)
        for fact in record.facts
        for text in fact.paraphrases
    ]


def neighborhood(record: Record) -> list[Prompt]:
    """Return prompts about neighbors with the true targets; the new targets are the foils."""
    return [
        Prompt(text, (fact.target_true,), fact.target)
        for fact in record.facts
        if fact.target_true is not None
        for text in fact.neighbors
    ]


def locality(record: Record) -> list[Prompt]:
    """Return prompts whose answers must not change: neighbors and locality questions."""
    return neighborhood(record) + probes(record, "locality")


def probes(record: Record, group: str) -> list[Prompt]:
    """Return the probes of one group with their answers; probes without an answer are skipped."""
    return [
        Prompt(probe.prompt, tuple(probe.answers)) for probe in record.asked(group) if probe.answers
    ]


#: Questions whose answers follow from the new fact.
portability: PromptSet = partial(probes, group="portability")
#: Questions that need several facts, and the questions about each of these facts.
multi_hop: PromptSet = partial(probes, group="multi-hop")
single_hop: PromptSet = partial(probes, group="single-hop")


def essay(record: Record, kind: str) -> list[Prompt]:
    """Return prompts for long texts of one kind with the new answers."""
    return [
        Prompt(probe.prompt, tuple(probe.answers))
        for probe in record.probes
        if probe.kind == kind and probe.answers
    ]


def essay_without(record: Record, kind: str) -> list[Prompt]:
    """Return prompts for long texts of one kind with the answers that must not occur."""
    return [
        Prompt(probe.prompt, tuple(probe.wrong))
        for probe in record.probes
        if probe.kind == kind and probe.wrong
    ]


def generation_prompts(record: Record) -> dict[GenerationQuery, int]:
    """Return the texts that fluency and consistency read, with the number of times each counts.

    They follow the generation prompts or, without any, the facts' own prompts. CounterFact's ten
    prompts per record are drawn from about three: a text is generated once per distinct prompt and
    counts as often as the prompt is listed.
    """
    prompts = [probe.prompt for probe in record.asked("generation")]
    counts = Counter(prompts or [fact.text for fact in record.facts])
    return {GenerationQuery(prompt, LENGTH, True, TOP_K): count for prompt, count in counts.items()}
