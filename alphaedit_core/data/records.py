"""A record of a data set: facts to write, and probes that evaluate the edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import Fact, replaced, spaced


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt with its right and wrong answers.

    Attributes:
        kind: what is evaluated, with the data set's own name of the part after a slash:
            ``locality/Forgetfulness``, ``portability/Reasoning``, ``multi-hop``, ``generation``,
            ``essay/coupled``.
        prompt: the complete prompt before the answer.
        answers: the right answers, the published one first; none if the generated text is
            evaluated as a whole.
        wrong: answers that count as wrong.
    """

    kind: str
    prompt: str
    answers: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The kind without the data set's own name of the part."""
        return self.kind.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Record:
    """Facts that belong together, with probes for what they should and should not change.

    Paraphrases and neighbors belong to the :class:`~.facts.Fact`; all other prompts are probes.

    Attributes:
        dataset: name of the data set, see :func:`~.registry.dataset`.
        name: its name in messages: ``case 12`` or ``record 3``.
        facts: at least one; several where a case needs several rewrites (MQuAKE).
        probes: further prompts.
        skipped_questions: questions of the published record that cannot be used, with reasons.
    """

    dataset: str
    name: str
    facts: tuple[Fact, ...]
    probes: tuple[Probe, ...] = ()
    skipped_questions: tuple[str, ...] = ()

    def asked(self, group: str) -> list[Probe]:
        """Return the probes of one group."""
        return [probe for probe in self.probes if probe.group == group]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Records that do not contradict each other.

    Attributes:
        records: the records kept, in order.
        left_out: records that follow another one about the same subject and prompt.
    """

    records: list[Record]
    left_out: list[Record]


def distinct(records: Sequence[Record]) -> Distinct:
    """Keep the first of the records with a fact about the same subject and prompt.

    Facts are compared by :attr:`Fact.slot`, and by relation if the relation has a single value. A
    batch cannot contain two such facts: they would be written against each other. If the targets
    agree, a record is kept if another of its facts is new or if it has multi-hop questions, because
    cases of MQuAKE share many facts. All others would only be counted twice.
    """
    seen: dict[tuple[str, str], str] = {}
    related: dict[tuple[str, str | None], list[Fact]] = {}
    result = Distinct([], [])
    for record in records:
        statements = [(fact.slot, spaced(fact.statement)) for fact in record.facts]
        own = dict(statements)
        agrees = all(own[slot] == text == seen.get(slot, text) for slot, text in statements)
        for number, fact in enumerate(record.facts):
            others = [*related.get((fact.slot[0], fact.relation), ()), *record.facts[:number]]
            agrees &= not any(
                replaced(o, fact) or replaced(fact, o) for o in others if o.slot != fact.slot
            )
        if agrees and (own.keys() - seen.keys() or record.asked("multi-hop")):
            seen |= own
            for fact in record.facts:
                related.setdefault((fact.slot[0], fact.relation), []).append(fact)
            result.records.append(record)
        else:
            result.left_out.append(record)
    return result
