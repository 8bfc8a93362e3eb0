"""Attention keys and values of the fixed beginnings of many rows, each shared one computed once.

The rows of a batch begin alike: every fact is written behind the same few contexts, a prompt that
opens with its subject opens like the text of the KL term, and neighbors are asked in the same
words. So the beginnings that save most are found first and go through the model alone; what follows
them in each row then attends to them.
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

#: Padding that a pass may hold in any case: fewer passes are worth it.
_SLACK = 32
#: Bits of the length of beginnings that are held together with all shorter ones.
_SHORT = 5


class PrefixCache:
    """What later tokens of each row see of its beginning, computed at once for all rows.

    Args:
        model: the model.
        rows: token ids of the prefixes; all may be empty.
        token_limit: tokens in one forward pass.
    """

    def __init__(
        self, model: EditableModel, rows: Sequence[Sequence[int]], token_limit: int = 4096
    ) -> None:
        self._model = model
        self._lengths = [len(row) for row in rows]
        shared = shared_beginnings(rows)
        begins = sorted({tuple(row[:cut]) for row, cut in zip(rows, shared, strict=True)})
        begin_of = torch.tensor(
            [begins.index(tuple(row[:cut])) for row, cut in zip(rows, shared, strict=True)],
            device=model.device,
        )
        begun = _extend(model, _nothing(len(begins), model.device), begins)
        rests = [row[cut:] for row, cut in zip(rows, shared, strict=True)]
        self._parts: list[tuple[list[int], _Cached]] = []
        for members in by_length([len(rest) for rest in rests], token_limit):
            before = begun.select(begin_of[members])
            self._parts.append((members, _extend(model, before, [rests[i] for i in members])))

    def cache(self, rows: Sequence[int]) -> DynamicCache:
        """Keys and values of some rows, frozen: later tokens see them but add nothing.

        Prefixes end together: where one is shorter than the others, what fills it up lies in front
        of it, so that distances in the cache are distances in the text (a sliding window goes by
        them). It is for the masks of later calls to hide it.
        """
        longest = max(self._lengths[row] for row in rows)
        joined = DynamicCache()
        layers = [_FrozenLayer() for _ in range(self._model.layers)]
        joined.layers = list(layers)
        if not longest:
            return joined
        place = {row: i for i, row in enumerate(rows)}
        for members, part in self._parts:
            here = [(place[row], i) for i, row in enumerate(members) if row in place]
            if not here or not part.layers:
                continue
            to, source = torch.tensor(here, device=self._model.device).T
            for layer, pair in zip(layers, part.layers, strict=True):
                layer.fill(len(rows), longest, to, *(tensor[source] for tensor in pair))
        return joined


@torch.no_grad()
def last_states(
    model: EditableModel, rows: Sequence[Sequence[int]], cuts: Sequence[int], token_limit: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Outputs of the last block for what follows each row's beginning.

    Args:
        model: the model.
        rows: token ids of each row; something follows each beginning.
        cuts: length of each row's beginning; beginnings that are alike are computed once.
        token_limit: tokens in one forward pass, the beginnings' counted too.

    Yields:
        Some rows' indices, and (rows, tokens, hidden_size), padded behind; every row once.
    """
    classes: dict[int, list[int]] = defaultdict(list)
    for i, cut in enumerate(cuts):
        # Beginnings are held at one length, so those of very different lengths go apart.
        classes[max(_SHORT, cut.bit_length())].append(i)
    for own in classes.values():
        begins = sorted({tuple(rows[i][: cuts[i]]) for i in own})
        place = {begin: n for n, begin in enumerate(begins)}
        begun = _begun(model, begins, token_limit)
        for group in by_length([len(rows[i]) - cuts[i] for i in own], token_limit, _SLACK):
            # Beginnings of like length together, and no more of them than fit.
            members = sorted((own[n] for n in group), key=lambda i: cuts[i])
            size = max(1, token_limit // max(len(rows[i]) for i in members))
            for first in range(0, len(members), size):
                part = members[first : first + size]
                of = [place[tuple(rows[i][: cuts[i]])] for i in part]
                before = begun.select(torch.tensor(of, device=model.device))
                yield part, _pass(model, before, [rows[i][cuts[i] :] for i in part])[0]


def _begun(model: EditableModel, begins: Sequence[Sequence[int]], token_limit: int) -> _Cached:
    """Keys and values of some texts, in their order."""
    parts = []
    for members in by_length([len(begin) for begin in begins], token_limit, _SLACK):
        nothing = _nothing(len(members), model.device)
        parts.append((members, _extend(model, nothing, [begins[i] for i in members])))
    if len(parts) == 1 and parts[0][0] == list(range(len(begins))):
        return parts[0][1]
    lengths = torch.tensor([len(begin) for begin in begins], device=model.device)
    layers = [_FrozenLayer() for _ in range(model.layers)]
    for members, part in parts:
        to = torch.tensor(members, device=model.device)
        for layer, pair in zip(layers, part.layers, strict=False):
            layer.fill(len(begins), int(lengths.max()), to, *pair)
    return _Cached(lengths, [_tensors(layer) for layer in layers if layer.keys is not None])


def shared_beginnings(rows: Sequence[Sequence[int]]) -> list[int]:
    """How much of each row to compute together with others: its best shared beginning's length.

    Of all ways to choose beginnings and to give each row at most one of them, one that leaves the
    fewest tokens to compute: every beginning once, and of every row what follows its own.
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))

    def common(first: int, last: int) -> int:
        pairs = zip(rows[order[first]], rows[order[last]], strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    @cache
    def best(first: int, last: int, given: int) -> tuple[int, tuple[tuple[int, int, int], ...]]:
        """The most that rows first … last can save where their first ``given`` tokens are there.

        Returns:
            Tokens saved, and by which beginnings: (first, last, length), short ones first.
        """
        if first == last:
            return given, ()
        depth = common(first, last)
        # In sorted order, rows that go on alike after what all share lie side by side.
        ends = [i for i in range(first, last) if common(i, i + 1) == depth] + [last]
        starts = [first, *(end + 1 for end in ends[:-1])]
        ways = []
        for known, price, own in ((given, 0, ()), (depth, depth, ((first, last, depth),))):
            parts = [best(start, end, known) for start, end in zip(starts, ends, strict=True)]
            begun: tuple[tuple[int, int, int], ...] = own
            for _, choices in parts:
                begun += choices
            ways.append((sum(saved for saved, _ in parts) - price, begun))
        return max(ways, key=lambda way: way[0])

    chosen = [0] * len(rows)
    if rows:
        for first, last, depth in best(0, len(rows) - 1, 0)[1]:
            for i in order[first : last + 1]:
                chosen[i] = depth
    return chosen


@dataclass
class _Cached:
    """Keys and values of texts that end together.

    Attributes:
        lengths: tokens of each text, (rows,), int64; what lies before them fills up.
        layers: keys and values of every block, each (rows, heads, longest, width); none if all
            texts are empty.
    """

    lengths: Tensor
    layers: list[tuple[Tensor, Tensor]]

    def select(self, rows: Tensor) -> _Cached:
        """Some rows (indices; they may repeat), without what fills up all of them."""
        lengths = self.lengths[rows]
        longest = int(lengths.max())
        if not longest:
            return _nothing(len(rows), rows.device)
        return _Cached(
            lengths,
            [
                (keys[rows, :, -longest:], values[rows, :, -longest:])
                for keys, values in self.layers
            ],
        )


def _nothing(rows: int, device: torch.device) -> _Cached:
    return _Cached(torch.zeros(rows, dtype=torch.long, device=device), [])


@torch.no_grad()
def _extend(model: EditableModel, before: _Cached, texts: Sequence[Sequence[int]]) -> _Cached:
    """The cached rows with one more text behind each."""
    device = model.device
    new = torch.tensor([len(text) for text in texts], device=device)
    longest, begun = int(new.max()), int(before.lengths.max())
    if not longest:
        return before
    _, growing = _pass(model, before, texts)
    layers = [_tensors(layer) for layer in growing.layers]
    if bool((new != longest).any()):
        # What padding behind a text came to moves to the front.
        order = torch.arange(begun + longest, device=device) + new[:, None] - longest
        order = (order % (begun + longest))[:, None, :, None]
        layers = [(keys.take_along_dim(order, 2), values.take_along_dim(order, 2))
                  for keys, values in layers]  # fmt: skip
    return _Cached(before.lengths + new, layers)


def _pass(
    model: EditableModel, before: _Cached, texts: Sequence[Sequence[int]]
) -> tuple[Tensor, DynamicCache]:
    """One forward pass over one more text behind each cached row.

    Returns:
        The last block's output, (rows, longest text, hidden_size), and the keys and values with
        those of the texts, padded behind.
    """
    device = model.device
    ids = pad_rows(texts, device)
    longest, begun = ids.shape[1], int(before.lengths.max())
    seen = torch.ones(len(ids), begun + longest, dtype=torch.long, device=device)
    # Padding behind a text counts as seen: no real token sees it, and it must see something.
    seen[:, :begun] = torch.arange(begun, device=device) >= begun - before.lengths[:, None]
    growing = DynamicCache()
    growing.layers = [_layer(keys, values) for keys, values in before.layers]
    positions = before.lengths[:, None] + torch.arange(longest, device=device)
    with ending_before(model, model.layers) as end:
        run_model(
            model,
            ids,
            # What is padded may lie behind the last position that the model has.
            positions=positions
            if model.max_length is None
            else positions.clamp(max=model.max_length - 1),
            mask=None if bool(seen.all()) else seen,
            cache=growing,
        )
    return end[0], growing


def _layer(keys: Tensor, values: Tensor) -> DynamicLayer:
    layer = DynamicLayer()
    layer.lazy_initialization(keys, values)
    layer.keys, layer.values = keys, values
    return layer


def _tensors(layer: Any) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, DynamicLayer) and layer.keys is not None and layer.values is not None
    return layer.keys, layer.values


class _FrozenLayer(DynamicLayer):
    """One block's cached keys and values; ``update`` joins new ones without keeping them."""

    def fill(self, rows: int, longest: int, to: Tensor, keys: Tensor, values: Tensor) -> None:
        """Set rows ``to`` of ``rows``, each ``longest`` tokens long; the first call makes room."""
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
