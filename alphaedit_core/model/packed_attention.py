"""Attention for rows of different lengths that are laid end to end in one sequence.

All that a block does to one token at a time (norms, projections, the MLP) costs least when as many
tokens as possible go through together; only attention must keep rows apart. So rows are laid end to
end, the block is called once, and what stands here in transformers' registry in front of the
model's own attention function cuts queries, keys and values into groups of equally long rows, joins
each row's cached prefix, and calls that function with the model's own mask. It does so in the
thread whose rows are laid end to end, while they are; anyone else's calls it passes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_SDPA = ALL_ATTENTION_FUNCTIONS["sdpa"]


@dataclass(frozen=True)
class PackedGroup:
    """Rows of equal length in the packed sequence.

    Attributes:
        rows: how many.
        length: tokens of each.
        cache: keys and values of what comes before each row, frozen.
        masks: the model's own mask of each block, by block index; None where it needs none.
    """

    rows: int
    length: int
    cache: DynamicCache
    masks: dict[int, Tensor | None]


# What attention is to be cut by; set only while packed blocks run, by thread.
_packing: ContextVar[Sequence[PackedGroup] | None] = ContextVar("packing", default=None)
_registering = Lock()


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the model's blocks ask transformers' registry for their attention function."""
    implementation = model.config._attn_implementation
    # Attention outside the registry, or of a model's own making, cannot be cut.
    return implementation in ALL_ATTENTION_FUNCTIONS and bool(
        getattr(model, "_supports_attention_backend", False)
    )


@contextmanager
def packed(model: PreTrainedModel, groups: Sequence[PackedGroup]) -> Iterator[None]:
    """While this is open, the model's blocks take these groups laid end to end."""
    _stand_in_front(model.config._attn_implementation)
    token = _packing.set(groups)
    try:
        yield
    finally:
        _packing.reset(token)


def _stand_in_front(implementation: str) -> None:
    """Put the cutting in front of an attention function of the registry, if it is not there yet."""
    with _registering:
        attend = ALL_ATTENTION_FUNCTIONS[implementation]
        if not isinstance(attend, _Cutting):
            ALL_ATTENTION_FUNCTIONS[implementation] = _Cutting(attend)


@dataclass(frozen=True)
class _Cutting:
    """An attention function that keeps packed rows apart, and is else the one that it is given."""

    attend: Callable[..., tuple[Tensor, Any]]

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Any,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Tensor, Any]:
        groups = _packing.get()
        if groups is None:
            return self.attend(module, query, key, value, attention_mask, *args, **kwargs)
        token = _packing.set(None)  # what the groups are given to is not to cut them again
        try:
            return _attend(self.attend, groups, module, query, key, value, *args, **kwargs), None
        finally:
            _packing.reset(token)


def _attend(
    attend: Callable[..., tuple[Tensor, Any]],
    groups: Sequence[PackedGroup],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Queries, keys and values (1, heads, tokens, width) to outputs (1, tokens, heads, width)."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    sizes = [group.rows * group.length for group in groups]
    # split, not slices: its gradient is one concatenation instead of a padded copy per group.
    flat = (tensor.squeeze(0).split(sizes, dim=1) for tensor in (query, key, value))
    outputs = []
    for group, *cut in zip(groups, *flat, strict=True):
        # (heads, rows * length, width) to (rows, heads, length, width)
        q, k, v = (part.unflatten(1, (group.rows, group.length)).transpose(0, 1) for part in cut)
        keys, values = group.cache.update(k, v, layer)
        if attend is _SDPA and keys.shape[1] < q.shape[1] and "position_bias" not in kwargs:
            out = _shared_keys(q, keys, values, group.masks[layer], kwargs.get("scaling"))
        else:
            out, _ = attend(module, q, keys, values, group.masks[layer], *args, **kwargs)
        outputs.append(out.flatten(0, 1))
    return torch.cat(outputs)[None]


def _shared_keys(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None
) -> Tensor:
    """Attention where several query heads share a key head, without repeating keys and values.

    The heads that share are laid out as further queries of one head; for the few queries and long
    prefixes here that is twice as fast as repeating.

    Args:
        query: (rows, heads, length, width).
        key: (rows, key heads, cached + length, width).
        value: the same shape.
        mask: (rows, 1, length, cached + length); None if every earlier token is seen.
        scale: factor of the scores; None for one over the root of the width.

    Returns:
        (rows, length, heads, width).
    """
    rows, heads, length, width = query.shape
    sharing = heads // key.shape[1]
    if mask is None:
        seen = torch.ones(length, key.shape[2], dtype=torch.bool, device=query.device)
        mask = seen.tril(key.shape[2] - length)[None, None]
    out = F.scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], sharing * length, width),
        key,
        value,
        attn_mask=mask.repeat(1, 1, sharing, 1),
        scale=scale,
    )
    return out.reshape(rows, heads, length, width).transpose(1, 2)
