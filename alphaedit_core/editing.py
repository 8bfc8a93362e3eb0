"""One batch of facts written into a model: targets, then layer by layer keys and update.

Fang et al. 2025, section 3.3, over the layer loop of MEMIT (Meng et al. 2023, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .closed_form import EarlierKeys, LowRank
from .editors import Editor
from .hyperparameters import HyperParameters
from .keys import SubjectStates
from .memory import BatchPlan
from .models import EditableModel
from .nullspace import Projector
from .progress import Monitor
from .prompts import Request
from .targets import Trace, find_targets
from .weights import EditedWeights


@dataclass(frozen=True)
class LayerWrite:
    """What one layer wrote for one batch.

    Attributes:
        layer: index of the block.
        update_norm: Frobenius norm of the change of the weight.
        unprojected_norm: the norm that the same keys and residuals would have given with P = I and
            no earlier keys.
        surviving_norm: the norm that would be left of that update if it were projected afterwards.
        weight_norm: norm of the original weight.
        key_norm: norm of each fact's key, n numbers.
        kept: share of each key's squared norm that survives the projection, n numbers.
        residual: norm of what each output still lacked before this layer wrote, n numbers.
    """

    layer: int
    update_norm: float
    unprojected_norm: float
    surviving_norm: float
    weight_norm: float
    key_norm: list[float]
    kept: list[float]
    residual: list[float]


@dataclass(frozen=True, eq=False)
class BatchWrite:
    """What one batch did to a model.

    Attributes:
        changes: the change of each layer's weight.
        keys: the facts' keys at each layer, (d_in, n), float32. Blocks before a layer are complete
            when its keys are read, so these are also the keys on the edited model, as the next
            batch needs them.
        writes: figures per layer.
        traces: the search for each fact's target value.
        residual_left: ``|z - h| / |z - h0|`` of each fact after the last layer.
        plan: how many tokens went through the blocks together.
    """

    changes: dict[int, LowRank]
    keys: dict[int, Tensor]
    writes: list[LayerWrite]
    traces: list[Trace]
    residual_left: list[float]
    plan: BatchPlan


def write_batch(
    model: EditableModel,
    weights: EditedWeights,
    editor: Editor,
    requests: Sequence[Request],
    earlier: Mapping[int, EarlierKeys],
    projectors: Mapping[int, Projector],
    hyperparameters: HyperParameters,
    plan: BatchPlan,
    monitor: Monitor,
) -> BatchWrite:
    """Write a batch of facts into the model.

    If this raises, some layers may be changed: the caller makes the weights anew.

    Args:
        model: the model, as earlier batches left it.
        weights: its edited weights.
        editor: what to solve.
        requests: n facts as tokens.
        earlier: projected keys of earlier facts, by layer.
        projectors: P by layer.
        hyperparameters: layers, search and ridge.
        plan: how many tokens go through the blocks together.
        monitor: what to report to.
    """
    layers = hyperparameters.layers
    targets = find_targets(model, requests, hyperparameters, plan, monitor)
    with monitor.stage("keys and update", len(layers), "layer") as stage:
        states = SubjectStates(model, requests, layers, targets.plan, monitor)
        changes: dict[int, LowRank] = {}
        all_keys: dict[int, Tensor] = {}
        writes: list[LayerWrite] = []
        stage.detail = writes
        for index, layer in enumerate(layers):
            keys, state = states.read(layer)
            lacking = (targets.z - state).T
            residual = lacking / (len(layers) - index)
            projector = projectors[layer]
            solved = editor.update(keys, residual, earlier[layer], projector, hyperparameters)
            # As it will lie in memory when it comes from a file: the bits of sums can depend on it.
            own = torch.contiguous_format
            change = LowRank(
                solved.left.clone(memory_format=own), solved.right.clone(memory_format=own)
            )
            weights.add(layer, change)
            changes[layer], all_keys[layer] = change, keys
            free = _unprojected(editor, keys, residual, hyperparameters)
            writes.append(
                LayerWrite(
                    layer,
                    change.norm,
                    free.norm,
                    LowRank(free.left, projector(free.right)).norm,
                    weights.original_norm(layer),
                    keys.norm(dim=0).tolist(),
                    (projector(keys).norm(dim=0) / keys.norm(dim=0)).square().tolist(),
                    lacking.norm(dim=0).tolist(),
                )
            )
            monitor.advance()
        left = (targets.z - states.end()).norm(dim=1)
        wanted = (targets.z - targets.h0).norm(dim=1).clamp_min(torch.finfo(left.dtype).tiny)
    residual_left = (left / wanted).tolist()
    return BatchWrite(changes, all_keys, writes, targets.traces, residual_left, targets.plan)


def _unprojected(
    editor: Editor, keys: Tensor, residual: Tensor, hyperparameters: HyperParameters
) -> LowRank:
    size = len(keys)
    none, everything = EarlierKeys.none(size, keys.device), Projector.identity(size, keys.device)
    return editor.update(keys, residual, none, everything, hyperparameters)
