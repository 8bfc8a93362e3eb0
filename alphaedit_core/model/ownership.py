"""Who has the weights of a model: one session and thread at a time, however often it is wrapped.

Two wraps of one transformers model, or of two that share the matrices that are edited, would each
take what the other wrote for the original weights. So all of them have one :class:`Hold`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from torch import nn

if TYPE_CHECKING:
    from .architecture import Anatomy

_ATTRIBUTE = "_alphaedit_hold"


class Hold:
    """What all wraps of one set of weights share.

    It lives as long as the transformers model does, and so do a session that has edits in it and
    what that needs to take them back. A deep copy of the model has weights, and a hold, of its own.

    Attributes:
        holder: what currently edits the weights, or None.
        lock: held by the thread that reads or changes the weights at length.
        interrupt: asks the work that has the lock to make way; None where it cannot be asked.
        wraps: the :class:`.EditableModel` objects of these weights.
    """

    def __init__(self) -> None:
        self.holder: object | None = None
        self.lock = threading.RLock()
        self.interrupt: Callable[[], None] | None = None
        self.wraps: WeakSet[Any] = WeakSet()
        _holds.add(self)

    def __deepcopy__(self, memo: Any) -> Hold:
        return Hold()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # a pickled model says nothing of it, and is read without this project


#: Weakly, so that no model is kept here.
_holds: WeakSet[Hold] = WeakSet()


def wraps_of(model: nn.Module) -> list[Any]:
    """Every living :class:`.EditableModel` that a transformers model has been wrapped in."""
    hold = getattr(model, _ATTRIBUTE, None)
    return list(hold.wraps) if isinstance(hold, Hold) else []


def hold_of(model: nn.Module, anatomy: Anatomy) -> Hold:
    """The hold of a model's weights; a new one where neither it nor its matrices have any."""
    hold = getattr(model, _ATTRIBUTE, None)
    if not isinstance(hold, Hold):
        hold = _of_shared_matrices(anatomy) or Hold()
        setattr(model, _ATTRIBUTE, hold)
    return hold


def _of_shared_matrices(anatomy: Anatomy) -> Hold | None:
    own = _storages(anatomy)
    for hold in list(_holds):
        if any(own & _storages(wrapped.anatomy) for wrapped in list(hold.wraps)):
            return hold
    return None


def _storages(anatomy: Anatomy) -> set[int]:
    """Addresses of the memory in which the down-projections are."""
    return {
        anatomy.matrix(layer).untyped_storage().data_ptr() for layer in range(len(anatomy.blocks))
    }
