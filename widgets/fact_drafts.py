"""Facts as they are typed; a draft may be incomplete and reports what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from alphaedit_core.data.facts import REQUIRED, Fact, check_facts, replaced
from alphaedit_core.data.occurrences import renamed
from alphaedit_core.data.templates import LITERAL, SLOT, pieces
from alphaedit_core.errors import InputError
from alphaedit_core.messages import shown

#: What a draft can be.
DRAFT, READY, APPLIED, FAILED = "draft", "ready", "applied", "failed"


@dataclass(frozen=True)
class Draft:
    """One row of the facts table.

    Attributes:
        subject, prompt, target, target_true: as typed.
        group: a label chosen by the user.
        paraphrases, neighbors: as a :class:`~.facts.Fact` has them.
        relation, replaces: as a :class:`~.facts.Fact` has them.
        id: the fact's id from a file, or "".
    """

    subject: str = ""
    prompt: str = ""
    target: str = ""
    target_true: str = ""
    group: str = ""
    paraphrases: tuple[str, ...] = ()
    neighbors: tuple[str, ...] = ()
    relation: str | None = None
    id: str = ""
    replaces: str = "prompt"

    @classmethod
    def of(cls, fact: Fact, group: str = "") -> Draft:
        """Create a draft from a fact."""
        record = fact.to_dict()
        return cls(
            fact.subject,
            fact.prompt,
            fact.target,
            fact.target_true or "",
            group,
            tuple(record.get("paraphrases", ())),
            tuple(record.get("neighbors", ())),
            fact.relation,
            record.get("id", ""),
            fact.replaces,
        )

    @property
    def blank(self) -> bool:
        """True if subject, prompt and target are empty."""
        return not (self.subject.strip() or self.prompt.strip() or self.target.strip())

    @property
    def need(self) -> str:
        """Missing part of the draft, worded to follow "needs"; "" if it is complete."""
        return self._checked if isinstance(self._checked, str) else ""

    def fact(self) -> Fact:
        """Return the fact.

        Raises:
            InputError: if the draft is incomplete; names the missing part.
        """
        if isinstance(self._checked, str):
            raise InputError(f"needs {self._checked}")
        return self._checked

    @cached_property
    def _checked(self) -> Fact | str:
        """The fact, or what the draft needs; cached, because drafts are immutable."""
        for name in REQUIRED:
            if not getattr(self, name).strip():
                return f"a {name}"
        slots = len(pieces(self.prompt)) - 1
        if slots == 0:
            subject = self.subject.strip()
            replaced_text = shown(subject) if subject in self.prompt else "the subject"
            return f"{SLOT} in the prompt in place of {replaced_text}"
        if slots > 1:
            return f"one {SLOT} in the prompt, not {slots}; {LITERAL} is a literal {SLOT}"
        try:
            return Fact(
                self.subject,
                self.prompt,
                self.target,
                self.target_true.strip() or None,
                self.paraphrases,
                self.neighbors,
                self.relation,
                self.id,
                self.replaces,
            )
        except InputError as error:
            return f"a change: {error}"

    def with_fields(self, **fields: Any) -> Draft:
        """Return the draft with fields changed by hand.

        A change of subject, prompt or target drops the id read from a file. A new subject also
        replaces the old one in the paraphrases, as a whole word only.
        """
        if all(getattr(self, name) == fields.get(name, getattr(self, name)) for name in REQUIRED):
            return replace(self, **fields)
        changed = replace(self, **({"id": ""} | fields))
        old, new = self.subject.strip(), changed.subject.strip()
        if old and new and old != new and "paraphrases" not in fields:
            texts = tuple(renamed(text, old, new) for text in self.paraphrases)
            changed = replace(changed, paraphrases=texts)
        return changed


def needs(drafts: Sequence[Draft]) -> list[str]:
    """Return what each draft needs before it can be edited; "" for a draft that is ready."""
    result: list[str] = []
    slots: dict[tuple[str, str], int] = {}
    ids: dict[str, int] = {}
    related: dict[tuple[str, str | None], list[tuple[int, Fact]]] = {}
    for number, draft in enumerate(drafts, 1):
        if need := draft.need:
            result.append(need)
            continue
        fact = draft.fact()
        same_relation = related.setdefault((fact.slot[0], fact.relation), [])
        other = next((n for n, o in same_relation if replaced(o, fact) or replaced(fact, o)), 0)
        if fact.slot in slots:
            row = slots[fact.slot]
            result.append(f"another subject or prompt; row {row} has the same")
        elif other:
            result.append(
                f"the target of row {other}, which sets the only value of {shown(fact.relation)} "
                f"for {shown(fact.subject)}"
            )
        elif fact.id in ids:
            result.append(f"a unique id; row {ids[fact.id]} also has {shown(fact.id)}")
        else:
            slots[fact.slot] = ids[fact.id] = number
            same_relation.append((number, fact))
            result.append("")
    return result


def ready(drafts: Sequence[Draft]) -> list[Fact]:
    """Return the facts of all drafts that are ready."""
    facts = [draft.fact() for draft, need in zip(drafts, needs(drafts), strict=True) if not need]
    return check_facts(facts) if facts else []
