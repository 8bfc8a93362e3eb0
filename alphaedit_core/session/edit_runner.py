"""Writing batches of facts, with projectors, preconditioners and previous keys kept between."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.batch import BatchWrite, LayerSpace, write_batch
from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.editors.base import Editor
from alphaedit_core.editing.previous_keys import PreviousKeysByLayer
from alphaedit_core.editing.target_search import Targets
from alphaedit_core.editing.weight_updates import Pruned, WeightUpdate, contiguous_copy
from alphaedit_core.errors import SessionError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.identity import Identity, precision
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.nullspace.eigenspace import LayerEigenspace
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Monitor

from .edits import StoredBatch

log = logging.getLogger(__name__)

#: Hyperparameters that the target search depends on.
_SEARCH = (
    "target_steps",
    "target_learning_rate",
    "loss_stop",
    "clamp_norm_factor",
    "weight_decay",
    "kl_factor",
)


class EditRunner:
    """Writes batches with one editor and one set of hyperparameters.

    Projectors and preconditioners are computed once per layer. Previous keys are extended with each
    batch, and rebuilt from the stored batches after :meth:`forget_keys`.

    Args:
        model: the model.
        weights: edited weights of the model, changed in place.
        editor: the editor.
        hyperparameters: hyperparameters of all batches.
        targets: cache of target values, read and extended; None for no cache.

    Attributes:
        memory: previous keys by layer; None until :meth:`prepare`.
    """

    def __init__(
        self,
        model: EditableModel,
        weights: EditedWeights,
        editor: Editor[Any],
        hyperparameters: EditConfig,
        targets: dict[str, Targets] | None,
    ) -> None:
        self._model, self._weights, self._editor = model, weights, editor
        self._hyperparameters, self._targets = hyperparameters, targets
        self._spaces: dict[int, LayerSpace] | None = None
        self.memory: PreviousKeysByLayer | None = None

    def prepare(self, spectra: Mapping[int, Spectrum], applied: Sequence[StoredBatch]) -> None:
        """Compute whatever :meth:`write` needs and is missing.

        Args:
            spectra: spectrum of every edited layer.
            applied: batches in the weights, in order.

        Raises:
            CorruptFileError: if a file of eigenvectors was damaged after the spectra were computed.
            SessionError: if a threshold keeps no direction of a layer.
        """
        hp = self._hyperparameters
        if self._spaces is None:
            self._spaces = self._make_spaces(spectra)
        if self.memory is None:
            preconditioners = {layer: space.preconditioner for layer, space in self._spaces.items()}
            memory = PreviousKeysByLayer(preconditioners, hp.previous_keys, hp.previous_keys_decay)
            for batch in applied:
                memory.remove(batch.superseded)
                memory.add(batch.facts, batch.keys)
            self.memory = memory

    def forget_keys(self) -> None:
        """Drop the previous keys, because other edits are applied now."""
        self.memory = None

    def write(
        self,
        requests: Sequence[TokenizedFact],
        contexts: Sequence[str],
        identity: Identity,
        plan: BatchPlan,
        monitor: Monitor,
    ) -> BatchWrite:
        """Write one batch into the weights; see :func:`.write_batch`.

        Args:
            requests: the tokenized facts.
            contexts: context prefixes of the tokenized facts.
            identity: identity of the unedited model.
            plan: number of tokens per forward pass.
            monitor: receives progress.
        """
        assert self._spaces is not None and self.memory is not None
        facts = [request.fact for request in requests]
        superseded = self.memory.remove_superseded(facts)
        cache = self._targets if self._targets is not None else {}
        key = self._search_key(facts, contexts, identity) if self._targets is not None else ""
        written = write_batch(
            self._model,
            self._weights,
            self._editor,
            requests,
            self.memory.by_layer,
            self._spaces,
            self._hyperparameters,
            plan,
            monitor,
            cache.get(key),
        )
        if self._targets is not None and written.targets is not None:
            self._targets[key] = written.targets
        self.memory.add(facts, written.keys)
        return dataclasses.replace(written, superseded=superseded)

    def _make_spaces(self, spectra: Mapping[int, Spectrum]) -> dict[int, LayerSpace]:
        hp = self._hyperparameters
        for layer, spectrum in spectra.items() if hp.projection else ():
            threshold = Threshold.parse(hp.at(layer).threshold)
            if spectrum.rank(threshold) == 0:
                raise SessionError(spectrum.threshold_warning(threshold))
            if spectrum.threshold_warning(threshold):
                log.warning(spectrum.threshold_warning(threshold))
        return {
            layer: _space(self._editor, spectrum, hp.at(layer), self._model.device)
            for layer, spectrum in spectra.items()
        }

    def _search_key(
        self, facts: Sequence[Fact], contexts: Sequence[str], identity: Identity
    ) -> str:
        """Key of the target cache: weights, facts, contexts and settings of the search."""
        hp = self._hyperparameters.to_dict()
        search = {name: hp[name] for name in _SEARCH} | {"last": self._hyperparameters.layers[-1]}
        weights = {n: self._weights.layer_digest(n) for n in self._weights.changed}
        return json.dumps(
            [
                dataclasses.replace(identity, precision=precision(self._model.device)).key(),
                weights, self._editor.place, search, list(contexts),
                [fact.to_dict() for fact in facts],
            ],
            sort_keys=True,
        )  # fmt: skip


def _changes(batches: Sequence[StoredBatch], pruned: bool = True) -> dict[int, list[WeightUpdate]]:
    """Return each layer's updates in order; PRUNE's before pruning if not ``pruned``."""
    changes: dict[int, list[WeightUpdate]] = {}
    for batch in batches:
        for layer, change in batch.changes.items():
            if isinstance(change, Pruned) and not pruned:
                change = change.unpruned
            changes.setdefault(layer, []).append(change)
    return changes


def _any_pruned(batches: Sequence[StoredBatch]) -> bool:
    return any(isinstance(change, Pruned) for b in batches for change in b.changes.values())


def _space(
    editor: Editor[Any], spectrum: Spectrum, hp: EditConfig, device: torch.device
) -> LayerSpace:
    eigenspace = LayerEigenspace(spectrum, device)
    preconditioner = editor.preconditioner(eigenspace, hp)
    unprojected = (
        editor.preconditioner(eigenspace, hp.replace(projection=False))
        if hp.projection
        else preconditioner
    )
    return LayerSpace(eigenspace.projector(hp.threshold), preconditioner, unprojected)


def _kept(requests: Sequence[TokenizedFact], written: BatchWrite) -> StoredBatch:
    """Return the part of a batch that a session stores, on the CPU to save device memory."""
    return StoredBatch(
        facts=[request.fact for request in requests],
        changes={
            layer: contiguous_copy(change, "cpu") for layer, change in written.changes.items()
        },
        keys={layer: keys.cpu() for layer, keys in written.keys.items()},
        plan=written.plan.tokens,
        superseded=written.superseded,
    )
