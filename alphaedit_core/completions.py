"""What a model says next: greedy completions of many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch

from .models import EditableModel, using_model
from .progress import Monitor
from .prompts import encode

#: Prompts in one call of generate.
_AT_ONCE = 64


@using_model
@torch.no_grad()
def complete(
    model: EditableModel,
    prompts: Sequence[str],
    tokens: int = 12,
    monitor: Monitor | None = None,
) -> list[str]:
    """Greedy continuations, without the prompts.

    Greedy whatever the model's own generation settings say: those of many models sample, or punish
    repetition.

    Args:
        model: the model, as it stands.
        prompts: the prompts.
        tokens: new tokens at most; a closing token ends a text earlier.
        monitor: asked between batches whether to stop.
    """
    monitor = monitor or Monitor(show=None)
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    texts: list[str] = [""] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    ends = closing_tokens(model)
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
        out = model.model.generate(  # type: ignore[operator]
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
        )
        for place, i in enumerate(group):
            new = takewhile(lambda token: token not in ends, out[place, longest:].tolist())
            texts[i] = str(model.tokenizer.decode(list(new), skip_special_tokens=True))
    return texts


def closing_tokens(model: EditableModel) -> list[int]:
    """Tokens that close a text: the tokenizer's, and those of the model's generation settings."""
    settings = model.model.generation_config
    own = None if settings is None else settings.eos_token_id
    found = [model.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
    return sorted({token for token in found if isinstance(token, int)})
