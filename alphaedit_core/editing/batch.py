"""Write one batch of facts into a model: target values, then keys and update layer by layer.

Fang et al. 2025, section 3.3, with MEMIT's loop over the layers (Meng et al. 2023, algorithm 1).
Editors that train a weight replace both steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from alphaedit_core.editing.editors.base import Editor, FineTuner, LayerInputs
from alphaedit_core.editing.editors.ft import FtConfig
from alphaedit_core.errors import DivergedError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.progress import Monitor

from .closed_form import Preconditioner, PreviousKeys
from .config import EditConfig
from .edited_weights import EditedWeights
from .fine_tuning import fine_tune
from .layer_write import LayerWrite
from .search_trace import Trace
from .subject_keys import SubjectStates
from .target_search import Targets, find_targets
from .weight_updates import Dense, WeightUpdate, contiguous_copy, projected, tensors_of


@dataclass(frozen=True, eq=False)
class LayerSpace:
    """Projector and preconditioners of one layer, from its key statistics.

    Attributes:
        projector: P at the threshold, even if the projection is off.
        preconditioner: G.
        free: G with the projection off.
    """

    projector: Projector
    preconditioner: Preconditioner
    free: Preconditioner


@dataclass(frozen=True, eq=False)
class BatchWrite:
    """Result of writing one batch of n facts.

    Attributes:
        changes: update of each layer's weight.
        keys: the facts' keys by layer, (d_in, n), float32. The earlier layers are final when a
            layer's keys are read, so these are also the keys on the edited model, as the next
            batch needs them.
        writes: norms per layer.
        traces: target search or training of each fact.
        residual_left: ``|z - h| / |z - h0|`` of each fact after the last layer; None if no target
            was searched, or if z = h0 because the model already predicted the target.
        plan: number of tokens per pass that was used.
        targets: the target values; None if no target was searched.
        superseded: positions of the earlier facts that this batch supersedes, see
            :mod:`~alphaedit_core.data.superseding`.
    """

    changes: dict[int, WeightUpdate]
    keys: dict[int, Tensor]
    writes: list[LayerWrite]
    traces: list[Trace]
    residual_left: list[float | None]
    plan: BatchPlan
    targets: Targets | None = None
    superseded: tuple[int, ...] = ()


def write_batch(
    model: EditableModel,
    weights: EditedWeights,
    editor: Editor[Any],
    requests: Sequence[TokenizedFact],
    previous: Mapping[int, PreviousKeys],
    spaces: Mapping[int, LayerSpace],
    hyperparameters: EditConfig,
    plan: BatchPlan,
    monitor: Monitor,
    targets: Targets | None = None,
) -> BatchWrite:
    """Write a batch of facts into the model.

    If this raises, some layers may be changed, and the caller has to restore the weights.

    Args:
        model: the model with the edits of earlier batches.
        weights: its edited weights.
        editor: the editor.
        requests: n tokenized facts.
        previous: keys of earlier facts in the preconditioners' coordinates, by layer.
        spaces: projector and preconditioners by layer.
        hyperparameters: the editor's configuration.
        plan: number of tokens per pass through the blocks.
        monitor: receives progress; checked for cancellation between blocks.
        targets: known target values of these requests; None to search them.

    Raises:
        Canceled: if canceled.
        DivergedError: if a target value or an update is not finite.
        InputError: if the hidden state at a fact's subject is all zeros.
        StructureError: if the model's blocks cannot be run as the search needs.
        torch.OutOfMemoryError: if even the smallest plan does not fit.
    """
    if isinstance(editor, FineTuner):
        return _train(model, weights, editor, requests, spaces, hyperparameters, plan, monitor)
    assert editor.place is not None
    layers, in_mlp = hyperparameters.layers, editor.place != "block"
    if targets is None:
        targets = find_targets(model, requests, hyperparameters, plan, monitor, editor.place)
    with monitor.stage("keys and update", len(layers), "layer") as stage:
        states = SubjectStates(model, requests, layers, targets.plan, monitor)
        changes: dict[int, WeightUpdate] = {}
        before_update: dict[int, Tensor] = {}  # weights of layers whose final update differs
        all_keys: dict[int, Tensor] = {}
        writes: list[LayerWrite] = []
        stage.detail = writes
        for index, layer in enumerate(layers):
            read, space, layer_hp = states.read(layer), spaces[layer], hyperparameters.at(layer)
            gap = (targets.z - (read.mlp if in_mlp else read.state)).T  # Z - h, (d_out, n)
            reach = _reach(model, layer, in_mlp, monitor)
            identity = Projector.identity(space.projector.size, space.projector.device)
            inputs = LayerInputs(
                keys=read.keys,
                prompt_keys=read.prompt_keys,
                mean_keys=read.mean,
                residual=gap if reach == 1 else gap / reach,
                layers_left=len(layers) - index,
                weight=weights.master(layer),
                max_singular_value=partial(weights.max_singular_value, layer),
                preconditioner=space.preconditioner,
                projector=space.projector if hyperparameters.projection else identity,
                previous=previous[layer],
                hyperparameters=layer_hp,
            )
            # The memory layout of a loaded file, as the last bits of sums can depend on it.
            update = _finite(contiguous_copy(editor.update(inputs)), editor, layer)
            final = editor.final(inputs, update)
            if final is not update:
                final = _finite(contiguous_copy(final), editor, layer)
                before_update[layer] = weights.master(layer).clone()
            free = final
            if hyperparameters.projection or len(inputs.previous):
                free_inputs = replace(
                    inputs,
                    preconditioner=space.free,
                    projector=identity,
                    previous=PreviousKeys.none(space.free.width, space.free.device),
                    hyperparameters=layer_hp.replace(projection=False),
                )
                free = editor.final(free_inputs, editor.update(free_inputs))
            writes.append(
                _layer_write(layer, final, free, space, weights, read.keys, gap.norm(dim=0))
            )
            weights.add(layer, update)
            changes[layer], all_keys[layer] = final, read.keys
            monitor.advance()
        if before_update:  # later layers were solved on weights that are not final
            for layer, before in before_update.items():
                weights.replace(layer, before, changes[layer])
            states = SubjectStates(model, requests, layers, targets.plan, monitor)
            for index, layer in enumerate(layers):
                all_keys[layer] = states.read(layer).keys
                writes[index] = _with_keys(writes[index], spaces[layer], all_keys[layer])
        end = states.end()
        left = (targets.z - (end.mlp if in_mlp else end.state)).norm(dim=1)
        total = (targets.z - targets.h0).norm(dim=1)
    return BatchWrite(
        changes,
        all_keys,
        writes,
        targets.traces,
        shares_left(left, total, targets.h0.norm(dim=1)),
        targets.plan,
        targets,
    )


def shares_left(left: Tensor, total: Tensor, scale: Tensor) -> list[float | None]:
    """Return ``|z - h| / |z - h0|`` of each fact; None if z = h0.

    If the model already predicts a target, its search ends at the first evaluation with z = h0.
    The fraction is then undefined, even if the updates for other facts move h.

    Args:
        left: ``|z - h|``, (n,).
        total: ``|z - h0|``, (n,).
        scale: ``|h0|``, (n,); z = h0 if they differ by no more than its rounding.
    """
    rounding = scale * torch.finfo(left.dtype).eps
    return [
        float(gap / change) if bool(change > least) else None
        for gap, change, least in zip(left, total, rounding, strict=True)
    ]


def _reach(model: EditableModel, layer: int, in_mlp: bool, monitor: Monitor) -> float:
    """Return the model's factor between a layer's output change and the change of the residual.

    1 if the residual is measured at the MLP's own output, or the factor is unknown.
    """
    if in_mlp or not model.architecture.reach:
        return 1.0
    reach = model.architecture.reach[layer]
    if reach is None:
        warning = (
            "the outputs of this model's down-projections pass a norm or the like before they join "
            "the residual stream: no layer can write its share exactly; check the residual left"
        )
        if warning not in monitor.warnings:
            monitor.warn(warning)
    return 1.0 if reach is None else reach


def _train(
    model: EditableModel,
    weights: EditedWeights,
    editor: FineTuner[Any],
    requests: Sequence[TokenizedFact],
    spaces: Mapping[int, LayerSpace],
    hp: EditConfig,
    plan: BatchPlan,
    monitor: Monitor,
) -> BatchWrite:
    """Write a batch with an editor that trains the layers one after another."""
    changes: dict[int, WeightUpdate] = {}
    all_keys: dict[int, Tensor] = {}
    writes: list[LayerWrite] = []
    traces: list[Trace] = []
    for layer in hp.layers:
        space, layer_hp = spaces[layer], hp.at(layer)

        def constrain(
            change: Tensor, projector: Projector = space.projector, own: EditConfig = layer_hp
        ) -> Tensor:
            return editor.constrain(change, projector, own)

        keys = SubjectStates(model, requests, [layer], plan, monitor).read(layer).keys
        matrix, traces, plan = fine_tune(
            model,
            requests,
            layer,
            constrain,
            cast(FtConfig, layer_hp),
            plan,
            monitor,
        )
        change = _finite(contiguous_copy(Dense(matrix)), editor, layer)
        no_residual = keys.new_zeros(0)
        writes.append(_layer_write(layer, change, change, space, weights, keys, no_residual))
        weights.add(layer, change)
        changes[layer], all_keys[layer] = change, keys
    unknown: list[float | None] = [None] * len(requests)
    return BatchWrite(changes, all_keys, writes, traces, unknown, plan)


def _finite(change: WeightUpdate, editor: Editor[Any], layer: int) -> WeightUpdate:
    """Return the update after checking that all of its numbers are finite.

    Raises:
        DivergedError: if some are not; the update is then not written.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in tensors_of(change).values()):
        remedy = (
            "lower ft_learning_rate"
            if isinstance(editor, FineTuner)
            else "raise the weight on C or ridge"
        )
        raise DivergedError(
            f"layer {layer}: the update of {editor.name} is not finite; {remedy}, or load the "
            "model in float32"
        )
    return change


def _layer_write(
    layer: int,
    change: WeightUpdate,
    free: WeightUpdate,
    space: LayerSpace,
    weights: EditedWeights,
    keys: Tensor,
    residual_norm: Tensor,
) -> LayerWrite:
    write = LayerWrite(
        layer,
        change.norm,
        free.norm,
        projected(free, space.projector).norm,
        weights.original_norm(layer),
        [],
        [],
        residual_norm.tolist(),
    )
    return _with_keys(write, space, keys)


def _with_keys(write: LayerWrite, space: LayerSpace, keys: Tensor) -> LayerWrite:
    """Return ``write`` with ``key_norm`` and ``kept`` of the keys (d_in, n)."""
    # A key can be all zeros after a rectified activation; its kept fraction is then 0.
    norms = keys.norm(dim=0).clamp_min(torch.finfo(keys.dtype).tiny)
    kept = space.projector(keys).norm(dim=0) / norms
    return replace(write, key_norm=keys.norm(dim=0).tolist(), kept=kept.square().tolist())
