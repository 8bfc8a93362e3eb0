"""Find the blocks, down-projections, final norm and head of a causal language model.

The search uses the structure of the model, not a table of model names. A transformer language model
has one long list of blocks of the same class. Outside the attention, each block has exactly one
matrix that maps the wide inner space to the residual stream, and another that maps the stream to
the inner space. One norm and one head follow the blocks. The result is checked on a few tokens:
the head applied to the normed output of the last block must reproduce the model's logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from alphaedit_core.errors import StructureError

from .hooks import own_hooks

#: Arguments of ``forward`` that only modules that mix tokens take.
_ATTENTION_PARAMETERS = {"attention_mask", "past_key_values", "past_key_value", "layer_past"}

_BY_HAND = (
    'give the module paths: load_model(..., places=ModulePaths(blocks="model.layers", '
    'down_projection="mlp.down_proj", norm="model.norm", head="lm_head"))'
)


@dataclass(frozen=True)
class ModulePaths:
    """Paths of the modules that editing needs, for a structure that is not recognized.

    Attributes:
        blocks: path of the list of blocks inside the model.
        down_projection: path of the down-projection inside one block.
        norm: path of the norm after the last block.
        head: path of the matrix that maps hidden states to logits.
    """

    blocks: str
    down_projection: str
    norm: str
    head: str


@dataclass(frozen=True)
class Architecture:
    """The modules and sizes of a model that editing needs.

    Attributes:
        places: paths of the modules.
        blocks: the transformer blocks, first to last.
        down_projections: one per block; the input of each is a *key* of shape (d_in,) per token.
        norm: the norm between the last block and the head.
        head: maps hidden states to logits.
        hidden_size: width of the residual stream (d_out of the down-projections).
        inner_size: width of the keys (d_in of the down-projections).
        softcap: cap of ``cap * tanh(logits / cap)``, or None if the logits are not capped.
        logit_scale: factor applied to the head's output before the cap.
        vocabulary: number of rows of the embedding; every token id is smaller.
        reach: per block, the factor that multiplies the output of the down-projection on its way
            to the residual stream; None if the two are not proportional (see
            :func:`~.load_checks.mlp_reach`). Empty if it was not measured.
    """

    places: ModulePaths
    blocks: tuple[nn.Module, ...]
    down_projections: tuple[nn.Module, ...]
    norm: nn.Module
    head: nn.Module
    hidden_size: int
    inner_size: int
    softcap: float | None = None
    logit_scale: float = 1.0
    vocabulary: int = 0
    reach: tuple[float | None, ...] = ()

    def matrix(self, layer: int) -> Tensor:
        """Return the down-projection of a block as a view of shape (d_out, d_in).

        A ``Linear`` stores (d_out, d_in), GPT-2's ``Conv1D`` the transpose. Writing to the view
        writes to the model.
        """
        module = self.down_projections[layer]
        weight = module.weight.data
        assert isinstance(weight, Tensor)
        return weight.T if isinstance(module, Conv1D) else weight

    def attention(self, layer: int) -> nn.Module:
        """Return the attention module of a block, whose output is added to the residual stream.

        Raises:
            StructureError: if the block does not have exactly one module that mixes tokens.
        """
        block = self.blocks[layer]
        mixers = [child for child in block.children() if _mixes_tokens(child)]
        if len(mixers) != 1:
            saw = ", ".join(type(child).__name__ for child in block.children())
            raise StructureError(
                f"block {layer}: looked for one module that takes an attention mask, saw {saw}; "
                "use an editor that does not search in the attention"
            )
        return mixers[0]

    def weight_name(self, layer: int) -> str:
        """Return the name of the down-projection's weight in the model's state dict."""
        return f"{self.places.blocks}.{layer}.{self.places.down_projection}.weight"

    def logits(self, hidden: Tensor) -> Tensor:
        """Map outputs of the last block, (..., hidden_size), to logits, (..., vocabulary).

        The logits are float32 or wider, whatever the dtype of the model.
        """
        logits: Tensor = self.head(self.norm(hidden))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) * self.logit_scale
        if self.softcap is not None:
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits


def find_architecture(model: nn.Module, places: ModulePaths | None = None) -> Architecture:
    """Find the parts of a transformers causal language model from its structure.

    Args:
        model: a model with ``get_input_embeddings`` and ``get_output_embeddings``.
        places: paths of the modules, for a structure that is not recognized.

    Raises:
        StructureError: if a module is missing or ambiguous, or the modules together do not
            reproduce the model's logits. The message explains how to give the paths by hand.
    """
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    hidden_size = int(embeddings.weight.shape[1])
    if places is None:
        blocks_path = _find_blocks(model)
        places = ModulePaths(
            blocks=blocks_path,
            down_projection=_find_down_projection(model, blocks_path, hidden_size),
            norm=_find_norm(model, blocks_path, hidden_size),
            head=_find_head(model),
        )
    blocks = tuple(_submodule(model, places.blocks).children())
    if not blocks:
        raise StructureError(f'"{places.blocks}" holds no blocks; {_BY_HAND}')
    downs = tuple(_submodule(block, places.down_projection) for block in blocks)
    inner_size = _check_down_projections(downs, places, hidden_size)
    softcap, logit_scale = _logit_transform(model)
    architecture = Architecture(
        places=places,
        blocks=blocks,
        down_projections=downs,
        norm=_submodule(model, places.norm),
        head=_submodule(model, places.head),
        hidden_size=hidden_size,
        inner_size=inner_size,
        softcap=softcap,
        logit_scale=logit_scale,
        vocabulary=int(embeddings.weight.shape[0]),
    )
    _verify(model, architecture)
    return architecture


def _check_down_projections(
    downs: Sequence[nn.Module], places: ModulePaths, hidden_size: int
) -> int:
    """Return the width of the keys after checking that all blocks agree on the shape."""
    inner_size = None
    for layer, module in enumerate(downs):
        at = f'"{places.down_projection}" of block {layer}'
        shape = _shape(module)
        if shape is None:
            raise StructureError(
                f"{at} is a {type(module).__name__}, not a Linear or Conv1D with a floating-point "
                f"weight; {_BY_HAND}"
            )
        inner_size = inner_size or shape[0]
        if shape != (inner_size, hidden_size):
            raise StructureError(
                f"{at} leads from {shape[0]} to {shape[1]}, not from {inner_size} to the width of "
                f"the residual stream, {hidden_size}; {_BY_HAND}"
            )
    assert inner_size is not None
    return inner_size


def _submodule(model: nn.Module, path: str) -> nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        kind = type(model).__name__
        raise StructureError(f'no module "{path}" in a {kind}; {_BY_HAND}') from None


def _shape(module: nn.Module) -> tuple[int, int] | None:
    """Return (inputs, outputs) of a Linear or Conv1D with a floating-point matrix, else None."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        return None
    if isinstance(module, Conv1D):
        return int(weight.shape[0]), int(weight.shape[1])
    if isinstance(module, nn.Linear):
        return int(weight.shape[1]), int(weight.shape[0])
    return None


def _mixes_tokens(module: nn.Module) -> bool:
    return bool(_ATTENTION_PARAMETERS & set(inspect.signature(module.forward).parameters))


def _find_blocks(model: nn.Module) -> str:
    """Return the path of the outermost list of modules of one class that mix tokens.

    If there are several such lists, the one with the most parameters counts.
    """
    best: str | None = None
    size = 0
    for path, module in model.named_modules():
        if not isinstance(module, nn.ModuleList) or len(module) == 0:
            continue
        if best is not None and path.startswith(best + "."):
            continue
        if len({type(block) for block in module}) != 1 or not _mixes_tokens(module[0]):
            continue
        parameters = sum(p.numel() for p in module.parameters())
        if parameters > size:
            best, size = str(path), parameters
    if best is None:
        raise StructureError(
            f"no blocks found in a {type(model).__name__}: looked for a ModuleList of modules of "
            f"one class that take an attention mask; {_BY_HAND}"
        )
    return best


def _find_down_projection(model: nn.Module, blocks: str, hidden_size: int) -> str:
    """Return the path of the matrix f -> hidden, outside attention, with a partner hidden -> f."""
    block = next(model.get_submodule(blocks).children())
    shapes = {
        str(path): shape
        for path, module in block.named_modules()
        if path not in _attention(block) and (shape := _shape(module)) is not None
    }

    def has_partner(path: str) -> bool:
        inner = shapes[path][0]
        # The output of a fused gate and up projection is twice as wide.
        return any(
            other != path and shape[0] == hidden_size and shape[1] in (inner, 2 * inner)
            for other, shape in shapes.items()
        )

    experts = any(_has_experts(child) for child in model.get_submodule(blocks).children())
    candidates = [p for p, shape in shapes.items() if shape[1] == hidden_size and has_partner(p)]
    if len(candidates) > 1:
        # Square matrices are partners of each other: the matrices of an attention that has no
        # module of its own, or an MLP whose inner width equals the width of the stream.
        wider = [p for p in candidates if shapes[p][0] != hidden_size]
        candidates = wider or _last_called(model, block, candidates)
    if len(candidates) != 1 or experts:
        saw = ", ".join(f"{p} {s[0]}->{s[1]}" for p, s in shapes.items()) or "no matrix"
        raise StructureError(
            f"no single down-projection in a {type(block).__name__}: looked outside the attention "
            f"for one matrix f -> {hidden_size} with a partner {hidden_size} -> f, saw {saw}"
            f"{' and experts, which are not supported' if experts else ''}; {_BY_HAND}"
        )
    return candidates[0]


def _attention(block: nn.Module) -> set[str]:
    """Return the paths of all modules and parameters in the attention of a block."""
    tops = [path for path, module in block.named_modules() if path and _mixes_tokens(module)]
    paths = [path for path, _ in (*block.named_modules(), *block.named_parameters())]
    return {path for path in paths if any(f"{path}.".startswith(f"{top}.") for top in tops)}


def _has_experts(block: nn.Module) -> bool:
    """Whether a list of modules or a stack of matrices lies outside the attention."""
    attention = _attention(block)
    lists = any(
        isinstance(module, nn.ModuleList) and len(module) > 1 and path not in attention
        for path, module in block.named_modules()
    )
    # The weight of a depthwise convolution also has three dimensions, but one of them has size 1.
    stacks = any(
        p.ndim == 3 and min(p.shape) > 1 and path not in attention
        for path, p in block.named_parameters()
    )
    return lists or stacks


@torch.no_grad()
def _last_called(model: nn.Module, block: nn.Module, paths: list[str]) -> list[str]:
    """Return the matrix that runs last, if all belong to one MLP; otherwise return all of them."""
    if len({path.rpartition(".")[0] for path in paths}) > 1:
        return paths
    called: list[str] = []
    with own_hooks() as hooks:
        for path in paths:
            hooks.before(block.get_submodule(path), lambda *_, path=path: called.append(path))
        model(input_ids=_four_tokens(model), use_cache=False)
    return called[-1:]


def _find_norm(model: nn.Module, blocks: str, hidden_size: int) -> str:
    """Return the path of the last sibling of the blocks that only has vectors as weights."""
    parent_path = blocks.rpartition(".")[0]
    norms = []
    for name, child in model.get_submodule(parent_path).named_children():
        parameters = list(child.parameters())
        if parameters and all(p.shape == (hidden_size,) for p in parameters):
            norms.append(f"{parent_path}.{name}" if parent_path else name)
    if not norms:
        raise StructureError(
            f'no final norm in a {type(model).__name__}: looked beside "{blocks}" for a module '
            f"whose weights are vectors of {hidden_size}; {_BY_HAND}"
        )
    return norms[-1]


def _find_head(model: nn.Module) -> str:
    head = model.get_output_embeddings()  # type: ignore[operator]
    for path, module in model.named_modules():
        if head is not None and module is head:
            return str(path)
    raise StructureError(
        f"no head in a {type(model).__name__}: get_output_embeddings() gives nothing; {_BY_HAND}"
    )


def _logit_transform(model: nn.Module) -> tuple[float | None, float]:
    """Return the cap and scale that the configuration applies to the output of the head."""
    config = model.config.get_text_config()  # type: ignore[operator,union-attr]
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return getattr(config, "final_logit_softcapping", None), scale


def _four_tokens(model: nn.Module) -> Tensor:
    vocabulary = int(model.config.get_text_config().vocab_size)  # type: ignore[operator,union-attr]
    return torch.arange(4, device=next(model.parameters()).device)[None] % vocabulary


@torch.no_grad()
def _verify(model: nn.Module, architecture: Architecture) -> None:
    """Check on four tokens that norm and head map the last block's output to the model's logits."""
    outputs: list[Tensor] = []
    with own_hooks() as hooks:
        hooks.after(
            architecture.blocks[-1],
            lambda _module, _args, out: outputs.append(out[0] if isinstance(out, tuple) else out),
        )
        expected = model(input_ids=_four_tokens(model), use_cache=False).logits
    try:
        actual = architecture.logits(outputs[0])
        gap = float((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-6))
    except (RuntimeError, NotImplementedError, TypeError, IndexError):  # shapes that do not fit
        gap = float("inf")
    # 16-bit weights round every logit; a missing norm or cap causes far larger errors.
    wide = next(model.parameters()).dtype in (torch.float32, torch.float64)
    tolerance = 1e-4 if wide else 0.05
    if not gap <= tolerance:
        raise StructureError(
            f"the parts found do not give the logits of a {type(model).__name__}: "
            f'"{architecture.places.norm}" and "{architecture.places.head}" after the last block '
            f"are off by {gap:.1e}; {_BY_HAND}"
        )
