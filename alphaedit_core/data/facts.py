"""A fact: a prompt, the target that should follow it, and the prompts that evaluate the edit.

Facts are validated on construction. An error names the field, the value and the remedy in one line,
so that later stages never meet a prompt without its subject or a target without a token.

Texts are stored unchanged, with two exceptions. White space around a text is stripped, because a
space after a prompt changes the tokens that follow; only a line break that ends a chat template,
as in ``<|im_start|>assistant``, is kept. Unicode is normalized to NFC, the form of keyboards and
running text: otherwise a typed "é" and an "é" copied from a file name would be different tokens,
and an edit of one would not affect the other.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alphaedit_core.display.escaping import escape
from alphaedit_core.errors import InputError
from alphaedit_core.messages import did_you_mean, kind, shorten, shown

from .joining import statement
from .templates import LITERAL, SLOT, completed, escaped, filled, pieces, stripped
from .text_fields import checked_text, checked_texts

REPLACES = ("prompt", "relation", "nothing")
"""Which earlier facts a fact can supersede; see :attr:`Fact.replaces`."""


@dataclass(frozen=True, slots=True)
class Fact:
    r"""A statement to write into a model: a prompt and the target that follows it.

    Example:
        >>> fact = Fact("Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
        >>> fact.text
        'Eiffel Tower is located in the city of'

    Attributes:
        subject: the entity that the statement is about, as written in the prompt.
        prompt: the text before the target, with one ``{}`` in place of the subject. ``{{}}`` is a
            literal ``{}``. All other braces, in the prompt or the subject, are ordinary characters.
        target: the new continuation, one token or more, without a leading space. A space is
            inserted before it as in running text: not after an opening quotation mark, nor before
            a full stop. Start the target with ``\\&`` for no space, or with a backslash and a space
            for one.
        target_true: the continuation before the edit, which the edit should suppress, or None.
        paraphrases: complete prompts with the same meaning, for generalization. ``{}`` is replaced
            by the subject; ``{{}}`` is a literal ``{}``, here and in neighbors.
        neighbors: complete prompts about other subjects, for which ``target_true`` remains
            correct, for specificity.
        relation: name of the edited property, such as Wikidata's ``"P276"``, or None.
        replaces: which earlier facts this one supersedes; they are no longer protected.
            ``"prompt"``: the fact with the same subject and prompt. ``"relation"``: also facts that
            give the same relation of the subject another value, in any wording; for relations with
            a single value. ``"nothing"``: none; both facts are kept.
        id: name of the fact; by default 12 hexadecimal digits of a hash of subject, prompt and
            target, the same on every machine.

    Raises:
        InputError: if a field has the wrong type, is blank or contains an unpaired surrogate, if
            the prompt does not have exactly one ``{}``, or if a neighbor has one.
    """

    subject: str
    prompt: str
    target: str
    target_true: str | None = None
    paraphrases: Sequence[str] = ()
    neighbors: Sequence[str] = ()
    relation: str | None = None
    id: str = ""
    replaces: str = REPLACES[0]

    def __post_init__(self) -> None:
        subject = checked_text("subject", self.subject)
        cleaned: dict[str, Any] = {
            "subject": subject,
            "prompt": _prompt(self.prompt, subject),
            "target": checked_text("target", self.target),
            "paraphrases": tuple(
                _fill(text, subject)
                for text in checked_texts("paraphrases", self.paraphrases, strip=stripped)
            ),
            "neighbors": _neighbors(self.neighbors),
        }
        for name in ("target_true", "relation"):
            value = getattr(self, name)
            cleaned[name] = None if value is None else checked_text(name, value)
        if self.replaces not in REPLACES:
            raise InputError(
                f"replaces {shown(self.replaces)} is not known; give one of {', '.join(REPLACES)}"
            )
        if self.replaces == "relation" and cleaned["relation"] is None:
            raise InputError('replaces "relation" needs a relation; name it, such as "P36"')
        text = filled(cleaned["prompt"], subject)
        if _same_statement(text, cleaned["target"], cleaned["target_true"]):
            raise InputError(
                f"target_true {shown(cleaned['target_true'])} is the target too; give what the "
                "model says now, or leave target_true out"
            )
        key = (cleaned["subject"], cleaned["prompt"], cleaned["target"])
        cleaned["id"] = _content_id(*key) if self.id == "" else checked_text("id", self.id)
        for name, value in cleaned.items():
            object.__setattr__(self, name, value)

    @property
    def text(self) -> str:
        """The prompt with the subject filled in."""
        return filled(self.prompt, self.subject)

    @property
    def statement(self) -> str:
        """The prompt with the subject filled in, followed by the target."""
        return statement(self.text, self.target)

    @property
    def subject_span(self) -> tuple[int, int]:
        """Start and end of the subject in :attr:`text`, in characters, the end exclusive."""
        start = len(pieces(self.prompt)[0])
        return start, start + len(self.subject)

    @property
    def slot(self) -> tuple[str, str]:
        """Subject and prompt, with white space folded: what the fact is about.

        Of two facts with the same slot the later one corrects the earlier one. Slots are
        case-sensitive: "CO" is not "Co", and "March" is not "march".
        """
        return spaced(self.subject), spaced(self.prompt)

    def changed(self, **fields: Any) -> Fact:
        """Return a copy with some fields replaced.

        An id that is a hash of the content is computed again, unlike with
        ``dataclasses.replace``.

        Raises:
            InputError: if a field is unknown, or the new fact is invalid.
        """
        return Fact.from_dict(self.to_dict() | fields)

    def to_dict(self) -> dict[str, Any]:
        """Return the fact as JSON data, without the fields that have their default."""
        record: dict[str, Any] = {
            "subject": self.subject,
            "prompt": self.prompt,
            "target": self.target,
            "target_true": self.target_true,
            "paraphrases": [_unfilled(text, self.subject) for text in self.paraphrases],
            "neighbors": [escaped(text) for text in self.neighbors],
            "relation": self.relation,
        }
        if self.id != _content_id(self.subject, self.prompt, self.target):
            record["id"] = self.id
        if self.replaces != REPLACES[0]:
            record["replaces"] = self.replaces
        return {name: value for name, value in record.items() if value not in (None, [])}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Fact:
        """Return the fact that :meth:`to_dict` wrote.

        Raises:
            InputError: if ``record`` is not a mapping, has missing or unknown fields, or describes
                an invalid fact.
        """
        if not isinstance(record, Mapping):
            raise InputError(
                f"{shown(record)} is {kind(record)}; a fact is an object with the fields "
                f"{', '.join(REQUIRED)}"
            )
        for former, name in FORMER.items():
            if former in record and name in record:
                raise InputError(f'"{name}" and "{former}" are both given; remove one of them')
        record = {FORMER.get(name, name): value for name, value in record.items()}
        for name in record:
            if name not in FIELDS:
                raise InputError(
                    f"field {shown(name)} is not known; {did_you_mean(name, FIELDS)}remove it, or "
                    f"use one of {', '.join(FIELDS)}"
                )
        for name in REQUIRED:
            if name not in record:
                raise InputError(f'field "{name}" is missing; add it (a text)')
        fields = {name: v for name, v in record.items() if v is not None or name in REQUIRED}
        return cls(**fields)

    @classmethod
    def stored(cls, record: Mapping[str, Any]) -> Fact:
        """Return the fact in a saved session, also one that would no longer be valid.

        Earlier versions accepted a true target that equals the target; it is dropped.
        """
        fields = dict(record)
        true = fields.pop("target_true", None)
        fact = cls.from_dict(fields)
        same = isinstance(true, str) and true and _same_statement(fact.text, fact.target, true)
        return fact if same else cls.from_dict(record)

    def __repr__(self) -> str:
        parts = [repr(shorten(value)) for value in (self.subject, self.prompt, self.target)]
        if self.target_true is not None:
            parts.append(f"target_true={shorten(self.target_true)!r}")
        parts += [
            f"{len(texts)} {name if len(texts) > 1 else name[:-1]}"
            for name in ("paraphrases", "neighbors")
            if (texts := getattr(self, name))
        ]
        return f"Fact({', '.join(parts)})"

    def _repr_html_(self) -> str:
        start, end = self.subject_span
        prompt = (
            f"{escape(self.text[:start])}<strong>{escape(self.subject)}</strong>"
            f"{escape(self.text[end:])}"
        )
        rows = [("Prompt", prompt), ("Target", escape(self.target))]
        if self.target_true is not None:
            rows.append(("True target", escape(self.target_true)))
        for name in ("paraphrases", "neighbors"):
            if texts := getattr(self, name):
                rows.append((name.capitalize(), "<br>".join(escape(text) for text in texts)))
        if self.relation is not None:
            rows.append(("Relation", escape(self.relation)))
        if self.replaces != REPLACES[0]:
            rows.append(("Replaces", escape(self.replaces)))
        body = "".join(
            f'<tr><th scope="row">{head}</th><td dir="auto">{cell}</td></tr>' for head, cell in rows
        )
        return f"<table><caption>Fact {escape(self.id)}</caption><tbody>{body}</tbody></table>"


FORMER = {"neighbours": "neighbors"}
"""Field names of version 0.1 and their present names."""

FIELDS = tuple(field.name for field in dataclasses.fields(Fact))
"""Field names of a fact, in order."""

REQUIRED = FIELDS[:3]
"""The required fields: subject, prompt, target."""


def check_facts(facts: Sequence[Fact], labels: Sequence[str] | None = None) -> list[Fact]:
    """Check the facts of one call against each other.

    Args:
        facts: facts in the order in which they will be written.
        labels: name of each fact in messages; by default "fact 1", "fact 2" and so on.

    Returns:
        The same facts in the same order, without duplicates: of facts with the same
        :attr:`Fact.slot` and the same target (up to white space) the first is kept.

    Raises:
        InputError: if there is no fact, if ``facts`` is not a sequence of facts, if two facts have
            the same slot and different targets (or the same single-valued relation), or if two
            different facts have the same id.
    """
    if isinstance(facts, (Mapping, str, Fact)) or not isinstance(facts, Iterable):
        raise InputError(f"the facts are {kind(facts)}; give a list of facts, such as [Fact(...)]")
    facts = list(facts)
    if not facts:
        raise InputError("the list of facts is empty; give at least one fact")
    labels = [f"fact {n}" for n in range(1, len(facts) + 1)] if labels is None else labels
    by_slot: dict[tuple[str, str], tuple[str, Fact]] = {}
    by_relation: dict[tuple[str, str | None], list[tuple[str, Fact]]] = {}
    by_id: dict[str, str] = {}
    for label, fact in zip(labels, facts, strict=True):
        if not isinstance(fact, Fact):
            raise InputError(f"{label}: {shown(fact)} is {kind(fact)}; make it a Fact(...)")
        if fact.slot in by_slot:
            first_label, first = by_slot[fact.slot]
            if not _same_statement(fact.text, first.target, fact.target):
                raise InputError(
                    f"{first_label} and {label}: both are about {shown(fact.text)}, with the "
                    f"targets {shown(first.target)} and {shown(fact.target)}; keep one of them, or "
                    "edit them one after the other"
                )
            continue
        if fact.id in by_id:
            raise InputError(
                f"{by_id[fact.id]} and {label}: both have the id {shown(fact.id)}; give each its "
                "own id, or leave the ids out"
            )
        alike = by_relation.setdefault((fact.slot[0], fact.relation), [])
        for other_label, other in alike:
            if replaced(other, fact) or replaced(fact, other):
                raise InputError(
                    f"{other_label} and {label}: both are about {shown(fact.relation)} of "
                    f"{shown(fact.subject)}, which has a single value, with the targets "
                    f"{shown(other.target)} and {shown(fact.target)}; keep one of them, or set "
                    'replaces to "prompt"'
                )
        alike.append((label, fact))
        by_slot[fact.slot] = label, fact
        by_id[fact.id] = label
    return [fact for _, fact in by_slot.values()]


def facts_table_html(facts: Sequence[Fact]) -> str:
    """Return an HTML table with one row per fact; all text is escaped."""
    columns = ("", "Prompt", "Target", "True target", "Paraphrases", "Neighbors")
    head = "".join(f'<th scope="col">{name}</th>' for name in columns)
    rows = []
    for number, fact in enumerate(facts, 1):
        texts = "".join(
            f'<td dir="auto">{escape(text)}</td>'
            for text in (fact.text, fact.target, fact.target_true or "")
        )
        counts = f"<td>{len(fact.paraphrases)}</td><td>{len(fact.neighbors)}</td>"
        rows.append(f'<tr><th scope="row">{number}</th>{texts}{counts}</tr>')
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _prompt(value: object, subject: str) -> str:
    """Check that the prompt has exactly one ``{}``, and return it."""
    prompt = checked_text("prompt", value, stripped)
    places = len(pieces(prompt)) - 1
    if places == 0:
        remedy = (
            f"write {SLOT} in place of {shown(subject)} in the prompt"
            if subject in prompt
            else f"write {SLOT} in place of the subject"
        )
        if LITERAL in prompt:
            remedy += f", for {LITERAL} is a literal {SLOT}"
        raise InputError(f"prompt {shown(prompt)} has no {SLOT} for the subject; {remedy}")
    if places > 1:
        raise InputError(
            f"prompt {shown(prompt)} has {places} {SLOT}; keep one for the subject and write the "
            f"others out, or {LITERAL} for a literal {SLOT}"
        )
    return prompt


def _fill(text: str, subject: str) -> str:
    """Fill the subject into a paraphrase.

    A subject that contains ``{}`` may already be written out there.
    """
    return text if SLOT in subject and subject in text else completed(text, subject)


def _unfilled(text: str, subject: str) -> str:
    """Return a paraphrase from which :func:`_fill` makes ``text``."""
    return text if _fill(text, subject) == text else escaped(text)


def _neighbors(value: object) -> tuple[str, ...]:
    """Check the neighbors, which are complete prompts about other subjects."""
    texts = checked_texts("neighbors", value, strip=stripped)
    for number, text in enumerate(texts, 1):
        if completed(text, "") != completed(text, SLOT):
            raise InputError(
                f"neighbor {number}: {shown(text)} has {SLOT}; a neighbor is about another "
                f"subject: write that subject out, or {LITERAL} for a literal {SLOT}"
            )
    return tuple(completed(text, "") for text in texts)


def _same_statement(text: str, one: str, other: str | None) -> bool:
    """Return true if two targets make the same text after a prompt, up to white space."""
    return other is not None and spaced(statement(text, one)) == spaced(statement(text, other))


def spaced(text: str) -> str:
    """Return ``text`` in NFC, with single spaces for white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def replaced(earlier: Fact, later: Fact) -> bool:
    """Return true if a fact supersedes an earlier one; see :attr:`Fact.replaces`."""
    if later.replaces == "nothing":
        return False
    if earlier.slot == later.slot:
        return True
    return (
        later.replaces == "relation"
        and (earlier.slot[0], earlier.relation) == (later.slot[0], later.relation)
        and spaced(earlier.target) != spaced(later.target)
    )


def _content_id(subject: str, prompt: str, target: str) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of the three texts."""
    content = json.dumps([subject, prompt, target], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:12]
