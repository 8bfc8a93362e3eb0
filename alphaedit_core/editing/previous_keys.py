"""Keys of all facts that a session has written, so that later edits preserve them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import CurrentFacts

from .closed_form import Preconditioner, PreviousKeys


class PreviousKeysByLayer:
    """Keys K_p of earlier facts by layer, in the coordinates of the editor's preconditioner.

    If a fact is superseded by a later edit, its keys are removed, so that it is not protected
    against its own correction. The keys depend only on the batches in order. Rebuilding them after
    an undo therefore gives the same bits as never having made the edit.

    Args:
        preconditioners: G by layer.
        kept: False to store no keys, for an edit without previous keys.
        decay: factor on the weight of the stored keys whenever new keys are added.

    Attributes:
        by_layer: the stored keys by layer.
    """

    def __init__(
        self, preconditioners: Mapping[int, Preconditioner], kept: bool = True, decay: float = 1.0
    ) -> None:
        self._preconditioners, self._kept, self._decay = preconditioners, kept, decay
        self._current = CurrentFacts()
        self.by_layer = {
            layer: PreviousKeys.none(preconditioner.width, preconditioner.device)
            for layer, preconditioner in preconditioners.items()
        }

    def __len__(self) -> int:
        return len(self._current.positions) if self._kept else 0

    @property
    def facts(self) -> list[Fact]:
        """The facts whose keys are stored, in order."""
        return self._current.facts if self._kept else []

    def remove_superseded(self, facts: Sequence[Fact]) -> tuple[int, ...]:
        """Remove the keys of earlier facts that ``facts`` supersede.

        Returns:
            Positions of the superseded facts among all facts written.
        """
        superseded = self._current.replaced_by(facts)
        self.remove(superseded)
        return superseded

    def remove(self, superseded: Sequence[int]) -> None:
        """Remove the keys of earlier facts by their positions among all facts written."""
        if not superseded:
            return
        removed = set(superseded)
        kept = [n for n, at in enumerate(self._current.positions) if at not in removed]
        self._current.remove(superseded)
        if self._kept:
            self.by_layer = {layer: keys.select(kept) for layer, keys in self.by_layer.items()}

    def add(self, facts: Sequence[Fact], keys: Mapping[int, Tensor]) -> None:
        """Add the keys of n written facts.

        Args:
            facts: the facts.
            keys: their keys by layer, (d_in, n), float32.
        """
        self._current.add(facts)
        if not self._kept:
            return
        for layer, preconditioner in self._preconditioners.items():
            new = keys[layer].to(preconditioner.device)
            stored = self.by_layer[layer].scale(self._decay)
            self.by_layer[layer] = stored.append(preconditioner.sqrt_matmul(new))
