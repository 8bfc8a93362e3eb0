"""What a model must do for its edits to be right, tried on a few tokens when it is loaded.

Earlier tokens must act on later ones by their attention keys and values alone: all that is written
here goes on from such a cache. And a change of what a down-projection puts out must reach the
stream, best of all in proportion, so that it is known how much of it to ask for.
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

#: Dtypes of weights that a forward pass computes in.
_COMPUTE_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Token ids of two texts that end together: so one of them is padded in front.
_TEXTS = ((5, 9, 6, 7, 11, 8, 4), (12, 7, 8, 10, 6))
#: How many of their last tokens are read from the cache of the others.
_LATER = 3


def check_placement(model: PreTrainedModel, name: str) -> None:
    """Check that all weights are in memory and on one device.

    Raises:
        StructureError: naming a weight that is not loaded, or the devices.
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
    """Check that the weights can be multiplied, added to and written back.

    Raises:
        StructureError: naming the weight that cannot.
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
        InputError: if not.
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
    """Whether a dtype is so fine that rounding cannot be taken for another model."""
    return dtype in (torch.float32, torch.float64)


def gap(found: Tensor, expected: Tensor) -> float:
    """The largest distance of a token's state relative to its length; nan counts as infinite."""
    apart = (found - expected).float().norm(dim=-1) / expected.float().norm(dim=-1).clamp_min(1e-30)
    return float(apart.max().nan_to_num(torch.inf))


def allowed_gap(dtype: torch.dtype) -> float:
    """What rounding alone may come to in :func:`gap`; another model is off by far more."""
    return 1e-3 if is_wide(dtype) else 0.1


@torch.no_grad()
def check_cache(model: PreTrainedModel, architecture: Architecture) -> None:
    """Check that a text read on from the keys and values of its beginning is what it is as a whole.

    Raises:
        StructureError: if it is not; names the architecture and what does not fit.
    """
    texts = [[token % architecture.vocabulary for token in text] for text in _TEXTS]
    device = next(model.parameters()).device
    cuts = [len(text) - _LATER for text in texts]
    later = torch.tensor([text[-_LATER:] for text in texts], device=device)
    before = torch.tensor(cuts, device=device)[:, None]
    places = torch.arange(max(cuts) + _LATER, device=device)
    options = {
        "attention_mask": (places >= max(cuts) - before).long(),
        "position_ids": before + torch.arange(_LATER, device=device),
    }
    try:
        expected = []
        begun = []
        for text, cut in zip(texts, cuts, strict=True):
            ids = torch.tensor([text], device=device)
            expected.append(_states(model, architecture, ids, use_cache=False)[0, cut:])
            begun.append(DynamicCache())
            _states(model, architecture, ids[:, :cut], use_cache=True, past_key_values=begun[-1])
            _check_kept(begun[-1], architecture, cut)
        cache = _joined(begun, max(cuts))
        found = _states(
            model, architecture, later, use_cache=True, past_key_values=cache, **options
        )
    except torch.OutOfMemoryError:
        raise
    except StructureError as error:
        raise _refused(model, str(error)) from None
    except Exception as error:  # whatever a model says that is called as a plain transformer is
        raise _refused(
            model,
            "it does not go on from the attention keys and values of earlier tokens as other "
            f"models do ({type(error).__name__}: {' '.join(str(error).split())[:100]})",
        ) from error
    off = gap(found, torch.stack(expected))
    if not off <= allowed_gap(found.dtype):
        raise _refused(
            model,
            "a text that is read on from the attention keys and values of its beginning has other "
            f"hidden states than the same text as a whole (off by {off:.0%})",
        )


def _joined(begun: list[DynamicCache], longest: int) -> DynamicCache:
    """The keys and values of several texts, one row each, filled up in front."""
    cache = DynamicCache()
    for index, layers in enumerate(zip(*(one.layers for one in begun), strict=True)):
        keys, values = (
            torch.cat([F.pad(t, (0, 0, longest - t.shape[-2], 0)) for t in tensors])
            for tensors in zip(*((layer.keys, layer.values) for layer in layers), strict=True)
        )
        cache.update(keys, values, index)
    return cache


def _check_kept(cache: DynamicCache, architecture: Architecture, tokens: int) -> None:
    """Check that every block has keys and values of every token, and nothing else, in the cache."""
    kept = [type(layer).__name__ for layer in cache.layers]
    plain = all(
        type(layer) is DynamicLayer
        and isinstance(layer.keys, Tensor)
        and isinstance(layer.values, Tensor)
        and layer.keys.shape[-2] == layer.values.shape[-2] == tokens
        for layer in cache.layers
    )
    if len(kept) != len(architecture.blocks) or not plain:
        raise StructureError(
            f"of earlier tokens its {len(architecture.blocks)} blocks keep something else than the "
            f"attention keys and values of each (kept: {', '.join(kept) or 'nothing'})"
        )


def _states(
    model: PreTrainedModel, architecture: Architecture, ids: Tensor, use_cache: bool, **options: Any
) -> Tensor:
    """Output of the last block, (rows, tokens, hidden_size)."""
    base = model.get_submodule(architecture.places.blocks.rpartition(".")[0])
    known = inspect.signature(base.forward).parameters
    if "position_ids" not in known:
        options.pop("position_ids", None)
    end: list[Tensor] = []
    with own_hooks() as hooks:
        hooks.after(
            architecture.blocks[-1],
            lambda _module, _args, out: end.append(out[0] if isinstance(out, tuple) else out),
        )
        base(input_ids=ids, use_cache=use_cache, **options)
    return end[0]


def _refused(model: PreTrainedModel, why: str) -> StructureError:
    kind = type(model).__name__
    named = getattr(model.config, "model_type", "")
    return StructureError(
        f"a {kind} (model type {named}) cannot be edited: {why}; models of plain attention blocks "
        "can (Llama, Qwen, Gemma, GPT and the like)"
    )


@torch.no_grad()
def mlp_reach(model: PreTrainedModel, architecture: Architecture) -> tuple[float | None, ...]:
    """By what each block multiplies its down-projection's output before it joins the stream.

    Two vectors as long as the block's output are added to what its down-projection puts out. Where
    the block's output changes by the same multiple of both, at all tokens, that is the factor: 1 in
    most models, Granite's residual multiplier. It is taken exactly as the configuration has it
    where a number there is what was measured.

    Returns:
        One factor per block; None where the change is no multiple of what was added, as behind a
        norm (Gemma 2 and 3, OLMo 2).

    Raises:
        StructureError: if what a down-projection puts out does not reach the stream at all.
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
        before = _block(architecture, layer, args, kwargs, None)
        size = before.norm(dim=-1, keepdim=True)
        pairs = []
        for direction in directions.to(before):
            added = size * direction
            after = _block(architecture, layer, args, kwargs, added)
            pairs.append((added.double().cpu(), (after.double() - before.double()).cpu()))
        factors.append(_factor(model, layer, pairs, is_wide(before.dtype)))
    return tuple(factors)


def _block(
    architecture: Architecture,
    layer: int,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    added: Tensor | None,
) -> Tensor:
    """A block's output when a vector is added to its down-projection's, (1, tokens, hidden)."""

    def own(value: Any) -> Any:  # some blocks write into what they are given
        return value.clone() if isinstance(value, Tensor) else value

    with own_hooks() as hooks:
        if added is not None:
            hooks.after(
                architecture.down_projections[layer],
                lambda _module, _args, out: out + added.view_as(out).to(out.dtype),
            )
        out = architecture.blocks[layer](
            *(own(arg) for arg in args), **{name: own(value) for name, value in kwargs.items()}
        )
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found.clone()


def _factor(
    model: PreTrainedModel, layer: int, pairs: list[tuple[Tensor, Tensor]], wide: bool
) -> float | None:
    added, change = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    factor = float((added * change).sum() / added.square().sum())
    most = float((change.norm(dim=-1) / added.norm(dim=-1)).max())
    rounding = 1e-4 if wide else 0.02
    if most < rounding:
        raise _refused(
            model, f"what the down-projection of block {layer} puts out does not reach the stream"
        )
    off = (change - factor * added).norm(dim=-1) / (abs(factor) * added.norm(dim=-1))
    if not bool((off <= rounding).all()):
        return None
    close = rounding / 4 if not wide else rounding
    for exact in (1.0, *_numbers(model)):
        if abs(exact - factor) <= close * abs(factor):
            return exact
    return factor


def _numbers(model: PreTrainedModel) -> list[float]:
    """Numbers of the configuration that a factor may be, likely ones first.

    Also over the root of the number of blocks, by which MiniCPM scales what joins its stream.
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
