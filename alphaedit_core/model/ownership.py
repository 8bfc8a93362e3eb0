"""Ownership of a model's weights: one session and one thread at a time.

Two wraps of one transformers model, or of models that share edited matrices, would each mistake the
other's edits for original weights. All of them therefore share one :class:`Ownership`.
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
    """State that all wraps of one set of weights share.

    It lives as long as the transformers model, and keeps alive a session with edits and the data to
    undo them. A deep copy of the model has its own weights and its own ownership.

    Attributes:
        owner: the session that currently edits the weights, or None.
        lock: held by the thread that reads or changes the weights in a longer operation.
        interrupt: asks the work that holds the lock to stop; None if it cannot be interrupted.
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
        return object, ()  # a pickled model omits it and loads without this library


#: Weak references, so that no model is kept alive.
_holds: WeakSet[Ownership] = WeakSet()


def wraps_of(model: nn.Module) -> list[Any]:
    """Return every living :class:`.EditableModel` of a transformers model."""
    hold = getattr(model, _ATTRIBUTE, None)
    return list(hold.wraps) if isinstance(hold, Ownership) else []


def ownership_of(model: nn.Module, architecture: Architecture) -> Ownership:
    """Return the ownership of a model's weights; create it if they have none."""
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
    """Return the memory addresses of the down-projections."""
    return {
        architecture.matrix(layer).untyped_storage().data_ptr()
        for layer in range(len(architecture.blocks))
    }
