"""What every editor is: a name, what its method is as published, and an update.

The closed forms of the family are one form (method and notation: Gupta et al. 2024 for the unity of
ROME, MEMIT and EMMET; Fang et al. 2025 for P):

    dW = [0, R] (mu I + M^T G M)^-1 M^T G,        M = [K_p, K] or K alone

with a *preconditioner* G: ``P`` for AlphaEdit, ``C^-1`` for the others, and with the projection
switched on ``C^-1`` inside the kept space. So an editor says which G, which mu, how the residual is
shared among the layers, and for which value it searches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from alphaedit_core.editing.config import EditConfig

if TYPE_CHECKING:  # the editors are listed without torch
    from torch import Tensor

    from alphaedit_core.editing.closed_form import Preconditioner, PreviousKeys
    from alphaedit_core.editing.target_rows import Place
    from alphaedit_core.editing.weight_updates import LowRank, WeightUpdate
    from alphaedit_core.nullspace.eigenspace import LayerEigenspace
    from alphaedit_core.nullspace.projectors import Projector

C = TypeVar("C", bound=EditConfig)


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerInputs(Generic[C]):
    """One layer of one batch, as an editor is given it.

    Attributes:
        keys: K, (d_in, n), float32: the bare prompt's key weighs one half, those behind contexts
            share the other half (Meng et al. 2023, Eq. 19).
        prompt_keys: keys of the bare prompts alone, (d_in, n).
        mean_keys: mean over all prompts of a fact, each weighing alike, (d_in, n).
        residual: what the output still lacks, Z - h, (d_out, n).
        layers_left: edited layers from this one on; 1 for the last.
        weight: W as it stands, (d_out, d_in), float32.
        max_singular_value: gives the largest singular value of W as it was before the first edit.
        preconditioner: ``G``.
        projector: P; the identity where the projection is off.
        previous: keys of the facts written before, in G's coordinates; none where they are off.
        hyperparameters: ridge and whatever else the editor reads.
    """

    keys: Tensor
    prompt_keys: Tensor
    mean_keys: Tensor
    residual: Tensor
    layers_left: int
    weight: Tensor
    max_singular_value: Callable[[], float]
    preconditioner: Preconditioner
    projector: Projector
    previous: PreviousKeys
    hyperparameters: C

    def closed_form(self, residual: Tensor, *, mu: float) -> LowRank:
        """``[0, R] (mu I + M^T G M)^-1 M^T G`` of this layer's keys, G and previous keys.

        Args:
            residual: R, what this layer moves its outputs by, (d_out, n).
            mu: above 0.
        """
        from alphaedit_core.editing.closed_form import closed_form

        return closed_form(
            keys=self.keys,
            residual=residual,
            preconditioner=self.preconditioner,
            mu=mu,
            previous=self.previous,
        )


class Editor(ABC, Generic[C]):
    """Solves for the change of one layer. One file, one class, and it appears everywhere.

    Attributes:
        name: what it is called in the API, the command and the workbench.
        about: one sentence on what it does.
        source: the paper and its equation.
        departures: where this differs from the code that was released for the method, one line
            each; what stands in none of them is as released.
        projection: whether the published method projects.
        previous_keys: whether the published method spares the facts written before; None where
            that means nothing.
        config: its configuration: what all editors share and its own numbers.
        weight: the field that is its lambda; "" where it has none.
        preset: under which name the models' presets have settings of its own (such as a single
            layer); "" for none.
        one_layer: whether it can write into a single layer only.
        at_once: facts that are written together at most; 0 for as many as asked for.
        place: what the target value is added to in the search; None for an editor that trains.
        on_unpruned: whether an edit begins on the weights as they were before pruning.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    config: ClassVar[type[EditConfig]] = EditConfig
    departures: ClassVar[tuple[str, ...]] = ()
    projection: ClassVar[bool] = False
    previous_keys: ClassVar[bool | None] = False
    weight: ClassVar[str] = ""
    preset: ClassVar[str] = ""
    one_layer: ClassVar[bool] = False
    at_once: ClassVar[int] = 0
    place: ClassVar[Place | None] = "block"
    on_unpruned: ClassVar[bool] = False

    @classmethod
    def settings(cls, preset: Mapping[str, Any]) -> Mapping[str, Any]:
        """Published fields that differ from those of the model's preset."""
        return {}

    def preconditioner(self, eigenspace: LayerEigenspace, hyperparameters: C) -> Preconditioner:
        """G of one layer: the inverse of C, inside the kept space where the projection is on."""
        return eigenspace.inverse(hyperparameters.threshold if hyperparameters.projection else None)

    @abstractmethod
    def update(self, inputs: LayerInputs[C]) -> WeightUpdate:
        """The change of one layer's weight, which the next layer is solved with."""

    def final(self, inputs: LayerInputs[C], change: WeightUpdate) -> WeightUpdate:
        """What stays of a layer's change when all layers of the batch are solved.

        Args:
            inputs: what :meth:`update` was given, the weight as it was then.
            change: what it gave.
        """
        return change


class FineTuner(Editor[C]):
    """An editor that trains one layer's weight; it constrains each step instead of solving.

    Attributes:
        place: None, nothing is searched for.
    """

    place: ClassVar[Place | None] = None
    previous_keys: ClassVar[bool | None] = None
    one_layer: ClassVar[bool] = True

    def preconditioner(self, eigenspace: LayerEigenspace, hyperparameters: C) -> Preconditioner:
        """None is used: I."""
        return eigenspace.identity()

    def update(self, inputs: LayerInputs[C]) -> WeightUpdate:
        """Not asked: the change comes out of the training."""
        raise TypeError(f"{self.name} trains; it has no update in closed form")

    @abstractmethod
    def constrain(self, change: Tensor, projector: Projector, hyperparameters: C) -> Tensor:
        """The change (d_out, d_in) after a step of Adam, as far as it is allowed."""
