"""Attention keys and values of the prefixes of many rows, with shared beginnings computed once.

The rows of a batch often begin alike: every fact follows the same few contexts, a prompt that
starts with its subject starts like the text of the KL term, and neighborhood prompts share their
wording. The beginnings that save the most tokens are chosen first and go through the model alone.
The rest of each row then attends to their cached keys and values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from .editable_model import EditableModel
from .forward import by_length, ending_before, pad_rows, run_model

#: Padding tokens that any pass may contain, because fewer passes save more time.
_SLACK = 32
#: Beginnings whose length has at most this many bits form one class.
_SHORT = 5


class PrefixCache:
    """Attention keys and values of the prefixes of many rows.

    Args:
        model: the model.
        rows: token ids of the prefixes; all may be empty.
        token_limit: maximum number of tokens in one forward pass.
    """

    def __init__(
        self, model: EditableModel, rows: Sequence[Sequence[int]], token_limit: int = 4096
    ) -> None:
        self._model = model
        self._lengths = [len(row) for row in rows]
        shared = shared_beginnings(rows)
        beginnings = sorted({tuple(row[:cut]) for row, cut in zip(rows, shared, strict=True)})
        beginning_of = torch.tensor(
            [beginnings.index(tuple(row[:cut])) for row, cut in zip(rows, shared, strict=True)],
            device=model.device,
        )
        cached = _extend(model, _empty(len(beginnings), model.device), beginnings)
        rests = [row[cut:] for row, cut in zip(rows, shared, strict=True)]
        self._parts: list[tuple[list[int], _Cached]] = []
        for members in by_length([len(rest) for rest in rests], token_limit):
            before = cached.select(beginning_of[members])
            self._parts.append((members, _extend(model, before, [rests[i] for i in members])))

    def cache(self, rows: Sequence[int]) -> DynamicCache:
        """Return a frozen cache of some rows: later tokens attend to it but add nothing.

        Shorter prefixes are padded on the left, so that all prefixes end together. Distances in the
        cache then equal distances in the text, which a sliding window depends on. Later calls must
        mask the padding.
        """
        longest = max(self._lengths[row] for row in rows)
        frozen = DynamicCache()
        layers = [_FrozenLayer() for _ in range(self._model.layers)]
        frozen.layers = list(layers)
        if not longest:
            return frozen
        target_of = {row: i for i, row in enumerate(rows)}
        for members, part in self._parts:
            pairs = [(target_of[row], i) for i, row in enumerate(members) if row in target_of]
            if not pairs or not part.layers:
                continue
            to, source = torch.tensor(pairs, device=self._model.device).T
            for layer, tensors in zip(layers, part.layers, strict=True):
                layer.fill(len(rows), longest, to, *(tensor[source] for tensor in tensors))
        return frozen


@torch.no_grad()
def last_states(
    model: EditableModel, rows: Sequence[Sequence[int]], cuts: Sequence[int], token_limit: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Compute the outputs of the last block for the tokens after each row's beginning.

    Args:
        model: the model.
        rows: token ids of each row; at least one token follows each beginning.
        cuts: length of each row's beginning; equal beginnings are computed once.
        token_limit: maximum number of tokens in one forward pass, including the beginnings.

    Yields:
        Indices of some rows, and their outputs (rows, tokens, hidden_size), padded on the right.
        Every row occurs once.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for i, cut in enumerate(cuts):
        # Cached beginnings are padded to one length, so very different lengths are separated.
        classes[max(_SHORT, cut.bit_length())].append(i)
    for indices in classes.values():
        beginnings = sorted({tuple(rows[i][: cuts[i]]) for i in indices})
        position = {beginning: n for n, beginning in enumerate(beginnings)}
        cached = _compute_cached(model, beginnings, token_limit)
        for group in by_length([len(rows[i]) - cuts[i] for i in indices], token_limit, _SLACK):
            # Rows with beginnings of similar length, at most as many as the limit allows.
            members = sorted((indices[n] for n in group), key=lambda i: cuts[i])
            size = max(1, token_limit // max(len(rows[i]) for i in members))
            for first in range(0, len(members), size):
                part = members[first : first + size]
                chosen = [position[tuple(rows[i][: cuts[i]])] for i in part]
                before = cached.select(torch.tensor(chosen, device=model.device))
                yield part, _pass(model, before, [rows[i][cuts[i] :] for i in part])[0]


def _compute_cached(
    model: EditableModel, texts: Sequence[Sequence[int]], token_limit: int
) -> _Cached:
    """Compute the keys and values of some texts, in the given order."""
    parts = []
    for members in by_length([len(text) for text in texts], token_limit, _SLACK):
        empty = _empty(len(members), model.device)
        parts.append((members, _extend(model, empty, [texts[i] for i in members])))
    if len(parts) == 1 and parts[0][0] == list(range(len(texts))):
        return parts[0][1]
    lengths = torch.tensor([len(text) for text in texts], device=model.device)
    layers = [_FrozenLayer() for _ in range(model.layers)]
    for members, part in parts:
        to = torch.tensor(members, device=model.device)
        for layer, pair in zip(layers, part.layers, strict=False):
            layer.fill(len(texts), int(lengths.max()), to, *pair)
    return _Cached(lengths, [_tensors(layer) for layer in layers if layer.keys is not None])


def shared_beginnings(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the length of the shared beginning to compute once for each row; 0 for none.

    The choice minimizes the number of tokens to compute: each beginning once, plus the rest of
    every row. A row has at most one shared beginning.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))

    def common(first: int, last: int) -> int:
        pairs = zip(rows[order[first]], rows[order[last]], strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    @cache
    def best(first: int, last: int, cached: int) -> tuple[int, tuple[tuple[int, int, int], ...]]:
        """Find the best beginnings of rows first … last, whose first ``cached`` tokens are cached.

        Returns:
            Number of tokens saved, and the beginnings as (first, last, length), short ones first.
        """
        if first == last:
            return cached, ()
        depth = common(first, last)
        # Sorted rows that share more than this common beginning are adjacent.
        ends = [i for i in range(first, last) if common(i, i + 1) == depth] + [last]
        starts = [first, *(end + 1 for end in ends[:-1])]
        options = []
        for known, price, added in ((cached, 0, ()), (depth, depth, ((first, last, depth),))):
            parts = [best(start, end, known) for start, end in zip(starts, ends, strict=True)]
            beginnings: tuple[tuple[int, int, int], ...] = added
            for _, choices in parts:
                beginnings += choices
            options.append((sum(saved for saved, _ in parts) - price, beginnings))
        return max(options, key=lambda option: option[0])

    lengths = [0] * len(rows)
    if rows:
        for first, last, depth in best(0, len(rows) - 1, 0)[1]:
            for i in order[first : last + 1]:
                lengths[i] = depth
    return lengths


@dataclass
class _Cached:
    """Keys and values of texts, padded on the left.

    Attributes:
        lengths: number of tokens of each text, (rows,), int64.
        layers: keys and values of every block, each (rows, heads, longest, width); empty if all
            texts are empty.
    """

    lengths: Tensor
    layers: list[tuple[Tensor, Tensor]]

    def select(self, rows: Tensor) -> _Cached:
        """Return some rows (indices, which may repeat), without the padding common to all."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        if not longest:
            return _empty(len(rows), rows.device)
        return _Cached(
            lengths,
            [
                (keys[rows, :, -longest:], values[rows, :, -longest:])
                for keys, values in self.layers
            ],
        )


def _empty(rows: int, device: torch.device) -> _Cached:
    return _Cached(torch.zeros(rows, dtype=torch.long, device=device), [])


@torch.no_grad()
def _extend(model: EditableModel, before: _Cached, texts: Sequence[Sequence[int]]) -> _Cached:
    """Return the cached rows, extended by one text each."""
    device = model.device
    new = torch.tensor([len(text) for text in texts], device=device)
    longest, cached = int(new.max()), int(before.lengths.max())
    if not longest:
        return before
    _, cache = _pass(model, before, texts)
    layers = [_tensors(layer) for layer in cache.layers]
    if bool((new != longest).any()):
        # Move the keys and values of the padding from the end to the front.
        order = torch.arange(cached + longest, device=device) + new[:, None] - longest
        order = (order % (cached + longest))[:, None, :, None]
        layers = [(keys.take_along_dim(order, 2), values.take_along_dim(order, 2))
                  for keys, values in layers]  # fmt: skip
    return _Cached(before.lengths + new, layers)


def _pass(
    model: EditableModel, before: _Cached, texts: Sequence[Sequence[int]]
) -> tuple[Tensor, DynamicCache]:
    """Run one forward pass over one text after each cached row.

    Returns:
        The last block's output, (rows, longest text, hidden_size), and a cache of the keys and
        values of rows and texts, padded on the right.
    """
    device = model.device
    ids = pad_rows(texts, device)
    longest, cached = ids.shape[1], int(before.lengths.max())
    mask = torch.ones(len(ids), cached + longest, dtype=torch.long, device=device)
    # The padding after a text stays unmasked: no real token can attend to it in a causal model, and
    # a padding token needs something to attend to.
    mask[:, :cached] = torch.arange(cached, device=device) >= cached - before.lengths[:, None]
    cache = DynamicCache()
    cache.layers = [_layer(keys, values) for keys, values in before.layers]
    positions = before.lengths[:, None] + torch.arange(longest, device=device)
    with ending_before(model, model.layers) as end:
        run_model(
            model,
            ids,
            # Padding may extend past the model's last position.
            positions=positions
            if model.max_length is None
            else positions.clamp(max=model.max_length - 1),
            mask=None if bool(mask.all()) else mask,
            cache=cache,
        )
    return end[0], cache


def _layer(keys: Tensor, values: Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def _tensors(layer: Any) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
    return layer.keys, layer.values


class _FrozenLayer(DynamicLayer):
    """Cached keys and values of one block; ``update`` appends new ones without storing them."""

    def fill(self, rows: int, longest: int, to: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write keys and values to rows ``to``; the first call allocates (rows, …, longest, …)."""
        if self.keys is None or self.values is None:
            self.lazy_initialization(keys, values)
            _, heads, _, width = keys.shape
            self.keys = keys.new_zeros(rows, heads, longest, width)
            self.values = values.new_zeros(rows, values.shape[1], longest, values.shape[3])
        length = min(longest, keys.shape[2])
        self.keys[to, :, longest - length :] = keys[:, :, -length:]
        self.values[to, :, longest - length :] = values[:, :, -length:]

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            return key_states, value_states
        keys = torch.cat([self.keys, key_states], dim=-2)
        return keys, torch.cat([self.values, value_states], dim=-2)
