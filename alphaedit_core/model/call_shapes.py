"""Which dimension of what a block is called with follows the rows of a batch, and which the tokens.

A size does not tell: a bias of shape (4, 1, 9) may belong to four rows or to four heads (MPT), and
one of (12, 1, 9) to four heads of three rows (BLOOM). So a few tokens go through the model in two
and in three rows, and the same rows with one token more: what follows the rows is as many times
larger, and its part for the first two rows is what two rows alone were given. What is not
understood in this way is not cut; its caller prepares the rows anew.
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

#: Where a tensor stands: index of the block, name of the argument, and places inside of it.
ArgumentPlace = tuple[int | str, ...]

#: Tokens of the three rows that are tried, and where what is kept of each ends. The prefixes differ
#: in length, so that the model needs a mask.
_ROWS = (((5, 9, 6, 7, 11, 8, 4), 3), ((9, 6, 5, 12, 7, 8, 10), 2), ((6, 5, 13, 7, 9, 4, 8), 3))


@dataclass(frozen=True)
class Axes:
    """The dimensions of one tensor.

    Attributes:
        rows: the dimension that follows the rows; None where all rows share the tensor.
        each: how many entries of it every row has, side by side (heads); 1 as a rule.
        tokens: the dimension that follows the new tokens, or None.
    """

    rows: int | None
    each: int
    tokens: int | None


class CallShapes:
    """What is known of the tensors that the blocks of one model are called with."""

    def __init__(self, axes: Mapping[ArgumentPlace, Axes]) -> None:
        self._axes = dict(axes)

    def select(self, block: int, call: BlockCall, rows: Tensor, batch: int) -> BlockCall | None:
        """A call for some rows of the batch (indices, int64, on the model's device).

        Returns:
            None where it is not known what of the call belongs to which row.
        """
        try:
            return BlockCall(
                {
                    name: self._pick(value, (block, name), rows, batch)
                    for name, value in call.kwargs.items()
                }
            )
        except _Unknown:
            return None

    def by_token(self, place: ArgumentPlace, value: Tensor, rows: int, tokens: int) -> bool:
        """Whether a tensor is (rows, tokens, …), each token of each row having its own part."""
        axes = self._axes.get(place)
        if axes is None or value.shape[:2] != (rows, tokens) or axes.tokens != 1:
            return False
        return (axes.rows, axes.each) == (0, 1) or (axes.rows is None and rows == 1)

    def _pick(self, value: Any, place: ArgumentPlace, rows: Tensor, batch: int) -> Any:
        if isinstance(value, Tensor):
            return self._part(value, place, rows, batch)
        if isinstance(value, (tuple, list)):
            return type(value)(
                self._pick(item, (*place, i), rows, batch) for i, item in enumerate(value)
            )
        if isinstance(value, dict):
            return {key: self._pick(v, (*place, key), rows, batch) for key, v in value.items()}
        if value is None or isinstance(value, (bool, int, float, str, Cache)):
            return value
        raise _Unknown(place)

    def _part(self, value: Tensor, place: ArgumentPlace, rows: Tensor, batch: int) -> Tensor:
        axes = self._axes.get(place)
        if axes is None:
            raise _Unknown(place)
        if axes.rows is None:
            return value
        if axes.rows >= value.ndim:
            raise _Unknown(place)
        size = value.shape[axes.rows]
        if size == batch * axes.each:
            return _rows_of(value, axes, rows)
        if size == 1 == axes.each:  # what is alike for all rows may come once
            return value
        raise _Unknown(place)


class _Unknown(Exception):
    """It is not known what of a tensor belongs to which row."""


def call_shapes(model: EditableModel) -> CallShapes:
    """What is known of a model's calls; tried when it is asked for the first time."""
    return model.remembered("call shapes", lambda: _tried(model))


@torch.no_grad()
def _tried(model: EditableModel) -> CallShapes:
    prefixes = PrefixCache(model, [ids[:cut] for ids, cut in _texts(model)])
    two, three, longer = (_calls(model, prefixes, *shape) for shape in ((2, 3), (3, 3), (2, 4)))
    axes: dict[ArgumentPlace, Axes] = {}
    for place, value in three.items():
        if place in two and place in longer:
            found = _axes(two[place], value, longer[place])
            if found is not None:
                axes[place] = found
    return CallShapes(axes)


def _texts(model: EditableModel) -> list[tuple[list[int], int]]:
    """``_ROWS``, with token ids that the model has."""
    vocabulary = model.architecture.vocabulary
    return [([token % vocabulary for token in ids], cut) for ids, cut in _ROWS]


def _calls(
    model: EditableModel, prefixes: PrefixCache, rows: int, tokens: int
) -> dict[ArgumentPlace, Tensor]:
    """The tensors that the blocks are called with, for some rows of some new tokens."""
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
    found: dict[ArgumentPlace, Tensor] = {}
    for block, call in enumerate(recording.calls):
        for name, value in call.kwargs.items():
            found.update(_leaves(value, (block, name)))
    return found


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
    """The dimensions of a tensor for two and three rows, and two with one token more."""
    if not two.ndim == three.ndim == longer.ndim:
        return None

    def follows(other: Tensor, ratio: Callable[[int, int], bool]) -> list[int]:
        pairs = zip(two.shape, other.shape, strict=True)
        changed = [dim for dim, (a, b) in enumerate(pairs) if a != b]
        return changed if all(ratio(two.shape[d], other.shape[d]) for d in changed) else [-1, -1]

    rows = follows(three, lambda a, b: 3 * a == 2 * b)
    tokens = follows(longer, lambda a, b: b > a)
    # A mask follows the tokens twice, as queries and as keys; neither is its second dimension.
    if len(rows) > 1 or -1 in tokens:
        return None
    by = Axes(rows[0] if rows else None, 1, tokens[0] if len(tokens) == 1 else None)
    if by.rows is not None:
        by = Axes(by.rows, two.shape[by.rows] // 2, by.tokens)
        three = _rows_of(three, by, torch.arange(2, device=three.device))
    return by if _same(two, three) else None


def _rows_of(value: Tensor, axes: Axes, rows: Tensor) -> Tensor:
    assert axes.rows is not None
    if axes.each == 1:
        return value.index_select(axes.rows, rows)
    by_row = value.unflatten(axes.rows, (-1, axes.each))
    kept: Tensor = by_row.index_select(axes.rows, rows)
    return kept.flatten(axes.rows, axes.rows + 1)


def _same(a: Tensor, b: Tensor) -> bool:
    if not a.is_floating_point():
        return torch.equal(a, b)
    # Two rows may be rounded otherwise than three; a mask has the lowest number of its dtype.
    return torch.allclose(a, b, rtol=0.05 if a.element_size() < 4 else 1e-3, atol=1e-3)
