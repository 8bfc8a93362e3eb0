"""What every editor is: a name and an update."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from alphaedit_core.closed_form import EarlierKeys, LowRank
from alphaedit_core.hyperparameters import HyperParameters
from alphaedit_core.nullspace import Projector


class Editor(Protocol):
    """Solves for the change of one layer."""

    name: ClassVar[str]

    def update(
        self,
        keys: Tensor,
        residual: Tensor,
        earlier: EarlierKeys,
        projector: Projector,
        hyperparameters: HyperParameters,
    ) -> LowRank:
        """The change of one layer's weight.

        Args:
            keys: K, (d_in, n), float32.
            residual: R, this layer's share of what the outputs lack, (d_out, n), float32.
            earlier: projected keys of the facts written before.
            projector: P.
            hyperparameters: ridge and whatever else the editor reads.
        """
        ...
