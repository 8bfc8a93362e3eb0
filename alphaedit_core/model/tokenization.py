"""Facts as token ids: where the subject ends, and what the target's tokens are.

The subject is located by the tokenizer's character offsets, never by counting tokens of a prefix:
a subject that merges with the word after it, or a character that takes several tokens, is found
all the same. Special tokens in front (a BOS) are the tokenizer's own choice and come once; token
ids are joined, never decoded and encoded again.
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

#: A first token whose hidden state is longer than this many times the next one's is an outlier.
OUTLIER = 3.0


@dataclass(frozen=True)
class TokenRow:
    """A text as token ids, with the index of the subject's last token."""

    ids: tuple[int, ...]
    subject: int


@dataclass(frozen=True)
class TokenizedFact:
    """A fact as one model's tokens.

    Attributes:
        fact: the fact.
        target: token ids of the new target, with its leading space where the script has one.
        target_true: the same for the true target, or None.
        rows: the bare prompt first, then one row per context in front of it.
        essence: ``{subject} is a`` up to the subject's last token, for the KL term.
        note: what a person should know about how the fact was read, or "".
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
    """Token ids and character offsets of a text that goes on: BOS if any, no closing tokens."""
    encoding = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
    ids, offsets = list(encoding["input_ids"]), list(encoding["offset_mapping"])
    special = encoding["special_tokens_mask"]
    while ids and special[len(ids) - 1] and any(not mark for mark in special[: len(ids)]):
        ids.pop()
        offsets.pop()
    return ids, offsets


def find_subject(tokenizer: PreTrainedTokenizerFast, text: str, end: int) -> TokenRow:
    """Encode a text and find the last token that holds character ``end`` - 1.

    Raises:
        InputError: if no token does.
    """
    ids, offsets = encode(tokenizer, text)
    holds = [i for i, (start, stop) in enumerate(offsets) if start < end <= stop]
    if not holds:
        raise InputError(
            f'the tokenizer has no token for "{text[:end][-20:]}"; write the subject differently'
        )
    return TokenRow(tuple(ids), holds[-1])


def target_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, target: str) -> tuple[int, ...]:
    """Token ids of a target as it follows a prompt; :mod:`.joining` says what stands between them.

    Where nothing does, and the tokens of prompt and target as one text begin with the prompt's own,
    they are the rest. Otherwise they are those that the target has in running text: encoded after
    a neutral anchor, which is then taken off (some tokenizers put a space before any first word,
    others do not, and so neither matters).
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
    """What a tokenizer reads as control tokens wherever it stands in a text: ``<|im_start|>``."""
    added = tokenizer.added_tokens_decoder.values()
    names = {*tokenizer.all_special_tokens, *(token.content for token in added if token.special)}
    return sorted(name for name in names if name)


def _control_note(control: Sequence[str], fact: Fact) -> str:
    """That control tokens stand in a fact's texts, or ""."""
    texts = {"prompt": fact.text, "target": fact.target, "true target": fact.target_true or ""}
    said = [
        f"the {name} holds {' '.join(found)}"
        for name, text in texts.items()
        if (found := [token for token in control if token in text])
    ]
    return f"{', '.join(said)}, read as control tokens and not as text" if said else ""


def prepare(
    model: EditableModel, facts: Sequence[Fact], contexts: Sequence[str], last_layer: int
) -> list[TokenizedFact]:
    """Facts as the token rows that targets and keys are computed from.

    Args:
        model: the model, as it stands.
        facts: the facts.
        contexts: texts to put in front of the prompt, each followed by ``". "``.
        last_layer: the last edited block, where an outlier at the first position is looked for.

    Raises:
        InputError: if a subject or target has no tokens, or one that the model does not have.
    """
    requests = [_request(model.tokenizer, fact, contexts) for fact in facts]
    for number, request in enumerate(requests, 1):
        own = len(request.rows[0].ids)
        longest = max(len(row.ids) for row in request.rows)
        front, target = longest - own, len(request.target)
        _check_length(f"fact {number}", request.fact, model, own, target, front)
        model.check_ids([*request.target, *(token for row in request.rows for token in row.ids)])
    control = control_tokens(model.tokenizer)
    requests = [replace(one, note=_control_note(control, one.fact)) for one in requests]
    return _move_off_the_start(model, requests, last_layer)


def check_lengths(
    model: EditableModel, facts: Sequence[Fact], front: int = 0, behind: int = 0
) -> None:
    """Refuse facts that are longer than what the model reads.

    Args:
        model: the model.
        facts: the facts.
        front: tokens that contexts put before a prompt, at most.
        behind: tokens that are to follow a prompt, if that is more than the target has.

    Raises:
        InputError: naming the fact, its tokens, the limit and what helps.
    """
    room = model.max_length
    for number, fact in enumerate(facts if room is not None else (), 1):
        prompt = len(encode(model.tokenizer, fact.text)[0])
        texts = (fact.target, fact.target_true)
        target = max(len(target_ids(model.tokenizer, fact.text, text)) for text in texts if text)
        _check_length(f"fact {number}", fact, model, prompt, max(target, behind), front)


def _check_length(
    name: str, fact: Fact, model: EditableModel, own: int, behind: int, front: int
) -> None:
    room = model.max_length
    if room is not None and own + behind + front > room:
        context = f", {front} of a context before it" if front else ""
        remedy = ", or set contexts to 0" if front and own + behind <= room else ""
        raise InputError(
            f"{name}: {shown(fact.text)} has {own} tokens{context} and {behind} behind it, for its "
            f"target or for the completion that is compared, and the model reads {room}; shorten "
            f"the prompt{remedy}"
        )


def _request(
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
def _move_off_the_start(
    model: EditableModel, requests: list[TokenizedFact], last_layer: int
) -> list[TokenizedFact]:
    """Put a context before bare prompts whose subject ends at an outlying first token.

    Where a model adds no BOS, the first token of a text can take over the role of one: its hidden
    state is then many times longer than any other and says nothing of the subject.
    """
    at_start = [i for i, request in enumerate(requests) if request.rows[0].subject == 0]
    if not at_start:
        return requests
    bare = [requests[i].rows[0].ids[:2] for i in at_start]
    ids = pad_rows([row + row[:1] if len(row) == 1 else row for row in bare], model.device)
    norms = record(model, ids, last_layer + 1, last_layer + 1).entry.float().norm(dim=-1)
    moved = list(requests)
    for i, (first, second) in zip(at_start, norms.tolist(), strict=True):
        request = requests[i]
        if first > OUTLIER * second and len(request.rows) > 1:
            note = (
                f'subject "{request.fact.subject}" is the first token, whose hidden state is '
                f"{first / second:.0f} times the next one's: a context was put before the prompt"
            )
            note = "; ".join(filter(None, (request.note, note)))
            moved[i] = replace(request, rows=(request.rows[1], *request.rows[1:]), note=note)
    return moved
