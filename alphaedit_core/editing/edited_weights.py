"""Edited weights: always the originals plus every change in order, made by one function.

Nothing is ever subtracted from a weight. The original matrices are kept; a weight is the original
in float32, then every change of the session added in order in float32, then rounded once to the
weight's dtype. That, and nothing less, makes undo exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.storage.tensor_files import tensor_digest

from .layer_write import relative
from .update_sketches import sketch
from .weight_updates import WeightUpdate, compose, in_float64


class EditedWeights:
    """The down-projections of the edited layers of one model.

    Args:
        model: the model, unedited; its weights are changed in place.
        layers: the edited blocks.
    """

    def __init__(self, model: EditableModel, layers: Sequence[int]) -> None:
        self._model = model
        _ = model.fingerprint  # is taken at the first call, so while the weights are unedited
        self._originals = {layer: model.architecture.matrix(layer).clone() for layer in layers}
        self._masters = {layer: self._wide(original) for layer, original in self._originals.items()}
        self._largest: dict[int, float] = {}

    @property
    def layers(self) -> list[int]:
        """The edited blocks."""
        return list(self._originals)

    def add(self, layer: int, change: WeightUpdate) -> None:
        """Write one more change into a layer; one that is pruned in the end, as it is for now."""
        change.add_to(self._masters[layer])
        self._put(layer, self._masters[layer])

    def replace(self, layer: int, before: Tensor, change: WeightUpdate) -> None:
        """Write a change into a layer as it was before its last one.

        Args:
            layer: the block.
            before: a copy of :meth:`master` taken before that, (d_out, d_in); it is used up.
            change: what is added to it.
        """
        change.add_to(before)
        self._masters[layer] = before
        self._put(layer, before)

    def make(self, changes: Mapping[int, Sequence[WeightUpdate]]) -> None:
        """Make all weights anew from the originals and these changes by layer."""
        for layer, original in self._originals.items():
            self._masters[layer] = compose(self._wide(original), changes.get(layer, ()))
            self._put(layer, self._masters[layer])

    def restore(self) -> None:
        """Put the originals back."""
        self.make({})

    def master(self, layer: int) -> Tensor:
        """The weight as it stands, before it is rounded to the weight's dtype: (d_out, d_in)."""
        return self._masters[layer]

    def max_singular_value(self, layer: int) -> float:
        """The largest singular value of the original matrix; computed once."""
        if layer not in self._largest:
            original = in_float64(self._originals[layer])
            self._largest[layer] = float(torch.linalg.matrix_norm(original, 2))
        return self._largest[layer]

    def original_norm(self, layer: int) -> float:
        """Frobenius norm of the original matrix."""
        return float(self._originals[layer].float().norm())

    def distance(self, layer: int) -> float:
        """Frobenius norm of all changes of a layer together."""
        return float((self._masters[layer] - self._wide(self._originals[layer])).norm())

    def moved(self, layer: int) -> float:
        """:meth:`distance` as a multiple of :meth:`original_norm`."""
        return relative(self.distance(layer), self.original_norm(layer))

    def sketch(self, layer: int) -> list[float]:
        """A few numbers of all changes of a layer together, see :mod:`.update_sketches`."""
        return sketch(self._masters[layer], self._originals[layer])

    def digest(self) -> str:
        """Digest of the edited matrices as they are in the model now, 32 hex digits."""
        total = blake2b(digest_size=16)
        for layer in self._originals:
            total.update(self.layer_digest(layer).encode())
        return total.hexdigest()

    def layer_digest(self, layer: int) -> str:
        """Digest of one matrix as it is in the model now."""
        return tensor_digest(self._model.architecture.matrix(layer))

    @property
    def changed(self) -> list[int]:
        """The layers whose matrix is not the original now."""
        matrix = self._model.architecture.matrix
        return [n for n, original in self._originals.items() if not matrix(n).equal(original)]

    @property
    def overwritten(self) -> list[int]:
        """The layers whose matrix is not the one that was written last: changed by hand."""
        matrix = self._model.architecture.matrix
        return [n for n, m in self._masters.items() if not matrix(n).equal(m.to(matrix(n).dtype))]

    @staticmethod
    def _wide(original: Tensor) -> Tensor:
        return original.to(torch.promote_types(original.dtype, torch.float32), copy=True)

    def _put(self, layer: int, master: Tensor) -> None:
        self._model.architecture.matrix(layer).copy_(master)
