"""Run parts of a model: the blocks before a given one, or the blocks from it on.

A transformers model prepares masks, positions and caches before it calls its blocks, and every
architecture does so in its own way. None of this is reimplemented here. Instead, one real forward
pass records the arguments of each block; after that, any of the blocks can be called again with
another hidden state.

Rows are padded on the right and have explicit positions. In a causal model no later token affects
an earlier one, so the states of real tokens do not depend on the padding or on the tokenizer's
``padding_side``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from alphaedit_core.errors import StructureError

from .editable_model import EditableModel
from .hooks import own_hooks


class _Stop(Exception):
    """Ends a forward pass early."""


@dataclass
class BlockCall:
    """Arguments of a block by parameter name, without the hidden state."""

    kwargs: dict[str, Any]


@dataclass
class RecordedPass:
    """A forward pass that can be continued from the input of block ``start``.

    Attributes:
        start: index of the first recorded block.
        entry: input of that block, (rows, tokens, hidden_size); the output of the last block if
            ``start`` is the number of blocks.
        calls: arguments of the recorded blocks, from ``start`` on.
    """

    start: int
    entry: Tensor
    calls: list[BlockCall]


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return token ids as one tensor (rows, longest), int64, padded on the right with zeros."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids.to(device)


def by_length(lengths: Sequence[int], token_limit: int, slack: int = 0) -> list[list[int]]:
    """Group indices by similar length, with at most ``token_limit`` tokens per group.

    A row joins the group of the next longer row only if the group's padding stays within a
    sixteenth of the group, or within ``slack`` tokens if that is more. The limit includes padding.
    """
    groups: list[list[int]] = []
    longest = total = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = lengths[index]
        if groups:
            padded = longest * (len(groups[-1]) + 1)
            if padded <= token_limit and padded - total - size <= max(padded / 16, slack):
                groups[-1].append(index)
                total += size
                continue
        groups.append([index])
        longest = total = size
    return groups


def call_block(block: nn.Module, hidden: Tensor, call: BlockCall) -> Tensor:
    """Call a block with recorded arguments and another hidden state; unwrap a tuple result."""
    out = block(hidden, **call.kwargs)
    hidden_out: Tensor = out[0] if isinstance(out, tuple) else out
    return hidden_out


def record(
    model: EditableModel,
    ids: Tensor,
    start: int,
    stop: int,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
) -> RecordedPass:
    """Run a forward pass and record the arguments of the blocks ``start`` to ``stop`` - 1.

    Args:
        model: the model.
        ids: token ids (rows, tokens), int64.
        start: first block to record, 0 … number of blocks.
        stop: the pass ends before this block.
        positions: position of each token (rows, tokens); None for 0, 1, 2 …
        mask: (rows, cached + tokens), 1 for real tokens; None if no token is padding.
        cache: keys and values of earlier tokens, or None.

    Raises:
        StructureError: if the blocks do not run once each, in order.
    """
    blocks = model.architecture.blocks
    entry: list[Tensor] = []
    calls: list[BlockCall] = []
    called: list[nn.Module] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        parameters = list(inspect.signature(module.forward).parameters)
        named = dict(zip(parameters, args, strict=False)) | kwargs
        hidden = named.pop(parameters[0])
        if not entry:
            entry.append(hidden)
        calls.append(BlockCall(named))
        called.append(module)

    with own_hooks() as hooks, ending_before(model, stop) as end:
        for block in blocks[start:stop]:
            hooks.before(block, note)
        run_model(model, ids, positions=positions, mask=mask, cache=cache)
    if called != list(blocks[start:stop]):
        raise StructureError(
            f"blocks {start} to {stop - 1} did not run once each, one after the other; such a "
            "model cannot be edited"
        )
    return RecordedPass(start, entry[0] if entry else end[0], calls)


def proceed(
    model: EditableModel,
    hidden: Tensor,
    calls: Sequence[BlockCall],
    start: int,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Run one block per call, from block ``start`` on; return the output of the last one."""
    for block, call in zip(model.architecture.blocks[start:], calls, strict=False):
        check()
        hidden = call_block(block, hidden, call)
    return hidden


def run_model(
    model: EditableModel,
    ids: Tensor,
    *,
    positions: Tensor | None = None,
    mask: Tensor | None = None,
    cache: Cache | None = None,
) -> None:
    """Run the model without its head; the caller's hooks read the results."""
    model.check_ids(ids)
    base = model.model.get_submodule(model.architecture.places.blocks.rpartition(".")[0])
    kwargs: dict[str, Any] = {"input_ids": ids, "use_cache": cache is not None}
    if mask is not None:
        kwargs["attention_mask"] = mask
    if cache is not None:
        kwargs["past_key_values"] = cache
    if positions is not None and "position_ids" in inspect.signature(base.forward).parameters:
        kwargs["position_ids"] = positions
    base(**kwargs)


@contextmanager
def tap(
    module: nn.Module, read: Callable[[Tensor], None], tokens: int | None = None
) -> Iterator[None]:
    """Call ``read`` with each input of ``module`` from this thread's calls inside the context.

    Args:
        module: a module whose first argument is (…, width), or (rows * tokens, width).
        read: receives the first argument.
        tokens: expected total number of tokens; None not to check the number.

    Raises:
        StructureError: if the module processed another number of tokens.
    """
    count = 0

    def note(module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        nonlocal count
        count += args[0].numel() // args[0].shape[-1]
        _check_tokens(module, count, tokens)
        read(args[0])

    with own_hooks() as hooks:
        hooks.before(module, note)
        yield
    _check_tokens(module, count, tokens, finished=True)


def _check_tokens(
    module: nn.Module, count: int, expected: int | None, finished: bool = False
) -> None:
    if expected is not None and (count > expected or (finished and count < expected)):
        raise StructureError(
            f"{count} tokens went through a {type(module).__name__} in a pass of {expected}; every "
            "token must go through it once, so its inputs were not used"
        )


@contextmanager
def tap_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that collects the outputs of ``module`` from this thread's calls inside."""
    outputs: list[Tensor] = []
    with own_hooks() as hooks:
        hooks.after(module, lambda _module, _args, out: outputs.append(out))
        yield outputs


@contextmanager
def ending_before(model: EditableModel, stop: int) -> Iterator[list[Tensor]]:
    """End this thread's pass after block ``stop`` - 1; yield a list with that block's output.

    The list stays empty for ``stop`` 0.
    """
    end: list[Tensor] = []

    def stop_here(*_: Any) -> None:
        raise _Stop

    def stop_after(_module: nn.Module, _args: Any, out: Any) -> None:
        end.append(out[0] if isinstance(out, tuple) else out)
        raise _Stop

    with own_hooks() as hooks:
        if stop == 0:
            hooks.before(model.architecture.blocks[0], stop_here)
        else:
            hooks.after(model.architecture.blocks[stop - 1], stop_after)
        with suppress(_Stop):
            yield end
