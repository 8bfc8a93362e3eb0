"""Keys of all facts a session has written, so that later edits spare them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.superseding import Standing

from .closed_form import Preconditioner, PreviousKeys


class PreviousKeysByLayer:
    """Keys of earlier facts by layer, in the coordinates of the editor's preconditioner.

    When the same thing is edited again, the keys of the earlier edit leave: the old fact must not
    be protected against its own correction. The memory is a function of the batches alone, in
    order, so making it anew after an undo gives the same bits as never having made the edit.

    Args:
        preconditioners: G by layer.
        kept: False to keep none, for an edit that does not spare earlier facts.
        decay: what the weight of the keys that are there is multiplied by when more come.
    """

    def __init__(
        self, preconditioners: Mapping[int, Preconditioner], kept: bool = True, decay: float = 1.0
    ) -> None:
        self._preconditioners, self._kept, self._decay = preconditioners, kept, decay
        self._standing = Standing()
        self.by_layer = {
            layer: PreviousKeys.none(preconditioner.width, preconditioner.device)
            for layer, preconditioner in preconditioners.items()
        }

    def __len__(self) -> int:
        return len(self._standing.positions) if self._kept else 0

    @property
    def facts(self) -> list[Fact]:
        """The facts whose keys are there, in order."""
        return self._standing.facts if self._kept else []

    def make_room(self, facts: Sequence[Fact]) -> tuple[int, ...]:
        """Let go of the keys of earlier facts that these take the place of.

        Returns:
            Positions of the earlier facts among all that were written.
        """
        superseded = self._standing.replaced_by(facts)
        self.let_go(superseded)
        return superseded

    def let_go(self, superseded: Sequence[int]) -> None:
        """Let go of the keys of earlier facts, by their positions."""
        if not superseded:
            return
        gone = set(superseded)
        kept = [n for n, at in enumerate(self._standing.positions) if at not in gone]
        self._standing.remove(superseded)
        if self._kept:
            self.by_layer = {layer: keys.select(kept) for layer, keys in self.by_layer.items()}

    def add(self, facts: Sequence[Fact], keys: Mapping[int, Tensor]) -> None:
        """Take in the keys (d_in, n) of facts that have been written."""
        self._standing.add(facts)
        if not self._kept:
            return
        for layer, preconditioner in self._preconditioners.items():
            own = keys[layer].to(preconditioner.device)
            there = self.by_layer[layer].scale(self._decay)
            self.by_layer[layer] = there.append(preconditioner.sqrt_matmul(own))
