"""RECT: regularization by the relative change of each weight (Gu et al., EMNLP 2024, section 4).

In the released code all layers are solved as MEMIT solves them, and only then are the changes
masked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from alphaedit_core.editing.config_fields import Share, Text, config

from .base import LayerInputs
from .memit import Memit, MemitConfig
from .rome import Rome, RomeConfig

if TYPE_CHECKING:  # the editors are listed without torch
    from alphaedit_core.editing.weight_updates import LowRank, WeightUpdate


@config
class RectConfig(MemitConfig):
    """RECT's own numbers, over MEMIT."""

    editor: Text = "rect"
    """What solves for the change of a weight."""
    rect_fraction: Share = 0.4
    """Fraction of a matrix's entries that change."""


@config
class RectRomeConfig(RomeConfig):
    """RECT's own numbers, over ROME."""

    editor: Text = "rect-rome"
    """What solves for the change of a weight."""
    rect_fraction: Share = 0.4
    """Fraction of a matrix's entries that change."""


class Rect(Memit):
    """MEMIT's dW, of which the entries with the largest ``|dW / W|`` are kept and the rest is zero.

    Later layers are solved on the whole changes of the earlier ones, as released: what the mask
    takes away is made up for by no layer. Projected, the mask comes first and P after it: so
    nothing is written outside the kept space.
    """

    name = "rect"
    about = "MEMIT, of which only the entries that change most, relative to the weight, are kept."
    source = "Gu et al. 2024, Eq. 7, over MEMIT"
    config = RectConfig
    departures: ClassVar[tuple[str, ...]] = (
        "The share of entries kept is 0.4 as in the released code; the paper also reports 0.2.",
        "An entry of W that is 0 counts as changed infinitely; the released code adds 1e-8 to W.",
    )

    def final(self, inputs: LayerInputs[MemitConfig], change: WeightUpdate) -> WeightUpdate:
        """``rect_fraction`` of all entries stay."""
        return masked(inputs, cast("LowRank", change))


class RectByLayer(Memit):
    """RECT with each layer's mask applied before the next layer is solved.

    So later layers write part of what the mask took away from earlier ones.
    """

    name = "rect-by-layer"
    about = "RECT that masks each layer before the next is solved, so that later layers make up."
    source = "Gu et al. 2024, Eq. 7, over MEMIT, masked layer by layer"
    config = RectConfig
    departures: ClassVar[tuple[str, ...]] = (
        "The released code masks all layers at the end; that is the editor rect.",
    )

    def update(self, inputs: LayerInputs[MemitConfig]) -> WeightUpdate:  # type: ignore[override]
        """``rect_fraction`` of all entries stay."""
        return masked(inputs, super().update(inputs))


class RectRome(Rome):
    """The same over ROME, which has one layer, so that there is one order only."""

    name = "rect-rome"
    about = "ROME, of which only the entries that change most, relative to the weight, are kept."
    source = "Gu et al. 2024, Eq. 7, over ROME"
    config = RectRomeConfig
    departures: ClassVar[tuple[str, ...]] = (*Rome.departures, *Rect.departures)

    def update(self, inputs: LayerInputs[RomeConfig]) -> WeightUpdate:  # type: ignore[override]
        """``rect_fraction`` of all entries stay."""
        return masked(inputs, super().update(inputs))


def masked(inputs: LayerInputs[Any], change: LowRank) -> WeightUpdate:
    """The entries of a change with the largest ``|dW / W|``, then projected if that is on."""
    import torch

    from alphaedit_core.editing.weight_updates import Dense, Sparse

    whole = (change.left @ change.right.T).contiguous()
    count = max(1, round(inputs.hyperparameters.rect_fraction * whole.numel()))
    # A weight of 0 that changes at all changes infinitely; one that does not is 0 / 0, and last.
    relative = (whole / inputs.weight).abs().nan_to_num(nan=0.0, posinf=torch.inf).view(-1)
    index = relative.topk(count).indices.sort().values
    if inputs.hyperparameters.projection:
        kept = torch.zeros_like(whole).view(-1)
        kept[index] = whole.view(-1)[index]
        return Dense(inputs.projector(kept.view_as(whole).T).T.contiguous())
    return Sparse(index.int(), whole.view(-1)[index], torch.tensor(whole.shape))
