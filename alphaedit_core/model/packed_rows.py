"""Rows with fixed prefixes, whose suffixes run repeatedly through the later blocks.

The attention keys and values of a row's prefix are computed once. The suffix starts at the
subject's last token. :class:`PackedRows` runs the suffixes of many rows of different lengths, from
a given block to the last one, without any padding tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from .call_shapes import ArgumentPlace, call_shapes
from .editable_model import EditableModel
from .forward import BlockCall, proceed, record
from .packed_attention import PackedGroup, can_pack, packed
from .prefix_cache import PrefixCache


class PackedRows:
    """Rows that run through the blocks together.

    The suffixes of all rows form one flat sequence of tokens, without padding.

    Args:
        model: the model; it must not change while this object is used.
        rows: pairs of token ids and the index where the suffix begins.
        start: the first block to run.
        pack: whether a block may process rows of different lengths in one call.

    Attributes:
        order: indices of the rows, in the order of the flat sequence.
        entry: input of block ``start`` for the flat sequence, (tokens, hidden_size).
        starts: index of each row's first token in the flat sequence, in ``order``, int64.
    """

    def __init__(
        self,
        model: EditableModel,
        rows: Sequence[tuple[Sequence[int], int]],
        start: int,
        pack: bool = True,
    ) -> None:
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, (ids, cut) in enumerate(rows):
            by_length[len(ids) - cut].append(index)
        self._model, self._start = model, start
        self._pack = pack and can_pack(model.model)
        self._groups: list[_Group] = []
        self.order: list[int] = []
        prefixes = PrefixCache(model, [ids[:cut] for ids, cut in rows])
        for _, members in sorted(by_length.items()):
            # Sort by prefix length: padding between prefixes costs time only in the attention.
            members.sort(key=lambda index: rows[index][1])
            cache = prefixes.cache(members)
            self._groups.append(_Group(model, [rows[i] for i in members], cache, start))
            self.order += members
        self._lay_out()

    @property
    def is_packed(self) -> bool:
        """Whether a block processes all rows in one call; otherwise one call per suffix length."""
        return self._packed is not None

    def lay_end_to_end(self) -> bool:
        """Pack rows that are in groups, if the model allows it; return whether they are packed."""
        self._pack = can_pack(self._model.model)
        self._lay_out()
        return self.is_packed

    def run(self, hidden: Tensor, check: Callable[[], None], stop: int | None = None) -> Tensor:
        """Return the output of the last block, or of block ``stop`` - 1, for the flat sequence.

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
                states = hidden[first:last].view(group.rows, group.length, -1)
                out = proceed(self._model, states, group.calls[:count], self._start, check)
                outputs.append(out.flatten(0, 1))
                first = last
            return torch.cat(outputs)
        with packed(self._model.model, [group.packed(self._start) for group in self._groups]):
            return proceed(self._model, hidden[None], self._packed[:count], self._start, check)[0]

    def keep(self, rows: Tensor) -> Tensor:
        """Drop all rows except the given ones (ascending indices into ``order``).

        Returns:
            Indices of the kept tokens in the previous flat sequence, int64.
        """
        tokens, first_row, first_token = [], 0, 0
        for group in self._groups:
            kept = rows[(rows >= first_row) & (rows < first_row + group.rows)] - first_row
            columns = torch.arange(group.length, device=rows.device)
            tokens.append((first_token + kept[:, None] * group.length + columns).flatten())
            first_row, first_token = first_row + group.rows, first_token + group.rows * group.length
            group.keep(kept)
        self._groups = [group for group in self._groups if group.rows]
        self.order = [self.order[i] for i in rows.tolist()]
        self._lay_out()
        return torch.cat(tokens)

    def _lay_out(self) -> None:
        lengths = [group.length for group in self._groups for _ in range(group.rows)]
        self.starts = torch.tensor([0, *lengths[:-1]], device=self._model.device).cumsum(0)
        self.entry = torch.cat([group.entry.flatten(0, 1) for group in self._groups])
        self._packed = _merged(self._groups, self._start) if self._pack else None


class _Group:
    """Rows with suffixes of equal length, with the block arguments that the model prepares."""

    def __init__(
        self,
        model: EditableModel,
        rows: Sequence[tuple[Sequence[int], int]],
        cache: DynamicCache,
        start: int,
    ) -> None:
        self._model, self._start, self.cache = model, start, cache
        self.shapes = call_shapes(model)
        self._texts = [(list(ids), cut) for ids, cut in rows]
        #: Length of the cache: that of the longest prefix, even after its row was dropped.
        self._longest = max(cut for _, cut in rows)
        self._prepare()
        all_rows = torch.arange(self.rows, device=model.device)
        #: Whether the calls can be reduced to some rows; otherwise the model prepares new calls.
        self._selectable = self._selected(all_rows) is not None
        if self._selectable:
            for layer in cache.layers[:start]:  # earlier blocks do not run again
                layer.reset()

    @torch.no_grad()
    def _prepare(self) -> None:
        device = self._model.device
        suffix = torch.tensor([ids[cut:] for ids, cut in self._texts], device=device)
        before = torch.tensor([cut for _, cut in self._texts], device=device)
        self.rows, self.length = suffix.shape
        longest = self._longest
        real = torch.arange(longest, device=device) >= longest - before[:, None]
        mask = torch.cat([real, torch.ones_like(suffix, dtype=torch.bool)], dim=1).long()
        recording = record(
            self._model,
            suffix,
            self._start,
            self._model.layers,
            positions=before[:, None] + torch.arange(self.length, device=device),
            # Without padding no mask is needed, and attention is faster without one.
            mask=None if bool(real.all()) else mask,
            cache=self.cache,
        )
        self.entry, self.calls = recording.entry, recording.calls

    def _selected(self, rows: Tensor) -> list[BlockCall] | None:
        """Return the calls for some rows; None if the row dimension of an argument is unknown."""
        calls = []
        for block, call in enumerate(self.calls, start=self._start):
            selected = self.shapes.select(block, call, rows, self.rows)
            if selected is None:
                return None
            calls.append(selected)
        return calls

    def keep(self, rows: Tensor) -> None:
        if not len(rows):
            self.rows = 0
            self.entry = self.entry[rows]
            return
        calls = self._selected(rows) if self._selectable else None
        self._texts = [self._texts[i] for i in rows.tolist()]
        for layer in self.cache.layers:
            assert isinstance(layer, DynamicLayer)
            layer.batch_select_indices(rows)
        if calls is None:
            self._prepare()
        else:
            self.entry, self.calls, self.rows = self.entry[rows], calls, len(rows)

    def packed(self, start: int) -> PackedGroup:
        masks = {
            layer: call.kwargs.get("attention_mask")
            for layer, call in enumerate(self.calls, start=start)
        }
        return PackedGroup(self.rows, self.length, self.cache, masks)


class _NotPackableError(Exception):
    """A block has an argument that cannot be joined for packed rows."""


def _merged(groups: Sequence[_Group], start: int) -> list[BlockCall] | None:
    """Return each block's call for all groups end to end; None if an argument has no packed form.

    An argument can be packed if it has one part per token, or if it is the same for all groups.
    """
    try:
        return [
            BlockCall(
                {
                    name: _end_to_end((block, name), [call.kwargs[name] for call in calls], groups)
                    for name in calls[0].kwargs
                }
            )
            for block, calls in enumerate(
                zip(*(group.calls for group in groups), strict=True), start=start
            )
        ]
    except _NotPackableError:
        return None


def _end_to_end(place: ArgumentPlace, values: Sequence[Any], groups: Sequence[_Group]) -> Any:
    first, name = values[0], place[1]
    if name == "attention_mask" or isinstance(first, Cache):
        return None  # packed_attention has the masks and caches of each group
    if isinstance(first, tuple):
        return tuple(
            _end_to_end((*place, i), parts, groups)
            for i, parts in enumerate(zip(*values, strict=True))
        )
    if not isinstance(first, Tensor):
        return False if name == "use_cache" else first
    for group, value in zip(groups, values, strict=True):
        if not group.shapes.by_token(place, value, group.rows, group.length):
            raise _NotPackableError(name)
    return torch.cat([value.flatten(0, 1) for value in values])[None]
