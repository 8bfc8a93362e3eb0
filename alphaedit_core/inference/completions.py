"""What a model says next: greedy completions of many prompts at once.

Greedy means one thing wherever this library writes: the token with the largest of the model's own
logits, until a closing token or so many tokens. What the settings beside a model say of sampling,
suppressed tokens, guidance, penalties or stopping changes nothing of it.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from alphaedit_core.errors import InputError
from alphaedit_core.messages import shown
from alphaedit_core.model.editable_model import EditableModel, using_model
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: New tokens, where nobody says how many.
TOKENS = 12
#: Prompts in one call of generate.
_AT_ONCE = 64
#: Tokens of the prompt that decide how the first new one is spelled.
CONTEXT = 8
#: What decoders write for bytes that are not (yet) a character.
BROKEN = "\ufffd"
#: How tokenizers name a token that is one byte of a character.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


@using_model
@torch.no_grad()
def generate_greedy(
    model: EditableModel,
    prompts: Sequence[str],
    tokens: int = TOKENS,
    monitor: Monitor | None = None,
) -> list[str]:
    """Greedy continuations, without the prompts.

    Args:
        model: the model, as it stands.
        prompts: the prompts.
        tokens: new tokens at most; a closing token ends a text earlier. Other special tokens show
            by name, such as ``<|im_start|>``.
        monitor: asked between batches whether to stop.

    Raises:
        InputError: if a prompt has no token, or prompt and new tokens are more than the model has
            positions for.
    """
    monitor = monitor or Monitor(show=None)
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        check_room(model, prompt, len(row), tokens)
    texts: list[str] = [""] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends, speaker = closing_tokens(model), _without_settings(model)
    for first in range(0, len(rows), _AT_ONCE):
        monitor.check()
        group = order[first : first + _AT_ONCE]
        longest = max(len(rows[i]) for i in group)
        # Generation needs the prompts to end together, so here padding is on the left, and masked.
        ids = torch.zeros(len(group), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, i in enumerate(group):
            ids[place, longest - len(rows[i]) :] = torch.tensor(rows[i])
            mask[place, longest - len(rows[i]) :] = 1
        model.check_ids(ids)
        out = speaker.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                max_new_tokens=tokens,
                do_sample=False,
                eos_token_id=ends or None,
                pad_token_id=ends[0] if ends else 0,
            ),
        )
        for place, i in enumerate(group):
            new = takewhile(lambda token: token not in ends, out[place, longest:].tolist())
            texts[i] = new_text(model.tokenizer, rows[i], list(new), special=True)
    return texts


def check_room(model: EditableModel, prompt: object, length: int, tokens: int) -> None:
    """Refuse a prompt that has no token, or too many for new ones to follow.

    Args:
        model: the model.
        prompt: for the message.
        length: its tokens.
        tokens: new tokens at most.

    Raises:
        InputError: saying which.
    """
    if not length:
        raise InputError("the prompt has no token; type some text")
    room = model.max_length
    if room is not None and length + tokens > room:
        raise InputError(
            f"prompt {shown(prompt)} and new tokens are {length} + {tokens} tokens, but the model "
            f"has positions for {room}; shorten one of them"
        )


def _without_settings(model: EditableModel) -> Any:
    """The model with no generation settings of its own, which generate would fill in.

    A view of it: weights and modules are the same, and nothing changes for whoever else uses it.
    """
    view = copy.copy(model.model)
    view.generation_config = GenerationConfig()
    return view


def new_text(
    tokenizer: PreTrainedTokenizerFast,
    prompt: Sequence[int],
    new: Sequence[int],
    special: bool = False,
) -> str:
    """What new tokens add to a prompt's text.

    Decoded behind the prompt's end, since some tokenizers take the first space of a text away. Of a
    character that is not finished at the end there is nothing.

    Args:
        tokenizer: the model's.
        prompt: token ids of the prompt.
        new: the new ones.
        special: whether special tokens show by name; left out otherwise.
    """

    def decode(ids: Sequence[int]) -> str:
        # Spaces before punctuation are the model's own words here.
        return str(
            tokenizer.decode(
                list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )

    start = max(0, len(prompt) - CONTEXT)
    # Not from inside a character: decoders of bytes break all others beside it, too.
    while start and decode(prompt[start:]).startswith(BROKEN):
        start -= 1
    front, kept = prompt[start:], new[: len(new) - _cut(tokenizer, new)]
    before, whole = decode(front), decode([*front, *kept])
    added = whole[len(before) :] if whole.startswith(before) else decode(kept)
    return added.rstrip(BROKEN)


def added_text(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], token: int) -> str:
    """What one token adds to a text; decoded alone, some tokenizers would take its space away."""

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    before, whole = decode(ids[-CONTEXT:]), decode([*ids[-CONTEXT:], token])
    return whole[len(before) :] if whole.startswith(before) else decode([token])


def _cut(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> int:
    """Tokens at the end that are single bytes of a character that is not finished.

    Left in, they would take finished characters before them along: a run of such tokens is decoded
    as a whole or not at all.
    """
    for count, token in enumerate(reversed(ids[-3:]), 1):
        piece = _BYTE.fullmatch(str(tokenizer.convert_ids_to_tokens(token)))
        if piece is None:
            return 0
        byte = int(piece[1], 16)
        if byte & 0xC0 != 0x80:  # the character's first, which says how many there are
            whole = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if count < whole else 0
    return 0


def closing_tokens(model: EditableModel) -> list[int]:
    """Tokens that close a text: the tokenizer's, and those of the model's generation settings."""
    settings = model.model.generation_config
    own = None if settings is None else settings.eos_token_id
    found = [model.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({token for token in found if isinstance(token, int)})
