"""Edited weights: the originals plus every update in order.

Nothing is ever subtracted from a weight, which makes undo exact. A weight is the original matrix in
float32, plus every update of the session in order in float32, rounded once to the weight's dtype.
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
        model: the unedited model; its weights are changed in place.
        layers: indices of the edited blocks.
    """

    def __init__(self, model: EditableModel, layers: Sequence[int]) -> None:
        self._model = model
        _ = model.fingerprint  # cached at first access, so compute it from the unedited weights
        self._originals = {layer: model.architecture.matrix(layer).clone() for layer in layers}
        self._masters = {layer: self._wide(original) for layer, original in self._originals.items()}
        self._largest: dict[int, float] = {}

    @property
    def layers(self) -> list[int]:
        """The indices of the edited blocks."""
        return list(self._originals)

    def add(self, layer: int, change: WeightUpdate) -> None:
        """Add an update to a layer's weight, without pruning."""
        change.add_to(self._masters[layer])
        self._put(layer, self._masters[layer])

    def replace(self, layer: int, before: Tensor, change: WeightUpdate) -> None:
        """Replace the last update of a layer.

        Args:
            layer: index of the block.
            before: :meth:`master` copied before that update, (d_out, d_in); modified in place.
            change: the update to add to it.
        """
        change.add_to(before)
        self._masters[layer] = before
        self._put(layer, before)

    def make(self, changes: Mapping[int, Sequence[WeightUpdate]]) -> None:
        """Set all weights to the originals plus the given updates by layer."""
        for layer, original in self._originals.items():
            self._masters[layer] = compose(self._wide(original), changes.get(layer, ()))
            self._put(layer, self._masters[layer])

    def restore(self) -> None:
        """Restore the original weights."""
        self.make({})

    def master(self, layer: int) -> Tensor:
        """Return the current weight before rounding, (d_out, d_in), float32 or better."""
        return self._masters[layer]

    def max_singular_value(self, layer: int) -> float:
        """Return the largest singular value of the original matrix; computed once."""
        if layer not in self._largest:
            original = in_float64(self._originals[layer])
            self._largest[layer] = float(torch.linalg.matrix_norm(original, 2))
        return self._largest[layer]

    def original_norm(self, layer: int) -> float:
        """Return the Frobenius norm of the original matrix."""
        return float(self._originals[layer].float().norm())

    def distance(self, layer: int) -> float:
        """Return the Frobenius norm of a layer's total change."""
        return float((self._masters[layer] - self._wide(self._originals[layer])).norm())

    def relative_change(self, layer: int) -> float:
        """Return :meth:`distance` divided by :meth:`original_norm`."""
        return relative(self.distance(layer), self.original_norm(layer))

    def sketch(self, layer: int) -> list[float]:
        """Return the sketch of a layer's total change, see :mod:`.update_sketches`."""
        return sketch(self._masters[layer], self._originals[layer])

    def digest(self) -> str:
        """Return the digest of all edited matrices in the model, 32 hex digits."""
        digest = blake2b(digest_size=16)
        for layer in self._originals:
            digest.update(self.layer_digest(layer).encode())
        return digest.hexdigest()

    def layer_digest(self, layer: int) -> str:
        """Return the digest of one edited matrix in the model."""
        return tensor_digest(self._model.architecture.matrix(layer))

    @property
    def changed(self) -> list[int]:
        """The layers whose matrix differs from the original."""
        matrix = self._model.architecture.matrix
        return [n for n, original in self._originals.items() if not matrix(n).equal(original)]

    @property
    def overwritten(self) -> list[int]:
        """The layers whose matrix differs from the last one written, so was changed elsewhere."""
        matrix = self._model.architecture.matrix
        return [n for n, m in self._masters.items() if not matrix(n).equal(m.to(matrix(n).dtype))]

    @staticmethod
    def _wide(original: Tensor) -> Tensor:
        return original.to(torch.promote_types(original.dtype, torch.float32), copy=True)

    def _put(self, layer: int, master: Tensor) -> None:
        self._model.architecture.matrix(layer).copy_(master)
