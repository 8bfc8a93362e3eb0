"""Checks, on a few tokens at load time, that a model can be edited correctly.

Earlier tokens must affect later ones only by their attention keys and values, because this package
continues texts from a cache of them. A change of a down-projection's output must also reach the
residual stream. If the two are proportional, the factor is measured, and the editors use it to
scale the requested change.
"""

from __future__ import annotations

import inspect
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache, DynamicLayer

from alphaedit_core.errors import InputError, StructureError

from .hooks import own_hooks

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from .architecture import Architecture

#: Dtypes of weights that can be edited.
_COMPUTE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Token ids of two test texts of different lengths, so that one is padded on the left.
_TEXTS = ((5, 9, 6, 7, 11, 8, 4), (12, 7, 8, 10, 6))
#: Number of their last tokens that run on the cache of the tokens before.
_LATER = 3


def check_placement(model: PreTrainedModel, name: str) -> None:
    """Check that all weights are in memory and on one device.

    Raises:
        StructureError: names a weight that is not loaded, or the devices.
    """
    devices: dict[str, str] = {}
    for path, parameter in model.named_parameters():
        if parameter.is_meta:
            raise StructureError(
                f'model "{name}" has weights that are not loaded or are offloaded ({path}); edits '
                'need all weights in memory: load the model on one device, such as device="cpu", '
                'or in a smaller dtype, such as dtype="bfloat16"'
            )
        devices.setdefault(str(parameter.device), path)
    if len(devices) > 1:
        raise StructureError(
            f'model "{name}" is spread over {", ".join(devices)}; edits need all weights on one '
            f'device: load it with device="{next(iter(devices))}", or in a smaller dtype, such as '
            'dtype="bfloat16"'
        )


def check_dtypes(model: PreTrainedModel, name: str) -> None:
    """Check that the dtypes of the weights allow arithmetic and in-place writes.

    Raises:
        StructureError: names the first weight that does not.
    """
    for path, parameter in model.named_parameters():
        dtype = parameter.dtype
        if dtype.is_floating_point and dtype not in _COMPUTE_DTYPES:
            raise StructureError(
                f'model "{name}" has weights in {str(dtype).removeprefix("torch.")} ({path}); load '
                "a copy in bfloat16, float16 or float32"
            )
        if parameter.is_inference():
            raise StructureError(
                f'model "{name}" was loaded in torch.inference_mode(), so its weights can never be '
                "edited; load it outside"
            )


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Check that the tokenizer gives offsets and the embedding has a row for each of its tokens.

    Added tokens, such as padding, may have no row; :meth:`.EditableModel.check_ids` refuses a text
    that contains one.

    Raises:
        InputError: if the tokenizer is not a fast one, or a row is missing.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(
            f'tokenizer of "{name}" is a {type(tokenizer).__name__} without character offsets; '
            "load its fast version (tokenizer.json)"
        )
    embedding: Any = model.get_input_embeddings()
    rows = int(embedding.weight.shape[0])
    added = tokenizer.get_added_vocab()
    highest = max((i for t, i in tokenizer.get_vocab().items() if t not in added), default=0)
    if highest >= rows:
        raise InputError(
            f'tokenizer of "{name}" has a token {highest}, but the embedding of the model only '
            f"{rows} rows; load the tokenizer that belongs to the model, or call "
            "resize_token_embeddings"
        )


def is_wide(dtype: torch.dtype) -> bool:
    """Whether rounding in a dtype is small enough for tight tolerances."""
    return dtype in (torch.float32, torch.float64)


def gap(actual: Tensor, expected: Tensor) -> float:
    """Return the largest relative error of a token's hidden state; nan counts as infinite."""
    errors = (actual - expected).float().norm(dim=-1)
    relative = errors / expected.float().norm(dim=-1).clamp_min(1e-30)
    return float(relative.max().nan_to_num(torch.inf))


def allowed_gap(dtype: torch.dtype) -> float:
    """Return the largest :func:`gap` that rounding alone may cause; other errors are far larger."""
    return 1e-3 if is_wide(dtype) else 0.1


@torch.no_grad()
def check_cache(model: PreTrainedModel, architecture: Architecture) -> None:
    """Check that continuing a text from its cached keys and values gives the same hidden states.

    Raises:
        StructureError: if the states differ; names the architecture and the reason.
    """
    texts = [[token % architecture.vocabulary for token in text] for text in _TEXTS]
    device = next(model.parameters()).device
    cuts = [len(text) - _LATER for text in texts]
    later = torch.tensor([text[-_LATER:] for text in texts], device=device)
    before = torch.tensor(cuts, device=device)[:, None]
    columns = torch.arange(max(cuts) + _LATER, device=device)
    options = {
        "attention_mask": (columns >= max(cuts) - before).long(),
        "position_ids": before + torch.arange(_LATER, device=device),
    }
    try:
        expected = []
        caches = []
        for text, cut in zip(texts, cuts, strict=True):
            ids = torch.tensor([text], device=device)
            expected.append(_states(model, architecture, ids, use_cache=False)[0, cut:])
            caches.append(DynamicCache())
            _states(model, architecture, ids[:, :cut], use_cache=True, past_key_values=caches[-1])
            _check_contents(caches[-1], architecture, cut)
        cache = _joined(caches, max(cuts))
        actual = _states(
            model, architecture, later, use_cache=True, past_key_values=cache, **options
        )
    except torch.OutOfMemoryError:
        raise
    except StructureError as error:
        raise _refused(model, str(error)) from None
    except Exception as error:  # an unusual model may raise anything here
        raise _refused(
            model,
            "it cannot continue from the attention keys and values of earlier tokens as other "
            f"models do ({type(error).__name__}: {' '.join(str(error).split())[:100]})",
        ) from error
    off = gap(actual, torch.stack(expected))
    if not off <= allowed_gap(actual.dtype):
        raise _refused(
            model,
            "continuing a text from cached attention keys and values gives other hidden states "
            f"than the whole text at once (off by {off:.0%})",
        )


def _joined(caches: list[DynamicCache], longest: int) -> DynamicCache:
    """Join the caches of several texts, one row each, padded on the left."""
    cache = DynamicCache()
    for index, layers in enumerate(zip(*(one.layers for one in caches), strict=True)):
        keys, values = (
            torch.cat([F.pad(t, (0, 0, longest - t.shape[-2], 0)) for t in tensors])
            for tensors in zip(*((layer.keys, layer.values) for layer in layers), strict=True)
        )
        cache.update(keys, values, index)
    return cache


def _check_contents(cache: DynamicCache, architecture: Architecture, tokens: int) -> None:
    """Check that the cache holds the keys and values of every token per block, and nothing else."""
    kinds = [type(layer).__name__ for layer in cache.layers]
    plain = all(
        type(layer) is DynamicLayer
        and isinstance(layer.keys, Tensor)
        and isinstance(layer.values, Tensor)
        and layer.keys.shape[-2] == layer.values.shape[-2] == tokens
        for layer in cache.layers
    )
    if len(kinds) != len(architecture.blocks) or not plain:
        raise StructureError(
            f"its {len(architecture.blocks)} blocks do not cache exactly the attention keys and "
            f"values of each earlier token (cached: {', '.join(kinds) or 'nothing'})"
        )


def _states(
    model: PreTrainedModel, architecture: Architecture, ids: Tensor, use_cache: bool, **options: Any
) -> Tensor:
    """Return the output of the last block, (rows, tokens, hidden_size)."""
    base = model.get_submodule(architecture.places.blocks.rpartition(".")[0])
    parameters = inspect.signature(base.forward).parameters
    if "position_ids" not in parameters:
        options.pop("position_ids", None)
    end: list[Tensor] = []
    with own_hooks() as hooks:
        hooks.after(
            architecture.blocks[-1],
            lambda _module, _args, out: end.append(out[0] if isinstance(out, tuple) else out),
        )
        base(input_ids=ids, use_cache=use_cache, **options)
    return end[0]


def _refused(model: PreTrainedModel, reason: str) -> StructureError:
    kind = type(model).__name__
    model_type = getattr(model.config, "model_type", "")
    return StructureError(
        f"a {kind} (model type {model_type}) cannot be edited: {reason}; use a model with plain "
        "attention blocks (Llama, Qwen, Gemma, GPT and the like)"
    )


@torch.no_grad()
def mlp_reach(model: PreTrainedModel, architecture: Architecture) -> tuple[float | None, ...]:
    """Measure the factor of each down-projection's output on its way to the residual stream.

    Two random vectors with the norm of the block's output are added to the output of its
    down-projection. If the block's output changes by the same multiple of both at all tokens, that
    multiple is the factor. It is 1 in most models, and the residual multiplier in Granite. If a
    number in the configuration matches the measured factor, that exact number is used.

    Returns:
        One factor per block; None if the change is not proportional, as after a norm (Gemma 2 and
        3, OLMo 2).

    Raises:
        StructureError: if the output of a down-projection does not reach the stream at all.
    """
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    ids = torch.arange(4, device=next(model.parameters()).device)[None] % architecture.vocabulary
    with own_hooks() as hooks:
        for block in architecture.blocks:
            hooks.before(block, lambda _module, args, kwargs: calls.append((args, kwargs)))
        base = model.get_submodule(architecture.places.blocks.rpartition(".")[0])
        base(input_ids=ids, use_cache=False)
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(2, architecture.hidden_size, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    factors: list[float | None] = []
    for layer, (args, kwargs) in enumerate(calls):
        before = _block_output(architecture, layer, args, kwargs, None)
        size = before.norm(dim=-1, keepdim=True)
        pairs = []
        for direction in directions.to(before):
            added = size * direction
            after = _block_output(architecture, layer, args, kwargs, added)
            pairs.append((added.double().cpu(), (after.double() - before.double()).cpu()))
        factors.append(_factor(model, layer, pairs, is_wide(before.dtype)))
    return tuple(factors)


def _block_output(
    architecture: Architecture,
    layer: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    added: Tensor | None,
) -> Tensor:
    """Return a block's output, (1, tokens, hidden), with ``added`` to its down-projection's output.

    The arguments are cloned first, because some blocks write to them.
    """

    def copied(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else value

    with own_hooks() as hooks:
        if added is not None:
            hooks.after(
                architecture.down_projections[layer],
                lambda _module, _args, out: out + added.view_as(out).to(out.dtype),
            )
        out = architecture.blocks[layer](
            *(copied(arg) for arg in args),
            **{name: copied(value) for name, value in kwargs.items()},
        )
    hidden: Tensor = out[0] if isinstance(out, tuple) else out
    return hidden.clone()


def _factor(
    model: PreTrainedModel, layer: int, pairs: list[tuple[Tensor, Tensor]], wide: bool
) -> float | None:
    added, change = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    factor = float((added * change).sum() / added.square().sum())
    largest = float((change.norm(dim=-1) / added.norm(dim=-1)).max())
    rounding = 1e-4 if wide else 0.02
    if largest < rounding:
        raise _refused(
            model, f"the output of block {layer}'s down-projection does not reach the stream"
        )
    off = (change - factor * added).norm(dim=-1) / (abs(factor) * added.norm(dim=-1))
    if not bool((off <= rounding).all()):
        return None
    tolerance = rounding / 4 if not wide else rounding
    for exact in (1.0, *_candidate_factors(model)):
        if abs(exact - factor) <= tolerance * abs(factor):
            return exact
    return factor


def _candidate_factors(model: PreTrainedModel) -> list[float]:
    """Return the numbers in the configuration that may be the factor, likely ones first.

    The list also has each number divided by the root of the number of blocks, which is how MiniCPM
    scales its residual branches.
    """
    fields = model.config.get_text_config().to_dict()
    named = sorted(fields, key=lambda name: ("residual" not in name, "multiplier" not in name))
    plain = [
        float(fields[name])
        for name in named
        if isinstance(fields[name], (int, float))
        and not isinstance(fields[name], bool)
        and fields[name]
    ]
    blocks = fields.get("num_hidden_layers")
    return plain + ([number / sqrt(blocks) for number in plain] if blocks else [])
