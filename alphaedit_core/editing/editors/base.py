"""Base class of the editors, and the inputs of one layer's update.

All closed-form editors share one formula (Gupta et al. 2024 unify ROME, MEMIT and EMMET; Fang et
al. 2025 add P):

    dW = [0, R] (mu I + M^T G M)^-1 M^T G,        M = [K_p, K], or K without previous keys

The *preconditioner* G is ``P`` for AlphaEdit and ``C^-1`` for the others. With the projection on,
theirs is ``C^-1`` inside the kept space. An editor defines G, mu, each layer's share of the
residual, and where the target value is searched.
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
    """Inputs of one layer's update for one batch of n facts.

    Attributes:
        keys: K, (d_in, n), float32: the bare prompt's key weighs one half, the keys of the prompts
            with a context share the other half (Meng et al. 2023, Eq. 19).
        prompt_keys: keys of the bare prompts, (d_in, n), float32.
        mean_keys: unweighted mean of the keys over a fact's prompts, (d_in, n), float32.
        residual: Z - h, target value minus current output, (d_out, n), float32.
        layers_left: number of edited layers from this one on; 1 for the last.
        weight: current W, (d_out, d_in), float32.
        max_singular_value: returns the largest singular value of W before the first edit.
        preconditioner: G.
        projector: P; the identity if the projection is off.
        previous: K_p, keys of earlier facts in G's coordinates; empty if they are off.
        hyperparameters: the editor's configuration, with this layer's threshold and lambda.
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
        """Return ``[0, R] (mu I + M^T G M)^-1 M^T G`` with this layer's keys, G and previous keys.

        Args:
            residual: R, the change of this layer's outputs, (d_out, n).
            mu: ridge, > 0.
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
    """Base class of an editor, which solves for the update of one layer.

    A subclass in a file of this folder is available in the API, the command and the workbench.

    Attributes:
        name: name in the API, the command and the workbench.
        about: one sentence that describes the method.
        source: paper and equation.
        departures: differences from the method's released code, one line each.
        projection: True if the published method projects the update.
        previous_keys: True if the published method protects previous facts; None if it has no such
            term.
        config: the editor's configuration class.
        weight: name of the field that is the editor's lambda; "" if it has none.
        preset: key of the editor's own settings in the model presets (such as a single layer); ""
            for none.
        one_layer: True if the editor writes into a single layer only.
        at_once: maximum number of facts per batch; 0 for no limit.
        place: module output that the target search adds delta to; None for an editor that trains.
        on_unpruned: True if each batch starts from the weights before pruning.
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
        """Return the published fields that differ from the model's preset."""
        return {}

    def preconditioner(self, eigenspace: LayerEigenspace, hyperparameters: C) -> Preconditioner:
        """Return G of one layer: ``C^-1``, inside the kept space if the projection is on."""
        return eigenspace.inverse(hyperparameters.threshold if hyperparameters.projection else None)

    @abstractmethod
    def update(self, inputs: LayerInputs[C]) -> WeightUpdate:
        """Return the update of one layer's weight, applied before the next layer is solved."""

    def final(self, inputs: LayerInputs[C], change: WeightUpdate) -> WeightUpdate:
        """Return the update that replaces ``change`` once all layers of the batch are solved.

        Args:
            inputs: the inputs of :meth:`update`, with the weight before the update.
            change: the result of :meth:`update`.
        """
        return change


class FineTuner(Editor[C]):
    """Base class of an editor that trains one layer's weight and constrains each step.

    Attributes:
        place: None, as there is no target search.
    """

    place: ClassVar[Place | None] = None
    previous_keys: ClassVar[bool | None] = None
    one_layer: ClassVar[bool] = True

    def preconditioner(self, eigenspace: LayerEigenspace, hyperparameters: C) -> Preconditioner:
        """Return I; training uses no preconditioner."""
        return eigenspace.identity()

    def update(self, inputs: LayerInputs[C]) -> WeightUpdate:
        """Not available, as the update comes from training.

        Raises:
            TypeError: always.
        """
        raise TypeError(f"{self.name} trains; it has no update in closed form")

    @abstractmethod
    def constrain(self, change: Tensor, projector: Projector, hyperparameters: C) -> Tensor:
        """Return the allowed part of a change (d_out, d_in) after an Adam step."""
