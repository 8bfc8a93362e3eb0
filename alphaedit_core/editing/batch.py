"""One batch of facts written into a model: targets, then layer by layer keys and update.

Fang et al. 2025, section 3.3, over the layer loop of MEMIT (Meng et al. 2023, algorithm 1). Editors
that train a weight take the place of both.
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
    """What the statistics of one layer give an edit.

    Attributes:
        projector: P at the threshold, whether the edit uses it or not.
        preconditioner: ``G``.
        free: G with the projection off.
    """

    projector: Projector
    preconditioner: Preconditioner
    free: Preconditioner


@dataclass(frozen=True, eq=False)
class BatchWrite:
    """What one batch did to a model.

    Attributes:
        changes: the change of each layer's weight.
        keys: the facts' keys at each layer, (d_in, n), float32. Blocks before a layer are complete
            when its keys are read, so these are also the keys on the edited model, as the next
            batch needs them.
        writes: figures per layer.
        traces: the search for each fact's target value, or its training.
        residual_left: ``|z - h| / |z - h0|`` of each fact after the last layer; none where nothing
            was searched for, or z = h0: the model said the fact already.
        plan: how many tokens went through the blocks together.
        targets: the target values that were written; None where nothing was searched for.
        superseded: positions of the earlier facts that it took the place of, see
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

    If this raises, some layers may be changed: the caller makes the weights anew.

    Args:
        model: the model, as earlier batches left it.
        weights: its edited weights.
        editor: what to solve.
        requests: n facts as tokens.
        previous: keys of earlier facts in the preconditioners' coordinates, by layer.
        spaces: projector and preconditioners by layer.
        hyperparameters: layers, search and ridge.
        plan: how many tokens go through the blocks together.
        monitor: what to report to.
        targets: of these requests, where they are known; None to search for them.
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
        provisional: dict[int, Tensor] = {}  # weights before updates of which only a part stays
        all_keys: dict[int, Tensor] = {}
        writes: list[LayerWrite] = []
        stage.detail = writes
        for index, layer in enumerate(layers):
            read, space, own = states.read(layer), spaces[layer], hyperparameters.at(layer)
            lacking = (targets.z - (read.mlp if in_mlp else read.state)).T
            reach = _reach(model, layer, in_mlp, monitor)
            everything = Projector.identity(space.projector.size, space.projector.device)
            inputs = LayerInputs(
                keys=read.keys,
                prompt_keys=read.prompt_keys,
                mean_keys=read.mean,
                residual=lacking if reach == 1 else lacking / reach,
                layers_left=len(layers) - index,
                weight=weights.master(layer),
                max_singular_value=partial(weights.max_singular_value, layer),
                preconditioner=space.preconditioner,
                projector=space.projector if hyperparameters.projection else everything,
                previous=previous[layer],
                hyperparameters=own,
            )
            # As it will lie in memory when it comes from a file: the bits of sums can depend on it.
            update = _finite(contiguous_copy(editor.update(inputs)), editor, layer)
            final = editor.final(inputs, update)
            if final is not update:
                final = _finite(contiguous_copy(final), editor, layer)
                provisional[layer] = weights.master(layer).clone()
            free = final
            if hyperparameters.projection or len(inputs.previous):
                alone = replace(
                    inputs,
                    preconditioner=space.free,
                    projector=everything,
                    previous=PreviousKeys.none(space.free.width, space.free.device),
                    hyperparameters=own.replace(projection=False),
                )
                free = editor.final(alone, editor.update(alone))
            writes.append(
                _figures(layer, final, free, space, weights, read.keys, lacking.norm(dim=0))
            )
            weights.add(layer, update)
            changes[layer], all_keys[layer] = final, read.keys
            monitor.advance()
        if provisional:  # the layers were solved on weights that do not stay
            for layer, before in provisional.items():
                weights.replace(layer, before, changes[layer])
            states = SubjectStates(model, requests, layers, targets.plan, monitor)
            for index, layer in enumerate(layers):
                all_keys[layer] = states.read(layer).keys
                writes[index] = _with_keys(writes[index], spaces[layer], all_keys[layer])
        end = states.end()
        left = (targets.z - (end.mlp if in_mlp else end.state)).norm(dim=1)
        wanted = (targets.z - targets.h0).norm(dim=1)
    return BatchWrite(
        changes,
        all_keys,
        writes,
        targets.traces,
        shares_left(left, wanted, targets.h0.norm(dim=1)),
        targets.plan,
        targets,
    )


def shares_left(left: Tensor, wanted: Tensor, scale: Tensor) -> list[float | None]:
    """``|z - h| / |z - h0|`` of each fact; none where nothing was wanted.

    A fact that the model says already has a search that ends at its first evaluation, with z = h0:
    there is no change of which a share could be left, and what the other facts' writes moved the
    state by is not a share of anything.

    Args:
        left: ``|z - h|``, (n,).
        wanted: ``|z - h0|``, (n,).
        scale: ``|h0|``, (n,); a change within its rounding is none.
    """
    least = scale * torch.finfo(left.dtype).eps
    return [
        float(own / asked) if bool(asked > none) else None
        for own, asked, none in zip(left, wanted, least, strict=True)
    ]


def _reach(model: EditableModel, layer: int, in_mlp: bool, monitor: Monitor) -> float:
    """By what the change that a layer writes is multiplied on its way into what is lacking.

    1 where what is lacking is of the MLP's own output.
    """
    if in_mlp or not model.architecture.reach:
        return 1.0
    found = model.architecture.reach[layer]
    if found is None:
        words = (
            "what the down-projections of this model write passes a norm, or the like, before it "
            "joins the stream: no layer can write its share exactly; see what is left unwritten"
        )
        if words not in monitor.warnings:
            monitor.warn(words)
    return 1.0 if found is None else found


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
    """The same by an editor that trains the layers, one after another."""
    changes: dict[int, WeightUpdate] = {}
    all_keys: dict[int, Tensor] = {}
    writes: list[LayerWrite] = []
    traces: list[Trace] = []
    for layer in hp.layers:
        space, own = spaces[layer], hp.at(layer)
        keys = SubjectStates(model, requests, [layer], plan, monitor).read(layer).keys
        matrix, traces, plan = fine_tune(
            model,
            requests,
            layer,
            lambda change, space=space, own=own: editor.constrain(change, space.projector, own),  # type: ignore[misc]
            cast(FtConfig, own),
            plan,
            monitor,
        )
        change = _finite(contiguous_copy(Dense(matrix)), editor, layer)
        nothing = keys.new_zeros(0)
        writes.append(_figures(layer, change, change, space, weights, keys, nothing))
        weights.add(layer, change)
        changes[layer], all_keys[layer] = change, keys
    unknown: list[float | None] = [None] * len(requests)
    return BatchWrite(changes, all_keys, writes, traces, unknown, plan)


def _finite(change: WeightUpdate, editor: Editor[Any], layer: int) -> WeightUpdate:
    """The change, if all of it are numbers.

    Raises:
        DivergedError: if not; the model is then not written to.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in tensors_of(change).values()):
        remedy = (
            "lower ft_learning_rate"
            if isinstance(editor, FineTuner)
            else "raise the weight on C or ridge"
        )
        raise DivergedError(
            f"layer {layer}: the change that {editor.name} made is not finite; {remedy}, or load "
            "the model in float32"
        )
    return change


def _figures(
    layer: int,
    change: WeightUpdate,
    free: WeightUpdate,
    space: LayerSpace,
    weights: EditedWeights,
    keys: Tensor,
    lacking: Tensor,
) -> LayerWrite:
    write = LayerWrite(
        layer,
        change.norm,
        free.norm,
        projected(free, space.projector).norm,
        weights.original_norm(layer),
        [],
        [],
        lacking.tolist(),
    )
    return _with_keys(write, space, keys)


def _with_keys(write: LayerWrite, space: LayerSpace, keys: Tensor) -> LayerWrite:
    """Figures with what is said of the keys (d_in, n)."""
    # A key may be all zeros behind a rectified activation; nothing of it is kept.
    norms = keys.norm(dim=0).clamp_min(torch.finfo(keys.dtype).tiny)
    kept = space.projector(keys).norm(dim=0) / norms
    return replace(write, key_norm=keys.norm(dim=0).tolist(), kept=kept.square().tolist())
