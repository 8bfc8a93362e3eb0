"""Run parts of a model: up to a block, from a block on.

A transformers model prepares masks, positions and caches before it calls its blocks, and every
architecture does that in its own way. So none of it is rebuilt here: one real forward pass is
recorded (what each block was called with), and from then on the blocks can be called again with
another hidden state, as often as needed, and only those that matter.

Rows are padded on the right and carry explicit positions. In a causal model nothing that follows a
token can change it, so what is read (always a real token) does not depend on the padding, and the
tokenizer's ``padding_side`` plays no part.
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
    """Ends a forward pass whose rest is not wanted."""


@dataclass
class BlockCall:
    """What a block was called with, besides the hidden state, by parameter name."""

    kwargs: dict[str, Any]


@dataclass
class RecordedPass:
    """A forward pass that can go on from the input of block ``start``.

    Attributes:
        start: index of the first recorded block.
        entry: its input, (rows, tokens, hidden_size); the last block's output if none follows.
        calls: what the recorded blocks were called with, from ``start`` on.
    """

    start: int
    entry: Tensor
    calls: list[BlockCall]


def pad_rows(rows: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Token ids as one tensor (rows, longest), int64, padded on the right with zeros."""
    longest = max(len(row) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids.to(device)


def by_length(lengths: Sequence[int], token_limit: int, slack: int = 0) -> list[list[int]]:
    """Indices in groups of similar length, each of at most ``token_limit`` tokens with padding.

    A row joins the group of the next longer one only while the padding this costs stays under a
    sixteenth of the group, or ``slack`` tokens if that is more, so that hardly any work is spent on
    padding.
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
    """Call a block as it was called before, with another hidden state; tuples are unwrapped."""
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
    """One forward pass that notes how the blocks from ``start`` to ``stop`` - 1 are called.

    Args:
        model: the model.
        ids: token ids (rows, tokens), int64.
        start: first block to record, 0 … number of blocks.
        stop: the pass ends before this block.
        positions: position of each token (rows, tokens); None for 0, 1, 2 …
        mask: (rows, cached + tokens), 1 for real tokens; None where every token may be seen.
        cache: keys and values of earlier tokens; None for none.
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
            f"blocks {start} to {stop - 1} did not run once each, one after the other; a model "
            "that runs its blocks otherwise cannot be edited"
        )
    return RecordedPass(start, entry[0] if entry else end[0], calls)


def proceed(
    model: EditableModel,
    hidden: Tensor,
    calls: Sequence[BlockCall],
    start: int,
    check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Run blocks ``start``, ``start`` + 1 … for as many calls as given; returns the last output."""
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
    """Call the model below its head; hooks take what they want from it."""
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
    """Call ``read`` with the input of ``module`` at every call that this thread makes inside.

    Args:
        module: a module whose first argument is (…, width), or (rows * tokens, width).
        read: what to do with it.
        tokens: rows times tokens of what is to go through it, once; None to take what comes.

    Raises:
        StructureError: where another number of tokens went through.
    """
    seen = 0

    def note(module: nn.Module, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        nonlocal seen
        seen += args[0].numel() // args[0].shape[-1]
        _check_tokens(module, seen, tokens)
        read(args[0])

    with own_hooks() as hooks:
        hooks.before(module, note)
        yield
    _check_tokens(module, seen, tokens, all_of_them=True)


def _check_tokens(
    module: nn.Module, seen: int, tokens: int | None, all_of_them: bool = False
) -> None:
    if tokens is not None and (seen > tokens or (all_of_them and seen < tokens)):
        raise StructureError(
            f"{seen} tokens went through a {type(module).__name__} in a pass of {tokens}; every "
            "token is to go through it once, so what it read was not used"
        )


@contextmanager
def tap_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """The list receives the output of ``module`` at every call that this thread makes inside."""
    seen: list[Tensor] = []
    with own_hooks() as hooks:
        hooks.after(module, lambda _module, _args, out: seen.append(out))
        yield seen


@contextmanager
def ending_before(model: EditableModel, stop: int) -> Iterator[list[Tensor]]:
    """End this thread's pass after block ``stop`` - 1; the list receives that block's output."""
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
