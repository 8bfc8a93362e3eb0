"""RECT: regularisation by the relative change of each weight (Gu et al., EMNLP 2024, section 4)."""

from __future__ import annotations

import torch

from alphaedit_core.changes import Change, Dense, LowRank, Sparse

from .base import Work
from .memit import Memit
from .rome import Rome


class Rect(Memit):
    """MEMIT's dW, of which the entries with the largest ``|dW / W|`` are kept and the rest is zero.

    Projected, the mask comes first and P after it: so nothing is written outside the kept space.
    """

    name = "rect"
    about = "MEMIT, of which only the entries that change most, relative to the weight, are kept."
    source = "Gu et al. 2024, Eq. 7, over MEMIT"

    def update(self, work: Work) -> Change:  # type: ignore[override]
        """``kept_share`` of all entries stay."""
        return masked(work, super().update(work))


class RectRome(Rome):
    """The same over ROME."""

    name = "rect-rome"
    about = "ROME, of which only the entries that change most, relative to the weight, are kept."
    source = "Gu et al. 2024, Eq. 7, over ROME"

    def update(self, work: Work) -> Change:  # type: ignore[override]
        """``kept_share`` of all entries stay."""
        return masked(work, super().update(work))


def masked(work: Work, change: LowRank) -> Change:
    """The entries of a change with the largest ``|dW / W|``, then projected if that is on."""
    whole = (change.left @ change.right.T).contiguous()
    count = max(1, round(work.hyperparameters.kept_share * whole.numel()))
    # A weight of 0 that changes at all changes infinitely; one that does not is 0 / 0, and last.
    relative = (whole / work.weight).abs().nan_to_num(nan=0.0, posinf=torch.inf).view(-1)
    index = relative.topk(count).indices.sort().values
    if work.hyperparameters.projection:
        kept = torch.zeros_like(whole).view(-1)
        kept[index] = whole.view(-1)[index]
        return Dense(work.projector(kept.view_as(whole).T).T.contiguous())
    return Sparse(index.int(), whole.view(-1)[index], torch.tensor(whole.shape))
