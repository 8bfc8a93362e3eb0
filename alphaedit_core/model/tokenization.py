"""Facts as token ids: the position of the subject's last token, and the target's tokens.

The subject is located by the tokenizer's character offsets, not by counting tokens of a prefix.
This also works if the subject merges with the next word, or if a character takes several tokens.
The tokenizer decides on special tokens at the start, such as a BOS, which occur once. Token ids are
concatenated, never decoded and encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.joining import bare, joint, spaceless
from alphaedit_core.errors import InputError
from alphaedit_core.messages import shown

from .editable_model import EditableModel
from .forward import pad_rows, record

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: A first token is an outlier if its hidden state's norm is over this many times the next one's.
OUTLIER = 3.0


@dataclass(frozen=True)
class TokenRow:
    """A text as token ids, with the index of the subject's last token."""

    ids: tuple[int, ...]
    subject: int


@dataclass(frozen=True)
class TokenizedFact:
    """A fact as token ids of one model.

    Attributes:
        fact: the fact.
        target: token ids of the new target, including its leading space if the script has one.
        target_true: token ids of the true target, or None.
        rows: the prompt alone, then the prompt after each context.
        essence: ``{subject} is a`` up to the subject's last token, for the KL term.
        note: remarks for the user on how the fact was tokenized, or "".
    """

    fact: Fact
    target: tuple[int, ...]
    target_true: tuple[int, ...] | None
    rows: tuple[TokenRow, ...]
    essence: TokenRow
    note: str = ""


def encode(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> tuple[list[int], list[tuple[int, int]]]:
    """Return token ids and character offsets, with the tokenizer's BOS but no closing tokens."""
    encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    ids, offsets = list(encoding["input_ids"]), list(encoding["offset_mapping"])
    special = encoding["special_tokens_mask"]
    while ids and special[len(ids) - 1] and any(not mark for mark in special[: len(ids)]):
        ids.pop()
        offsets.pop()
    return ids, offsets


def find_subject(tokenizer: PreTrainedTokenizerFast, text: str, end: int) -> TokenRow:
    """Encode a text and find the last token that contains character ``end`` - 1.

    Raises:
        InputError: if no token contains the character.
    """
    ids, offsets = encode(tokenizer, text)
    containing = [i for i, (start, stop) in enumerate(offsets) if start < end <= stop]
    if not containing:
        raise InputError(
            f'the tokenizer has no token for "{text[:end][-20:]}"; write the subject differently'
        )
    return TokenRow(tuple(ids), containing[-1])


def target_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> tuple[int, ...]:
    """Return the token ids of a target after a prompt; :mod:`.joining` chooses the separator.

    If there is no separator and the joint text's tokens begin with the tokens of the prompt, the
    remaining tokens are the target's. Otherwise the target is encoded after a neutral anchor, whose
    tokens are then removed. The anchor gives the tokens of running text whether or not the
    tokenizer puts a space before the first word.
    """
    between, target = joint(prompt, target), bare(target)
    if not between and not (prompt[-1].isspace() or spaceless(prompt[-1]) or spaceless(target[0])):
        own, whole = encode(tokenizer, prompt)[0], encode(tokenizer, prompt + target)[0]
        if whole[: len(own)] == own and len(whole) > len(own):
            return tuple(whole[len(own) :])
    anchor = "x" if between else "."
    text = anchor + between + target
    head = tokenizer(anchor, add_special_tokens=False)["input_ids"]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if ids[: len(head)] == head:
        return tuple(ids[len(head) :])
    return tuple(tokenizer(text[len(anchor) :], add_special_tokens=False)["input_ids"])


def control_tokens(tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Return the strings that a tokenizer reads as control tokens, such as ``<|im_start|>``."""
    added = tokenizer.added_tokens_decoder.values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    return sorted(name for name in names if name)


def _control_note(control: Sequence[str], fact: Fact) -> str:
    """Return a note on the control tokens in a fact's texts, or "" if there are none."""
    texts = {"prompt": fact.text, "target": fact.target, "true target": fact.target_true or ""}
    notes = [
        f"the {name} contains {' '.join(tokens)}"
        for name, text in texts.items()
        if (tokens := [token for token in control if token in text])
    ]
    return f"{', '.join(notes)}, read as control tokens and not as text" if notes else ""


def prepare(
    model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], last_layer: int
) -> list[TokenizedFact]:
    """Tokenize facts into the rows from which targets and keys are computed.

    Args:
        model: the model, with its current weights.
        facts: the facts.
        contexts: texts to put before the prompt, each followed by ``". "``.
        last_layer: the last edited block, where the first position is checked for an outlier.

    Raises:
        InputError: if a fact is too long, or a subject or target has no tokens or tokens that are
            not in the model's embedding.
    """
    tokenized = [_tokenize(model.tokenizer, fact, contexts) for fact in facts]
    for number, item in enumerate(tokenized, 1):
        own = len(item.rows[0].ids)
        longest = max(len(row.ids) for row in item.rows)
        front, target = longest - own, len(item.target)
        _check_length(f"fact {number}", item.fact, model, own, target, front)
        model.check_ids([*item.target, *(token for row in item.rows for token in row.ids)])
    control = control_tokens(model.tokenizer)
    tokenized = [replace(item, note=_control_note(control, item.fact)) for item in tokenized]
    return _avoid_outlying_first_tokens(model, tokenized, last_layer)


def check_lengths(
    model: EditableModel, facts: Sequence[Fact], front: int = 0, behind: int = 0
) -> None:
    """Check that facts fit into the model's maximum length.

    Args:
        model: the model.
        facts: the facts.
        front: maximum number of context tokens before a prompt.
        behind: number of tokens to generate after a prompt; counted if the target is shorter.

    Raises:
        InputError: if a fact is too long; names the fact, its length, the limit and the remedy.
    """
    limit = model.max_length
    for number, fact in enumerate(facts if limit is not None else (), 1):
        prompt = len(encode(model.tokenizer, fact.text)[0])
        texts = (fact.target, fact.target_true)
        target = max(len(target_ids(model.tokenizer, fact.text, text)) for text in texts if text)
        _check_length(f"fact {number}", fact, model, prompt, max(target, behind), front)


def _check_length(
    name: str, fact: Fact, model: EditableModel, own: int, behind: int, front: int
) -> None:
    limit = model.max_length
    if limit is not None and own + behind + front > limit:
        context = f", {front} of a context before it" if front else ""
        remedy = ", or set contexts to 0" if front and own + behind <= limit else ""
        raise InputError(
            f"{name}: {shown(fact.text)} has {own} tokens{context} and {behind} after it for the "
            f"target or completion, and the model reads {limit}; shorten the prompt{remedy}"
        )


def _tokenize(
    tokenizer: PreTrainedTokenizerFast, fact: Fact, contexts: Sequence[str]
) -> TokenizedFact:
    end = fact.subject_span[1]
    rows = [find_subject(tokenizer, fact.text, end)]
    for context in contexts:
        front = context + ". "
        rows.append(find_subject(tokenizer, front + fact.text, len(front) + end))
    essence = find_subject(tokenizer, f"{fact.subject} is a", len(fact.subject))
    essence = TokenRow(essence.ids[: essence.subject + 1], essence.subject)
    target = target_ids(tokenizer, fact.text, fact.target)
    if not target:
        raise InputError(f'target "{fact.target}" has no tokens in this model; choose another')
    true = target_ids(tokenizer, fact.text, fact.target_true) if fact.target_true else None
    return TokenizedFact(fact, target, true, tuple(rows), essence)


@torch.no_grad()
def _avoid_outlying_first_tokens(
    model: EditableModel, tokenized: list[TokenizedFact], last_layer: int
) -> list[TokenizedFact]:
    """Put a context before prompts whose subject ends at an outlying first token.

    In a model without BOS, the first token of a text can take over its role. The norm of its hidden
    state is then many times larger than any other, and the state does not represent the subject.
    """
    at_start = [i for i, item in enumerate(tokenized) if item.rows[0].subject == 0]
    if not at_start:
        return tokenized
    starts = [tokenized[i].rows[0].ids[:2] for i in at_start]
    ids = pad_rows([row + row[:1] if len(row) == 1 else row for row in starts], model.device)
    norms = record(model, ids, last_layer + 1, last_layer + 1).entry.float().norm(dim=-1)
    moved = list(tokenized)
    for i, (first, second) in zip(at_start, norms.tolist(), strict=True):
        item = tokenized[i]
        if first > OUTLIER * second and len(item.rows) > 1:
            note = (
                f'subject "{item.fact.subject}" is the first token, whose hidden state is '
                f"{first / second:.0f} times the next one's: a context was put before the prompt"
            )
            note = "; ".join(filter(None, (item.note, note)))
            moved[i] = replace(item, rows=(item.rows[1], *item.rows[1:]), note=note)
    return moved
