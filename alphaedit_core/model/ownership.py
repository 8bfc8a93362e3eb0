"""Who has the weights of a model: one session and thread at a time, however often it is wrapped.

Two wraps of one transformers model, or of two that share the matrices that are edited, would each
take what the other wrote for the original weights. So all of them have one :class:`Ownership`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torch import nn

if TYPE_CHECKING:
    from .architecture import Architecture

_ATTRIBUTE = "_alphaedit_hold"


class Ownership:
    """What all wraps of one set of weights share.

    It lives as long as the transformers model does, and so do a session that has edits in it and
    what that needs to take them back. A deep copy of the model has weights, and a hold, of its own.

    Attributes:
        owner: what currently edits the weights, or None.
        lock: held by the thread that reads or changes the weights at length.
        interrupt: asks the work that has the lock to make way; None where it cannot be asked.
        wraps: the :class:`.EditableModel` objects of these weights.
    """

    def __init__(self) -> None:
        self.owner: object | None = None
        self.lock = threading.RLock()
        self.interrupt: Callable[[], None] | None = None
        self.wraps: WeakSet[Any] = WeakSet()
        _holds.add(self)

    def __deepcopy__(self, memo: Any) -> Ownership:
        return Ownership()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # a pickled model says nothing of it, and is read without this project


#: Weakly, so that no model is kept here.
_holds: WeakSet[Ownership] = WeakSet()


def wraps_of(model: nn.Module) -> list[Any]:
    """Every living :class:`.EditableModel` that a transformers model has been wrapped in."""
    hold = getattr(model, _ATTRIBUTE, None)
    return list(hold.wraps) if isinstance(hold, Ownership) else []


def ownership_of(model: nn.Module, architecture: Architecture) -> Ownership:
    """The hold of a model's weights; a new one where neither it nor its matrices have any."""
    hold = getattr(model, _ATTRIBUTE, None)
    if not isinstance(hold, Ownership):
        hold = _of_shared_matrices(architecture) or Ownership()
        setattr(model, _ATTRIBUTE, hold)
    return hold


def _of_shared_matrices(architecture: Architecture) -> Ownership | None:
    own = _storages(architecture)
    for hold in list(_holds):
        if any(own & _storages(wrapped.architecture) for wrapped in list(hold.wraps)):
            return hold
    return None


def _storages(architecture: Architecture) -> set[int]:
    """Addresses of the memory in which the down-projections are."""
    return {
        architecture.matrix(layer).untyped_storage().data_ptr()
        for layer in range(len(architecture.blocks))
    }
