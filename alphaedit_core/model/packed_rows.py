"""Rows of text whose beginnings are fixed, run again and again through the later blocks.

A row is cut in two: a prefix, whose attention keys and values are computed once and kept, and the
suffix from the subject's last token on. :class:`PackedRows` holds many rows of different lengths
and runs their suffixes from some block to the last one without a single padding token.
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
    """Rows that go through the blocks together.

    Args:
        model: the model; it must not change while this object is used.
        rows: pairs of token ids and the index where the suffix begins.
        start: the first block that the suffixes are run through.
        pack: whether rows of different lengths may be laid end to end.

    Attributes:
        order: the given indices of the rows, as they lie in the flat sequence.
        entry: input of block ``start`` for all suffixes end to end, (tokens, hidden_size).
        starts: where each row (in ``order``) begins in the flat sequence, int64.
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
            # Prefixes of like length together; they are padded, but only attention sees that.
            members.sort(key=lambda index: rows[index][1])
            cache = prefixes.cache(members)
            self._groups.append(_Group(model, [rows[i] for i in members], cache, start))
            self.order += members
        self._lay_out()

    @property
    def is_packed(self) -> bool:
        """Whether all rows go through a block end to end; else in groups of one length."""
        return self._packed is not None

    def lay_end_to_end(self) -> bool:
        """Lay rows in groups end to end where that is possible; True if they are."""
        self._pack = can_pack(self._model.model)
        self._lay_out()
        return self.is_packed

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
        self._packed = _merged(self._groups, self._start) if self._pack else None


class _Group:
    """Rows with suffixes of equal length, as the model itself prepares them for its blocks."""

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
        #: Tokens in the cache: the longest prefix, also when its row has left.
        self._longest = max(cut for _, cut in rows)
        self._prepare()
        everyone = torch.arange(self.rows, device=model.device)
        #: Whether calls can be cut to some rows; else the model prepares those anew.
        self._known = self._selected(everyone) is not None
        if self._known:
            for layer in cache.layers[:start]:  # earlier blocks are not run again
                layer.reset()

    @torch.no_grad()
    def _prepare(self) -> None:
        device = self._model.device
        suffix = torch.tensor([ids[cut:] for ids, cut in self._texts], device=device)
        before = torch.tensor([cut for _, cut in self._texts], device=device)
        self.rows, self.length = suffix.shape
        longest = self._longest
        real = torch.arange(longest, device=device) >= longest - before[:, None]
        seen = torch.cat([real, torch.ones_like(suffix, dtype=torch.bool)], dim=1).long()
        recording = record(
            self._model,
            suffix,
            self._start,
            self._model.layers,
            positions=before[:, None] + torch.arange(self.length, device=device),
            # Without padding no mask is needed, and attention is faster without one.
            mask=None if bool(real.all()) else seen,
            cache=self.cache,
        )
        self.entry, self.calls = recording.entry, recording.calls

    def _selected(self, rows: Tensor) -> list[BlockCall] | None:
        """The calls for some rows; None where it is not known what belongs to which row."""
        found = []
        for block, call in enumerate(self.calls, start=self._start):
            selected = self.shapes.select(block, call, rows, self.rows)
            if selected is None:
                return None
            found.append(selected)
        return found

    def keep(self, rows: Tensor) -> None:
        if not len(rows):
            self.rows = 0
            self.entry = self.entry[rows]
            return
        calls = self._selected(rows) if self._known else None
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


class _NotPackable(Exception):
    """A block was called with something that has no clear form for rows laid end to end."""


def _merged(groups: Sequence[_Group], start: int) -> list[BlockCall] | None:
    """What to call each block with for all groups laid end to end; None where that is not clear."""
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
    except _NotPackable:
        return None


def _end_to_end(place: ArgumentPlace, values: Sequence[Any], groups: Sequence[_Group]) -> Any:
    first, name = values[0], place[1]
    if name == "attention_mask" or isinstance(first, Cache):
        return None  # the packed attention has masks and caches, by group
    if isinstance(first, tuple):
        return tuple(
            _end_to_end((*place, i), parts, groups)
            for i, parts in enumerate(zip(*values, strict=True))
        )
    if not isinstance(first, Tensor):
        return False if name == "use_cache" else first
    for group, value in zip(groups, values, strict=True):
        if not group.shapes.by_token(place, value, group.rows, group.length):
            raise _NotPackable(name)
    return torch.cat([value.flatten(0, 1) for value in values])[None]
