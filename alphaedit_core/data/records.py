"""A record of a data set: facts to write, and the questions by which the result is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import Fact, replaced, spaced


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt, and what is right or wrong after it.

    Attributes:
        kind: what it asks for, with the data set's own name for the part after a slash:
            ``locality/Forgetfulness``, ``portability/Reasoning``, ``multi-hop``, ``generation``,
            ``essay/coupled``.
        prompt: the complete prompt; the answer follows after it.
        answers: texts each of which is right, the published one first; none where the text that
            the model goes on with is judged as a whole.
        wrong: texts that must not be said.
    """

    kind: str
    prompt: str
    answers: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The kind without the data set's own name for the part."""
        return self.kind.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Record:
    """Facts that belong together, with the probes of what they should and should not change.

    A fact's own paraphrases and neighbors stay in the fact; what no :class:`~.facts.Fact` can hold
    stands in the probes.

    Attributes:
        dataset: name of the data set, as :func:`~.registry.dataset` knows it.
        name: what messages call it: ``case 12`` or ``record 3``.
        facts: at least one; several where a case needs several rewrites (MQuAKE).
        probes: what else is asked.
        skipped_questions: questions of the published record that cannot be asked, each with the
            reason.
    """

    dataset: str
    name: str
    facts: tuple[Fact, ...]
    probes: tuple[Probe, ...] = ()
    skipped_questions: tuple[str, ...] = ()

    def asked(self, group: str) -> list[Probe]:
        """The probes of one group."""
        return [probe for probe in self.probes if probe.group == group]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Records of which no two say something else of the same thing.

    Attributes:
        records: those that are kept, in order.
        left_out: those that came after another about the same subject and prompt.
    """

    records: list[Record]
    left_out: list[Record]


def distinct(records: Sequence[Record]) -> Distinct:
    """Of records with a fact about the same subject and prompt (:attr:`Fact.slot`) the first.

    The same goes for two values of one relation that is said to have one value. A batch cannot
    hold two of them: they would be written against each other. Where the targets
    agree a record stays if another fact of it is new, or if it has multi-hop questions, which are
    its own: cases of MQuAKE share many facts. Else it would only be counted twice.
    """
    seen: dict[tuple[str, str], str] = {}
    related: dict[tuple[str, str | None], list[Fact]] = {}
    found = Distinct([], [])
    for record in records:
        says = [(fact.slot, spaced(fact.statement)) for fact in record.facts]
        own = dict(says)
        agrees = all(own[slot] == said == seen.get(slot, said) for slot, said in says)
        for number, fact in enumerate(record.facts):
            others = [*related.get((fact.slot[0], fact.relation), ()), *record.facts[:number]]
            agrees &= not any(
                replaced(o, fact) or replaced(fact, o) for o in others if o.slot != fact.slot
            )
        if agrees and (own.keys() - seen.keys() or record.asked("multi-hop")):
            seen |= own
            for fact in record.facts:
                related.setdefault((fact.slot[0], fact.relation), []).append(fact)
            found.records.append(record)
        else:
            found.left_out.append(record)
    return found
