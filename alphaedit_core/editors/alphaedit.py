"""AlphaEdit: null-space constrained editing (Fang et al., ICLR 2025, Eq. 14)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from alphaedit_core.closed_form import EarlierKeys, LowRank, ridge_update
from alphaedit_core.hyperparameters import HyperParameters
from alphaedit_core.nullspace import Projector


class AlphaEdit:
    """``dW = R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1``."""

    name: ClassVar[str] = "alphaedit"

    def update(
        self,
        keys: Tensor,
        residual: Tensor,
        earlier: EarlierKeys,
        projector: Projector,
        hyperparameters: HyperParameters,
    ) -> LowRank:
        """See :class:`~alphaedit_core.editors.base.Editor`."""
        return ridge_update(projector(keys), residual, hyperparameters.ridge, earlier)
