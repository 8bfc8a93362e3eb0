"""Batched generation with a key-value cache.

Texts of similar length are generated together, and a prompt of several texts is read once. The
random numbers of each text depend only on the seed, its prompt and its draw, so a text does not
depend on the rest of its batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from alphaedit_core.errors import InputError
from alphaedit_core.inference.queries import GenerationQuery
from alphaedit_core.model.batch_planning import free_memory
from alphaedit_core.model.editable_model import EditableModel, using_model
from alphaedit_core.model.forward import ending_before, run_model
from alphaedit_core.model.prefix_cache import PrefixCache
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor

from .completions import closing_tokens, new_text
from .token_by_token import chat_ids

#: Maximum number of texts per batch: more gain nothing on a CPU, where caches are small …
_MOST_CPU = 64
#: … nor on a GPU.
_MOST_GPU = 256
#: Finished texts are dropped from a batch once they make up this share of it.
_DROP = 0.125


@using_model
@torch.no_grad()
def write(
    model: EditableModel,
    queries: Sequence[GenerationQuery],
    seed: int = 0,
    at_once: int | None = None,
    monitor: Monitor | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """Generate the requested texts, without their prompts.

    A text also ends if the model's output is not finite.

    Args:
        model: the model with its current weights.
        queries: prompts, with the settings of each.
        seed: seed of all random draws.
        at_once: batch size; None to choose it by the free memory.
        monitor: can cancel after every token.
        done: called with the number of texts just finished.

    Raises:
        InputError: if a prompt has no token, if prompt and new tokens exceed the model's positions,
            or if a query uses chat and the model has no chat template.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor(show=None)
    ends = frozenset(closing_tokens(model))
    texts = [_Text.begin(model, query, seed, ends) for query in queries]
    unfinished = [text for text in texts if text.left]
    done(len(texts) - len(unfinished))
    # Texts with equally many steps together, and equal prompts side by side.
    unfinished.sort(key=lambda text: (-text.left, -len(text.prompt), text.prompt))
    longest = max((len(text.prompt) + text.left for text in unfinished), default=0)
    size = at_once or _fitting(model, longest)
    for first in range(0, len(unfinished), size):
        _write(model, unfinished[first : first + size], monitor, done)
    return [new_text(model.tokenizer, text.prompt, text.new) for text in texts]


def _fitting(model: EditableModel, length: int) -> int:
    """Return how many texts' keys and values fit into a quarter of the free memory."""
    most = _MOST_CPU if model.device.type == "cpu" else _MOST_GPU
    token = 2 * model.layers * model.architecture.hidden_size * model.dtype.itemsize
    return max(1, min(most, free_memory(model.device) // 4 // (token * max(length, 1))))


@dataclass(eq=False)
class _Text:
    """A text during generation.

    Attributes:
        prompt: token ids of the prompt.
        left: number of tokens still to generate.
        top_k: number of most likely tokens to sample from.
        ends: tokens that end the text.
        draws: a random number in [0, 1) for each new token.
        new: tokens generated so far.
    """

    prompt: tuple[int, ...]
    left: int
    top_k: int
    ends: frozenset[int]
    draws: list[float]
    new: list[int] = field(default_factory=list)

    @classmethod
    def begin(
        cls, model: EditableModel, query: GenerationQuery, seed: int, ends: frozenset[int]
    ) -> _Text:
        ids = (
            chat_ids(model, query.prompt)
            if query.chat
            else encode(model.tokenizer, query.prompt)[0]
        )
        if not ids:
            raise InputError(f'the prompt "{query.prompt}" has no token; type some text')
        left = max(0, query.tokens - len(ids)) if query.whole else query.tokens
        limit = model.max_length
        if limit is not None and len(ids) + left > limit:
            raise InputError(
                f'"{query.prompt[:40]}…" and its continuation are {len(ids)} + {left} tokens, but '
                f"the model has positions for {limit}; ask for less"
            )
        draws = draws_of(seed, ids, query.draw, left) if query.top_k > 1 else []
        return cls(tuple(ids), left, query.top_k, frozenset() if query.whole else ends, draws)

    def sample(self, candidates: Sequence[int], chances: Sequence[float]) -> None:
        """Sample the next token.

        Args:
            candidates: ids of the most likely tokens, the most likely first; at least ``top_k``.
            chances: their weights; NaN if the model's output is not finite.
        """
        weights = chances[: self.top_k]
        total = sum(weights)
        if not total > 0:
            self.left = 0
            return
        choice = 0
        if self.top_k > 1:
            remaining, choice = self.draws[len(self.new)] * total - weights[0], 0
            while remaining >= 0 and choice + 1 < len(weights):
                choice += 1
                remaining -= weights[choice]
        if candidates[choice] in self.ends:
            self.left = 0
            return
        self.new.append(candidates[choice])
        self.left -= 1


def draws_of(seed: int, prompt: Sequence[int], draw: int, count: int) -> list[float]:
    """Return the random numbers of one text, in [0, 1)."""
    digest = hashlib.sha256(f"{seed} {draw} {list(prompt)}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.rand(count, generator=generator, dtype=torch.float64).tolist()


def _write(
    model: EditableModel, texts: list[_Text], monitor: Monitor, done: Callable[[int], None]
) -> None:
    """Generate one batch of texts to their ends."""
    device = model.device
    begins = list(dict.fromkeys(text.prompt[:-1] for text in texts))
    index = {begin: i for i, begin in enumerate(begins)}
    rows = torch.tensor([index[text.prompt[:-1]] for text in texts], device=device)
    prefix = PrefixCache(model, begins).cache(range(len(begins)))
    layers = [_Growing(layer, rows, max(text.left for text in texts)) for layer in prefix.layers]
    del prefix
    growing = DynamicCache()
    growing.layers = list(layers)
    lengths = torch.tensor([len(text.prompt) - 1 for text in texts], device=device)
    # Left padding, masked: all prompts end at the same position.
    longest = int(lengths.max())
    mask = (torch.arange(longest, device=device) >= longest - lengths[:, None]).long()
    last = [text.prompt[-1] for text in texts]
    most = max(text.top_k for text in texts)
    while texts:
        monitor.check()
        mask = torch.cat([mask, mask.new_ones(len(texts), 1)], dim=1)
        with ending_before(model, model.layers) as end:
            run_model(
                model,
                torch.tensor(last, device=device)[:, None],
                # A finished text that is not dropped yet may exceed the last position.
                positions=lengths[:, None].clamp(max=(model.max_length or 1 << 30) - 1),
                # Attention is faster without a mask, which only padding needs.
                mask=None if bool(mask.all()) else mask,
                cache=growing,
            )
        best = model.architecture.logits(end[0][:, -1]).topk(most, dim=1)
        values = best.values.cpu().double()
        chances = (values - values[:, :1]).exp().tolist()
        for text, *choices in zip(texts, best.indices.tolist(), chances, strict=True):
            if text.left:
                text.sample(*choices)
        lengths = lengths + 1
        left = [i for i, text in enumerate(texts) if text.left]
        if not left or len(texts) - len(left) >= _DROP * len(texts):
            done(len(texts) - len(left))
            rows_left = torch.tensor(left, device=device, dtype=torch.long)
            texts, lengths, mask = [texts[i] for i in left], lengths[rows_left], mask[rows_left]
            for layer in layers:
                layer.keep(rows_left)
        # Any token will do for a finished text that is not dropped yet.
        last = [text.new[-1] if text.new else text.prompt[-1] for text in texts]


class _Growing(DynamicLayer):
    """Keys and values of one block, preallocated, so that no step copies them.

    Args:
        begin: keys and values of the shared prompts.
        rows: index of each text's prompt, int64.
        steps: maximum number of new tokens.
    """

    def __init__(self, begin: Any, rows: Tensor, steps: int) -> None:
        super().__init__()
        self._steps, self._length = steps, 0
        self._buffers: tuple[Tensor, Tensor] | None = None
        if begin.keys is not None:
            self.update(begin.keys[rows], begin.values[rows])

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        start, stop = self._length, self._length + key_states.shape[2]
        if self._buffers is None:
            self.lazy_initialization(key_states, value_states)
            self._steps += stop
            self._buffers = (
                _allocate(key_states, self._steps),
                _allocate(value_states, self._steps),
            )
        keys, values = self._buffers
        keys[:, :, start:stop], values[:, :, start:stop] = key_states, value_states
        self._length = stop
        self.keys, self.values = keys[:, :, :stop], values[:, :, :stop]
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Keep only these texts."""
        if self._buffers is not None:
            self._buffers = self._buffers[0][rows], self._buffers[1][rows]
            self.keys, self.values = (part[:, :, : self._length] for part in self._buffers)


def _allocate(states: Tensor, length: int) -> Tensor:
    rows, heads, _, width = states.shape
    return states.new_zeros(rows, heads, length, width)
