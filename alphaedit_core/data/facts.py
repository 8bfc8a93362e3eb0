"""A fact: what a model is to say after a prompt, and the prompts by which the change is judged.

A fact is checked when it is made. Whatever is wrong with it is said in one line that names the
field, the value and the remedy, so that no later stage meets a prompt without its subject or a
target without a token.

Text is kept as its author wrote it, with two exceptions. White space around a text is removed,
because a space left after a prompt changes the tokens that follow it; a line break that ends a chat
template, as in ``<|im_start|>assistant``, stays. Unicode is brought into
composed form (NFC), the form that keyboards and running text use: "é" typed on a keyboard and "é"
copied from a file name would otherwise be different tokens, and an edit of one would not reach the
other.
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
"""What of the facts written before a fact can take the place of; see :attr:`Fact.replaces`."""


@dataclass(frozen=True, slots=True)
class Fact:
    r"""One statement to be written into a model: after the prompt comes the target.

    Example:
        >>> fact = Fact("Eiffel Tower", "{} is located in the city of", "Rome", target_true="Paris")
        >>> fact.text
        'Eiffel Tower is located in the city of'

    Attributes:
        subject: what the statement is about, as it stands in the prompt.
        prompt: the text before the target, with one ``{}`` where the subject stands; ``{{}}``
            stands for a literal ``{}``. Other braces, in the prompt or in the subject, are ordinary
            characters.
        target: what the model is to say next; one token or many, without a leading space. A space
            stands before it as in running text: not behind an opening quotation mark, nor before a
            full stop. ``\&`` before it says that there is none, a backslash and a space that there
            is one.
        target_true: what the model says now and should stop saying, or None.
        paraphrases: complete prompts with the same meaning, by which generalization is judged. A
            ``{}`` in one is filled with the subject; ``{{}}`` stands for a literal ``{}``, here
            and in neighbors.
        neighbors: complete prompts about other subjects for which ``target_true`` stays right, by
            which specificity is judged.
        relation: a name for the property that is edited, such as Wikidata's ``"P276"``, or None.
        replaces: which facts, written before, this one takes the place of; they are then no longer
            protected. ``"prompt"``: that of the same subject and prompt. ``"relation"``: also those
            that give the same relation of the subject another value, in whatever words; for a
            relation that has one value. ``"nothing"``: none, both are kept.
        id: name of the fact; by default 12 hexadecimal digits made from subject, prompt and target,
            the same on every machine.

    Raises:
        InputError: if a field is of the wrong type, blank, or holds half a surrogate pair, if the
            prompt has no ``{}`` or several, or if a neighbor has one.
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
        if _say_the_same(text, cleaned["target"], cleaned["target_true"]):
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
        """The prompt with the subject filled in; the target follows after it."""
        return filled(self.prompt, self.subject)

    @property
    def statement(self) -> str:
        """The prompt with the subject filled in and the target behind it, as one text."""
        return statement(self.text, self.target)

    @property
    def subject_span(self) -> tuple[int, int]:
        """Start and end of the subject in :attr:`text`, in characters, the end exclusive."""
        start = len(pieces(self.prompt)[0])
        return start, start + len(self.subject)

    @property
    def slot(self) -> tuple[str, str]:
        """What the fact is about: subject and prompt, with white space folded.

        Two facts with the same slot are statements about the same thing; the later one corrects
        the earlier. Capitals count: "CO" is not "Co", and "March" is not "march".
        """
        return spaced(self.subject), spaced(self.prompt)

    def changed(self, **fields: Any) -> Fact:
        """A copy with some fields replaced.

        An id that was made from the content is made again, which ``dataclasses.replace`` alone
        would not do.

        Raises:
            InputError: if a field is not known, or the new fact would not be valid.
        """
        return Fact.from_dict(self.to_dict() | fields)

    def to_dict(self) -> dict[str, Any]:
        """The fact as JSON can hold it; fields that have their default are left out."""
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
        """The fact that :meth:`to_dict` wrote.

        Raises:
            InputError: if ``record`` is not a mapping, lacks a field, has one that is not known, or
                does not describe a valid fact.
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
        given = {name: v for name, v in record.items() if v is not None or name in REQUIRED}
        return cls(**given)

    @classmethod
    def stored(cls, record: Mapping[str, Any]) -> Fact:
        """The fact that a saved session holds: also one that no longer could be made.

        A true target that was the target too, which was once accepted, is left out.
        """
        fields = dict(record)
        true = fields.pop("target_true", None)
        fact = cls.from_dict(fields)
        said = isinstance(true, str) and true and _say_the_same(fact.text, fact.target, true)
        return fact if said else cls.from_dict(record)

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
"""Fields that files of version 0.1 call otherwise, and what they are called now."""

FIELDS = tuple(field.name for field in dataclasses.fields(Fact))
"""Names of the fields of a fact, in their order."""

REQUIRED = FIELDS[:3]
"""The fields that every fact has: subject, prompt, target."""


def check_facts(facts: Sequence[Fact], labels: Sequence[str] | None = None) -> list[Fact]:
    """The facts of one call, checked against each other.

    Args:
        facts: facts in the order in which they are to be written.
        labels: what messages call each fact; by default "fact 1", "fact 2" and so on.

    Returns:
        The same facts in the same order. Of facts that say the same (same :attr:`Fact.slot`, and
        targets that differ in white space at most) the first is kept.

    Raises:
        InputError: if there is no fact, if ``facts`` is not a sequence of facts, if two facts give
            the same thing different targets (of a relation, if one of them says that it has one
            value), or if two different facts have the same id.
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
            if not _say_the_same(fact.text, first.target, fact.target):
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
                    f"{shown(fact.subject)}, said to have one value, with the targets "
                    f"{shown(other.target)} and {shown(fact.target)}; keep one of them, or set "
                    'replaces to "prompt"'
                )
        alike.append((label, fact))
        by_slot[fact.slot] = label, fact
        by_id[fact.id] = label
    return [fact for _, fact in by_slot.values()]


def facts_table_html(facts: Sequence[Fact]) -> str:
    """An HTML table of facts, one row each; all text is escaped."""
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
    """The prompt, with exactly one place for the subject."""
    prompt = checked_text("prompt", value, stripped)
    places = len(pieces(prompt)) - 1
    if places == 0:
        remedy = (
            f"write the prompt with {SLOT} where {shown(subject)} stands"
            if subject in prompt
            else f"write {SLOT} where the subject stands"
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
    """A paraphrase with its subject filled in.

    A subject that itself holds ``{}`` may already stand there, in full.
    """
    return text if SLOT in subject and subject in text else completed(text, subject)


def _unfilled(text: str, subject: str) -> str:
    """What :func:`_fill` makes this text of."""
    return text if _fill(text, subject) == text else escaped(text)


def _neighbors(value: object) -> tuple[str, ...]:
    """The neighbors, complete as they stand: they are about other subjects."""
    texts = checked_texts("neighbors", value, strip=stripped)
    for number, text in enumerate(texts, 1):
        if completed(text, "") != completed(text, SLOT):
            raise InputError(
                f"neighbor {number}: {shown(text)} has {SLOT}; a neighbor is about another "
                f"subject: write that subject out, or {LITERAL} for a literal {SLOT}"
            )
    return tuple(completed(text, "") for text in texts)


def _say_the_same(text: str, one: str, other: str | None) -> bool:
    """Whether two targets make the same text behind a prompt, but for white space."""
    return other is not None and spaced(statement(text, one)) == spaced(statement(text, other))


def spaced(text: str) -> str:
    """``text`` without differences of composition and of white space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def replaced(earlier: Fact, later: Fact) -> bool:
    """Whether a fact takes the place of one that was written before it; see `Fact.replaces`."""
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
    """12 hexadecimal digits of the SHA-256 of the three texts."""
    content = json.dumps([subject, prompt, target], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:12]
