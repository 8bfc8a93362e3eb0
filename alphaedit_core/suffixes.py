"""Rows of text whose beginnings are fixed, run again and again through the later blocks.

A row is cut in two: a prefix, whose attention keys and values are computed once and kept, and the
suffix from the subject's last token on. :class:`Suffixes` holds many rows of different lengths and
runs their suffixes from some block to the last one without a single padding token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .forward import BlockCall, proceed, record
from .models import EditableModel
from .packed_attention import PackedGroup, can_pack, packed
from .prefixes import Prefixes


class Suffixes:
    """Rows that go through the blocks together.

    Args:
        model: the model; it must not change while this object is used.
        rows: pairs of token ids and the index where the suffix begins.
        start: the first block that the suffixes are run through.

    Attributes:
        order: the given indices of the rows, as they lie in the flat sequence.
        entry: input of block ``start`` for all suffixes end to end, (tokens, hidden_size).
        starts: where each row (in ``order``) begins in the flat sequence, int64.
    """

    def __init__(
        self, model: EditableModel, rows: Sequence[tuple[Sequence[int], int]], start: int
    ) -> None:
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, (ids, cut) in enumerate(rows):
            by_length[len(ids) - cut].append(index)
        self._model, self._start = model, start
        self._groups: list[_Group] = []
        self.order: list[int] = []
        prefixes = Prefixes(model, [ids[:cut] for ids, cut in rows])
        for _, members in sorted(by_length.items()):
            # Prefixes of like length together; they are padded, but only attention sees that.
            members.sort(key=lambda index: rows[index][1])
            cache = prefixes.cache(members)
            self._groups.append(_Group(model, [rows[i] for i in members], cache, start))
            self.order += members
        self._lay_out()

    def run(self, hidden: Tensor, check: Callable[[], None], stop: int | None = None) -> Tensor:
        """Output of the last block, or of block ``stop`` - 1, for the flat sequence.

        Args:
            hidden: input of block ``start``, (tokens, hidden_size).
            check: called between blocks.
            stop: None to run all blocks.
        """
        count = None if stop is None else stop - self._start
        if self._packed is None:
            outputs, first = [], 0
            for group in self._groups:
                last = first + group.rows * group.length
                own = hidden[first:last].view(group.rows, group.length, -1)
                out = proceed(self._model, own, group.calls[:count], self._start, check)
                outputs.append(out.flatten(0, 1))
                first = last
            return torch.cat(outputs)
        with packed(self._model.model, [group.packed(self._start) for group in self._groups]):
            return proceed(self._model, hidden[None], self._packed[:count], self._start, check)[0]

    def keep(self, rows: Tensor) -> Tensor:
        """Drop all rows but these (ascending indices into ``order``).

        Returns:
            The indices of the tokens that stay, in the flat sequence as it was before.
        """
        tokens, first_row, first_token = [], 0, 0
        for group in self._groups:
            own = rows[(rows >= first_row) & (rows < first_row + group.rows)] - first_row
            columns = torch.arange(group.length, device=rows.device)
            tokens.append((first_token + own[:, None] * group.length + columns).flatten())
            first_row, first_token = first_row + group.rows, first_token + group.rows * group.length
            group.keep(own)
        self._groups = [group for group in self._groups if group.rows]
        self.order = [self.order[i] for i in rows.tolist()]
        self._lay_out()
        return torch.cat(tokens)

    def _lay_out(self) -> None:
        lengths = [group.length for group in self._groups for _ in range(group.rows)]
        self.starts = torch.tensor([0, *lengths[:-1]], device=self._model.device).cumsum(0)
        self.entry = torch.cat([group.entry.flatten(0, 1) for group in self._groups])
        self._packed = _merged(self._groups) if can_pack(self._model.model) else None


class _Group:
    """Rows with suffixes of equal length, as the model itself prepares them for its blocks."""

    def __init__(
        self,
        model: EditableModel,
        rows: Sequence[tuple[Sequence[int], int]],
        cache: DynamicCache,
        start: int,
    ) -> None:
        device = model.device
        suffix = torch.tensor([list(ids[cut:]) for ids, cut in rows], device=device)
        before = torch.tensor([cut for _, cut in rows], device=device)
        self.rows, self.length = suffix.shape
        self.cache = cache
        longest = int(before.max())
        real = torch.arange(longest, device=device) >= longest - before[:, None]
        seen = torch.cat([real, torch.ones_like(suffix, dtype=torch.bool)], dim=1).long()
        recording = record(
            model,
            suffix,
            start,
            model.layers,
            positions=before[:, None] + torch.arange(self.length, device=device),
            # Without padding no mask is needed, and attention is faster without one.
            mask=None if bool(real.all()) else seen,
            cache=self.cache,
        )
        self.entry, self.calls = recording.entry, recording.calls
        for layer in self.cache.layers[:start]:  # earlier blocks are not run again
            layer.reset()

    def keep(self, rows: Tensor) -> None:
        if len(rows):
            self.calls = [call.select(rows, self.rows) for call in self.calls]
            for layer in self.cache.layers:
                assert isinstance(layer, DynamicLayer)
                layer.batch_select_indices(rows)
        self.entry, self.rows = self.entry[rows], len(rows)

    def packed(self, start: int) -> PackedGroup:
        masks = {
            layer: call.kwargs.get("attention_mask")
            for layer, call in enumerate(self.calls, start=start)
        }
        return PackedGroup(self.rows, self.length, self.cache, masks)


class _NotPackable(Exception):
    """A block was called with something that has no clear form for rows laid end to end."""


def _merged(groups: Sequence[_Group]) -> list[BlockCall] | None:
    """What to call each block with for all groups laid end to end; None where that is not clear."""
    try:
        return [
            BlockCall(
                {
                    name: _end_to_end(name, [call.kwargs[name] for call in calls], groups)
                    for name in calls[0].kwargs
                }
            )
            for calls in zip(*(group.calls for group in groups), strict=True)
        ]
    except _NotPackable:
        return None


def _end_to_end(name: str, values: Sequence[Any], groups: Sequence[_Group]) -> Any:
    first = values[0]
    if name == "attention_mask" or isinstance(first, Cache):
        return None  # the packed attention has masks and caches, by group
    if isinstance(first, tuple):
        return tuple(_end_to_end(name, parts, groups) for parts in zip(*values, strict=True))
    if not isinstance(first, Tensor):
        return False if name == "use_cache" else first
    shapes = [(group.rows, group.length) for group in groups]
    if [value.shape[:2] for value in values] != shapes:
        raise _NotPackable(name)
    return torch.cat([value.flatten(0, 1) for value in values])[None]
