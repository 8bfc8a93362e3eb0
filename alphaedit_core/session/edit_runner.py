"""One call of edit: facts written batch after batch, and what is made once for many of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from alphaedit_core.editing.batch import BatchWrite, Space
from alphaedit_core.editing.editors import Editor
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.editing.weight_updates import Change, Pruned, laid_out
from alphaedit_core.model.tokenization import Request
from alphaedit_core.nullspace.eigenspace import Bases
from alphaedit_core.nullspace.spectrum import Spectrum

from .files import Batch


def _changes(batches: Sequence[Batch], pruned: bool = True) -> dict[int, list[Change]]:
    """The changes of each layer in order; with ``pruned`` false those of PRUNE as updates."""
    found: dict[int, list[Change]] = {}
    for batch in batches:
        for layer, change in batch.changes.items():
            as_is = isinstance(change, Pruned) and not pruned
            found.setdefault(layer, []).append(change.unpruned if as_is else change)  # type: ignore[union-attr]
    return found


def _any_pruned(batches: Sequence[Batch]) -> bool:
    return any(isinstance(change, Pruned) for b in batches for change in b.changes.values())


def _space(editor: Editor, spectrum: Spectrum, hp: HyperParameters, device: torch.device) -> Space:
    bases = Bases(spectrum, device)
    metric = editor.metric(bases, hp)
    free = editor.metric(bases, hp.replace(projection=False)) if hp.projection else metric
    return Space(bases.projector(hp.threshold), metric, free)


def _kept(requests: Sequence[Request], written: BatchWrite) -> Batch:
    """What a session keeps of a batch; on the CPU, where there is room for it."""
    return Batch(
        [request.fact for request in requests],
        {layer: laid_out(change, "cpu") for layer, change in written.changes.items()},
        {layer: keys.cpu() for layer, keys in written.keys.items()},
        written.plan.tokens,
        written.superseded,
    )
