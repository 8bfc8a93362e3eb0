"""Attention for rows of different lengths that are packed end to end in one sequence.

The operations on single tokens (norms, projections, the MLP) are fastest with as many tokens as
possible in one call; only attention must keep the rows separate. So each block is called once with
all rows end to end. A wrapper around the model's attention function in transformers' registry
splits queries, keys and values into groups of equally long rows, prepends each row's cached prefix
and calls the original function with the model's own mask. The wrapper does so only in a thread that
is inside :func:`packed`; it forwards all other calls unchanged.
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
        rows: number of rows.
        length: number of tokens per row.
        cache: frozen keys and values of the prefix of each row.
        masks: the model's own mask per block index; None for a block without a mask.
    """

    rows: int
    length: int
    cache: DynamicCache
    masks: dict[int, Tensor | None]


# The groups to split attention into; per thread, and only set while packed blocks run.
_packing: ContextVar[Sequence[PackedGroup] | None] = ContextVar("packing", default=None)
_registering = Lock()


def can_pack(model: PreTrainedModel) -> bool:
    """Whether the model's blocks take their attention function from transformers' registry."""
    implementation = model.config._attn_implementation
    # Attention functions outside the registry cannot be wrapped.
    return implementation in ALL_ATTENTION_FUNCTIONS and bool(
        getattr(model, "_supports_attention_backend", False)
    )


@contextmanager
def packed(model: PreTrainedModel, groups: Sequence[PackedGroup]) -> Iterator[None]:
    """Enter a context in which the model's blocks process these groups end to end."""
    _wrap_registered(model.config._attn_implementation)
    token = _packing.set(groups)
    try:
        yield
    finally:
        _packing.reset(token)


def _wrap_registered(implementation: str) -> None:
    """Wrap an attention function of the registry, if it is not wrapped yet."""
    with _registering:
        attend = ALL_ATTENTION_FUNCTIONS[implementation]
        if not isinstance(attend, _SplittingAttention):
            ALL_ATTENTION_FUNCTIONS[implementation] = _SplittingAttention(attend)


@dataclass(frozen=True)
class _SplittingAttention:
    """An attention function that keeps packed rows separate, and otherwise equals ``attend``."""

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
        token = _packing.set(None)  # the wrapped function must not split the groups again
        try:
            return _split_attend(
                self.attend, groups, module, query, key, value, *args, **kwargs
            ), None
        finally:
            _packing.reset(token)


def _split_attend(
    attend: Callable[..., tuple[Tensor, Any]],
    groups: Sequence[PackedGroup],
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    """Map queries, keys and values (1, heads, tokens, width) to (1, tokens, heads, width)."""
    layer: int = module.layer_idx  # type: ignore[assignment]
    sizes = [group.rows * group.length for group in groups]
    # split, not slices: its gradient is one concatenation instead of a padded copy per group.
    flat = (tensor.squeeze(0).split(sizes, dim=1) for tensor in (query, key, value))
    outputs = []
    for group, *parts in zip(groups, *flat, strict=True):
        # (heads, rows * length, width) to (rows, heads, length, width)
        q, k, v = (part.unflatten(1, (group.rows, group.length)).transpose(0, 1) for part in parts)
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
    """Compute grouped-query attention without repeating keys and values.

    The query heads that share a key head become additional queries of one head. For few queries and
    long prefixes, this is twice as fast as repeating keys and values.

    Args:
        query: (rows, heads, length, width).
        key: (rows, key heads, cached + length, width).
        value: same shape as ``key``.
        mask: (rows, 1, length, cached + length); None for a plain causal mask.
        scale: factor of the scores; None for 1 / sqrt(width).

    Returns:
        (rows, length, heads, width).
    """
    rows, heads, length, width = query.shape
    sharing = heads // key.shape[1]
    if mask is None:
        visible = torch.ones(length, key.shape[2], dtype=torch.bool, device=query.device)
        mask = visible.tril(key.shape[2] - length)[None, None]
    out = F.scaled_dot_product_attention(
        query.reshape(rows, key.shape[1], sharing * length, width),
        key,
        value,
        attn_mask=mask.repeat(1, 1, sharing, 1),
        scale=scale,
    )
    return out.reshape(rows, heads, length, width).transpose(1, 2)
