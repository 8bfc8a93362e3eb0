"""Find the row and token dimensions of the tensors that a model passes to its blocks.

The size of a dimension does not identify it: a bias of shape (4, 1, 9) may have four rows or four
heads (MPT), and one of shape (12, 1, 9) may have four heads for each of three rows (BLOOM). So the
model runs on two rows, on three rows, and on two rows with one more token. The row dimension grows
with the number of rows, and its part for the first two rows equals the tensor of two rows alone.
A tensor without recognized dimensions is never split; the caller runs the rows again instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from .editable_model import EditableModel
from .forward import BlockCall, record
from .prefix_cache import PrefixCache

#: Position of a tensor: index of the block, name of the argument, and keys or indices inside it.
ArgumentPlace = tuple[int | str, ...]

#: Token ids of three test rows, and the lengths of their cached prefixes. The lengths differ, so
#: that the model needs a mask.
_ROWS = (((5, 9, 6, 7, 11, 8, 4), 3), ((9, 6, 5, 12, 7, 8, 10), 2), ((6, 5, 13, 7, 9, 4, 8), 3))


@dataclass(frozen=True)
class Axes:
    """The dimensions of one tensor.

    Attributes:
        rows: the dimension of the rows; None if all rows share the tensor.
        each: number of adjacent entries per row in that dimension (heads); usually 1.
        tokens: the dimension of the new tokens, or None.
    """

    rows: int | None
    each: int
    tokens: int | None


class CallShapes:
    """Row and token dimensions of the tensors that the blocks of one model are called with."""

    def __init__(self, axes: Mapping[ArgumentPlace, Axes]) -> None:
        self._axes = dict(axes)

    def select(self, block: int, call: BlockCall, rows: Tensor, batch: int) -> BlockCall | None:
        """Return a call for a selection of the batch's rows.

        Args:
            block: index of the block.
            call: the call for the whole batch.
            rows: indices of the rows, int64, on the model's device.
            batch: number of rows in the batch.

        Returns:
            The call, or None if the row dimension of one of its tensors is unknown.
        """
        try:
            return BlockCall(
                {
                    name: self._select_in(value, (block, name), rows, batch)
                    for name, value in call.kwargs.items()
                }
            )
        except _UnknownAxesError:
            return None

    def by_token(self, place: ArgumentPlace, value: Tensor, rows: int, tokens: int) -> bool:
        """Whether a tensor has shape (rows, tokens, …), with a part for each token of each row."""
        axes = self._axes.get(place)
        if axes is None or value.shape[:2] != (rows, tokens) or axes.tokens != 1:
            return False
        return (axes.rows, axes.each) == (0, 1) or (axes.rows is None and rows == 1)

    def _select_in(self, value: Any, place: ArgumentPlace, rows: Tensor, batch: int) -> Any:
        if isinstance(value, Tensor):
            return self._select_rows(value, place, rows, batch)
        if isinstance(value, (tuple, list)):
            return type(value)(
                self._select_in(item, (*place, i), rows, batch) for i, item in enumerate(value)
            )
        if isinstance(value, dict):
            return {key: self._select_in(v, (*place, key), rows, batch) for key, v in value.items()}
        if value is None or isinstance(value, (bool, int, float, str, Cache)):
            return value
        raise _UnknownAxesError(place)

    def _select_rows(self, value: Tensor, place: ArgumentPlace, rows: Tensor, batch: int) -> Tensor:
        axes = self._axes.get(place)
        if axes is None:
            raise _UnknownAxesError(place)
        if axes.rows is None:
            return value
        if axes.rows >= value.ndim:
            raise _UnknownAxesError(place)
        size = value.shape[axes.rows]
        if size == batch * axes.each:
            return _rows_of(value, axes, rows)
        if size == 1 == axes.each:  # one entry for all rows, to broadcast
            return value
        raise _UnknownAxesError(place)


class _UnknownAxesError(Exception):
    """The row dimension of a tensor is unknown."""


def call_shapes(model: EditableModel) -> CallShapes:
    """Return the dimensions of a model's block arguments; measured at the first call."""
    return model.remembered("call shapes", lambda: _measure(model))


@torch.no_grad()
def _measure(model: EditableModel) -> CallShapes:
    prefixes = PrefixCache(model, [ids[:cut] for ids, cut in _texts(model)])
    two, three, longer = (_calls(model, prefixes, *shape) for shape in ((2, 3), (3, 3), (2, 4)))
    axes: dict[ArgumentPlace, Axes] = {}
    for place, value in three.items():
        if place in two and place in longer:
            axes_here = _axes(two[place], value, longer[place])
            if axes_here is not None:
                axes[place] = axes_here
    return CallShapes(axes)


def _texts(model: EditableModel) -> list[tuple[list[int], int]]:
    """Return ``_ROWS`` with token ids in the model's vocabulary."""
    vocabulary = model.architecture.vocabulary
    return [([token % vocabulary for token in ids], cut) for ids, cut in _ROWS]


def _calls(
    model: EditableModel, prefixes: PrefixCache, rows: int, tokens: int
) -> dict[ArgumentPlace, Tensor]:
    """Return the tensors that the blocks receive, for the first rows with some new tokens each."""
    device = model.device
    texts = _texts(model)[:rows]
    cache = prefixes.cache(range(rows))
    before = torch.tensor([cut for _, cut in texts], device=device)
    longest = int(before.max())
    real = torch.arange(longest, device=device) >= longest - before[:, None]
    new = torch.tensor([ids[cut : cut + tokens] for ids, cut in texts], device=device)
    recording = record(
        model,
        new,
        0,
        model.layers,
        positions=before[:, None] + torch.arange(tokens, device=device),
        mask=torch.cat([real, torch.ones_like(new, dtype=torch.bool)], dim=1).long(),
        cache=cache,
    )
    tensors: dict[ArgumentPlace, Tensor] = {}
    for block, call in enumerate(recording.calls):
        for name, value in call.kwargs.items():
            tensors.update(_leaves(value, (block, name)))
    return tensors


def _leaves(value: Any, place: ArgumentPlace) -> Iterator[tuple[ArgumentPlace, Tensor]]:
    if isinstance(value, Tensor):
        yield place, value
    elif isinstance(value, (tuple, list)):
        for i, item in enumerate(value):
            yield from _leaves(item, (*place, i))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*place, key))


def _axes(two: Tensor, three: Tensor, longer: Tensor) -> Axes | None:
    """Return the dimensions of a tensor, from two rows, three rows and two longer rows."""
    if not two.ndim == three.ndim == longer.ndim:
        return None

    def changed_dims(other: Tensor, ratio: Callable[[int, int], bool]) -> list[int]:
        pairs = zip(two.shape, other.shape, strict=True)
        changed = [dim for dim, (a, b) in enumerate(pairs) if a != b]
        return changed if all(ratio(two.shape[d], other.shape[d]) for d in changed) else [-1, -1]

    rows = changed_dims(three, lambda a, b: 3 * a == 2 * b)
    tokens = changed_dims(longer, lambda a, b: b > a)
    # A mask has two token dimensions, queries and keys, and neither is dimension 1.
    if len(rows) > 1 or -1 in tokens:
        return None
    axes = Axes(rows[0] if rows else None, 1, tokens[0] if len(tokens) == 1 else None)
    if axes.rows is not None:
        axes = Axes(axes.rows, two.shape[axes.rows] // 2, axes.tokens)
        three = _rows_of(three, axes, torch.arange(2, device=three.device))
    return axes if _same(two, three) else None


def _rows_of(value: Tensor, axes: Axes, rows: Tensor) -> Tensor:
    assert axes.rows is not None
    if axes.each == 1:
        return value.index_select(axes.rows, rows)
    by_row = value.unflatten(axes.rows, (-1, axes.each))
    selected: Tensor = by_row.index_select(axes.rows, rows)
    return selected.flatten(axes.rows, axes.rows + 1)


def _same(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    # Two rows may round differently from three. The relative tolerance covers a mask's entries, the
    # lowest number of the dtype.
    return torch.allclose(a, b, rtol=0.05 if a.element_size() < 4 else 1e-3, atol=1e-3)
