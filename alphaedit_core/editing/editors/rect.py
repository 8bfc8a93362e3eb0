"""RECT: regularization by the relative change of each weight (Gu et al., EMNLP 2024, section 4).

The released code solves all layers as MEMIT does and masks the updates afterwards.
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
    """Hyperparameters of RECT over MEMIT."""

    editor: Text = "rect"
    """Editing method that solves for the weight update."""
    rect_fraction: Share = 0.4
    """Fraction of a weight's entries that the update keeps."""


@config
class RectRomeConfig(RomeConfig):
    """Hyperparameters of RECT over ROME."""

    editor: Text = "rect-rome"
    """Editing method that solves for the weight update."""
    rect_fraction: Share = 0.4
    """Fraction of a weight's entries that the update keeps."""


class Rect(Memit):
    """MEMIT's dW with only the entries of largest ``|dW / W|`` (Gu et al. 2024, Eq. 7).

    As in the released code, later layers are solved on the unmasked updates of earlier ones, so no
    layer compensates for the mask. With the projection on, P follows the mask, so nothing is
    written outside the kept space.
    """

    name = "rect"
    about = "MEMIT, keeping only the entries that change most relative to the weight."
    source = "Gu et al. 2024, Eq. 7, over MEMIT"
    config = RectConfig
    departures: ClassVar[tuple[str, ...]] = (
        "The fraction of entries kept is 0.4 as in the released code; the paper also reports 0.2.",
        "The relative change of a zero entry of W is infinite; the released code adds 1e-8 to W.",
    )

    def final(self, inputs: LayerInputs[MemitConfig], change: WeightUpdate) -> WeightUpdate:
        """Keep ``rect_fraction`` of all entries."""
        return masked(inputs, cast("LowRank", change))


class RectByLayer(Memit):
    """RECT that masks each layer before the next is solved.

    Later layers thus write part of what the mask removed from earlier ones.
    """

    name = "rect-by-layer"
    about = "RECT that masks each layer before the next is solved, so later layers compensate."
    source = "Gu et al. 2024, Eq. 7, over MEMIT, masked layer by layer"
    config = RectConfig
    departures: ClassVar[tuple[str, ...]] = (
        "The released code masks all layers at the end; that is the editor rect.",
    )

    def update(self, inputs: LayerInputs[MemitConfig]) -> WeightUpdate:  # type: ignore[override]
        """Return the base editor's update with ``rect_fraction`` of its entries."""
        return masked(inputs, super().update(inputs))


class RectRome(Rome):
    """RECT over ROME, whose single layer is masked after its update."""

    name = "rect-rome"
    about = "ROME, keeping only the entries that change most relative to the weight."
    source = "Gu et al. 2024, Eq. 7, over ROME"
    config = RectRomeConfig
    departures: ClassVar[tuple[str, ...]] = (*Rome.departures, *Rect.departures)

    def update(self, inputs: LayerInputs[RomeConfig]) -> WeightUpdate:  # type: ignore[override]
        """Return the base editor's update with ``rect_fraction`` of its entries."""
        return masked(inputs, super().update(inputs))


def masked(inputs: LayerInputs[Any], change: LowRank) -> WeightUpdate:
    """Return the entries of ``change`` with the largest ``|dW / W|``, projected if that is on."""
    import torch

    from alphaedit_core.editing.weight_updates import Dense, Sparse

    whole = (change.left @ change.right.T).contiguous()
    count = max(1, round(inputs.hyperparameters.rect_fraction * whole.numel()))
    # A changed zero entry of W ranks first (infinite); an unchanged one is 0 / 0 and ranks last.
    relative = (whole / inputs.weight).abs().nan_to_num(nan=0.0, posinf=torch.inf).view(-1)
    index = relative.topk(count).indices.sort().values
    if inputs.hyperparameters.projection:
        kept = torch.zeros_like(whole).view(-1)
        kept[index] = whole.view(-1)[index]
        return Dense(inputs.projector(kept.view_as(whole).T).T.contiguous())
    return Sparse(index.int(), whole.view(-1)[index], torch.tensor(whole.shape))
