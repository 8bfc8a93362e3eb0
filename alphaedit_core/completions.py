"""What a model says next: greedy completions of many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .models import EditableModel
from .progress import Monitor
from .prompts import encode

#: Prompts in one call of generate.
_AT_ONCE = 64


@torch.no_grad()
def complete(
    model: EditableModel,
    prompts: Sequence[str],
    tokens: int = 12,
    monitor: Monitor | None = None,
) -> list[str]:
    """Greedy continuations, without the prompts.

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
    end = model.tokenizer.eos_token_id
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
        out = model.model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=tokens,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=end if isinstance(end, int) else 0,
        )
        for place, i in enumerate(group):
            texts[i] = model.tokenizer.decode(out[place, longest:], skip_special_tokens=True)
    return texts
