"""Batched greedy completions.

Greedy always means the token with the largest logit, until a closing token or the maximum number of
tokens. The model's generation settings (sampling, suppressed tokens, guidance, penalties, stopping)
are ignored.
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

#: Default number of new tokens.
TOKENS = 12
#: Prompts per call of generate.
_AT_ONCE = 64
#: Tokens of the prompt that are decoded with the first new one, which affect its spelling.
CONTEXT = 8
#: The replacement character that decoders write for incomplete characters.
BROKEN = "\ufffd"
#: The name of a token that is one byte of a character.
_BYTE = re.compile("<0x([0-9A-F]{2})>")


@using_model
@torch.no_grad()
def generate_greedy(
    model: EditableModel,
    prompts: Sequence[str],
    tokens: int = TOKENS,
    monitor: Monitor | None = None,
) -> list[str]:
    """Return greedy continuations, without the prompts.

    Args:
        model: the model with its current weights.
        prompts: the prompts.
        tokens: maximum number of new tokens; a closing token ends a text earlier. Other special
            tokens appear by name, such as ``<|im_start|>``.
        monitor: can cancel between batches.

    Raises:
        InputError: if a prompt has no token, or prompt and new tokens exceed the model's positions.
    """
    monitor = monitor or Monitor(show=None)
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    for prompt, row in zip(prompts, rows, strict=True):
        check_max_length(model, prompt, len(row), tokens)
    texts: list[str] = [""] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends, generator = closing_tokens(model), _without_settings(model)
    for first in range(0, len(rows), _AT_ONCE):
        monitor.check()
        group = order[first : first + _AT_ONCE]
        longest = max(len(rows[i]) for i in group)
        # Left padding, masked: generation needs all prompts to end at the same position.
        ids = torch.zeros(len(group), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for place, i in enumerate(group):
            ids[place, longest - len(rows[i]) :] = torch.tensor(rows[i])
            mask[place, longest - len(rows[i]) :] = 1
        model.check_ids(ids)
        out = generator.generate(
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


def check_max_length(model: EditableModel, prompt: object, length: int, tokens: int) -> None:
    """Refuse a prompt without a token, or one too long for the model.

    Args:
        model: the model.
        prompt: the prompt, for the message.
        length: number of its tokens.
        tokens: maximum number of new tokens.

    Raises:
        InputError: if there is no token, or there are too many.
    """
    if not length:
        raise InputError("the prompt has no token; type some text")
    limit = model.max_length
    if limit is not None and length + tokens > limit:
        raise InputError(
            f"prompt {shown(prompt)} and new tokens are {length} + {tokens} tokens, but the model "
            f"has positions for {limit}; shorten one of them"
        )


def _without_settings(model: EditableModel) -> Any:
    """Return a shallow copy of the model without generation settings, which generate would apply.

    It shares weights and modules; the model itself is unchanged.
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
    """Return the text that new tokens add to a prompt.

    They are decoded together with the end of the prompt, because some tokenizers strip the first
    space of a text. An incomplete character at the end is dropped.

    Args:
        tokenizer: the model's tokenizer.
        prompt: token ids of the prompt.
        new: the new token ids.
        special: True to write special tokens by name, False to drop them.
    """

    def decode(ids: Sequence[int]) -> str:
        # Spaces before punctuation are part of the model's output.
        return str(
            tokenizer.decode(
                list(ids), skip_special_tokens=not special, clean_up_tokenization_spaces=False
            )
        )

    start = max(0, len(prompt) - CONTEXT)
    # Never start inside a character: byte decoders would break adjacent characters, too.
    while start and decode(prompt[start:]).startswith(BROKEN):
        start -= 1
    front, kept = prompt[start:], new[: len(new) - _cut(tokenizer, new)]
    before, whole = decode(front), decode([*front, *kept])
    added = whole[len(before) :] if whole.startswith(before) else decode(kept)
    return added.rstrip(BROKEN)


def added_text(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], token: int) -> str:
    """Return the text that one token adds; decoded alone, it could lose its leading space."""

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    before, whole = decode(ids[-CONTEXT:]), decode([*ids[-CONTEXT:], token])
    return whole[len(before) :] if whole.startswith(before) else decode([token])


def _cut(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> int:
    """Return the number of byte tokens at the end that belong to an incomplete character.

    A run of byte tokens is decoded as a whole or not at all, so they would break complete
    characters before them.
    """
    for count, token in enumerate(reversed(ids[-3:]), 1):
        piece = _BYTE.fullmatch(str(tokenizer.convert_ids_to_tokens(token)))
        if piece is None:
            return 0
        byte = int(piece[1], 16)
        if byte & 0xC0 != 0x80:  # the first byte of a character gives the number of bytes
            whole = 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if count < whole else 0
    return 0


def closing_tokens(model: EditableModel) -> list[int]:
    """Return the end-of-sequence tokens of the tokenizer and of the model's generation settings."""
    settings = model.model.generation_config
    own = None if settings is None else settings.eos_token_id
    tokens = [model.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({token for token in tokens if isinstance(token, int)})
