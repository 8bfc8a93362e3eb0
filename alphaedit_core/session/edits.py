"""Edits as stored by a session: batches, weight updates, keys and results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig

from .results import EditResult

if TYPE_CHECKING:  # a session is listed without torch
    from torch import Tensor

    from alphaedit_core.editing.weight_updates import WeightUpdate


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredBatch:
    """One batch of an edit.

    Attributes:
        facts: facts written together.
        changes: update of each layer's weight, on the CPU.
        keys: keys of the facts at each layer, (d_in, facts), on the CPU.
        plan: tokens per forward pass.
        superseded: positions of the earlier facts that this batch replaces, see
            :mod:`~alphaedit_core.data.superseding`.
    """

    facts: list[Fact]
    changes: dict[int, WeightUpdate]
    keys: dict[int, Tensor]
    plan: int
    superseded: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Edit:
    """One edit of a session.

    Attributes:
        created: date and time, ISO 8601 in UTC.
        batches: batches of the edit, in order.
        result: result of the edit.
        digest: digest of the edited weights after the edit.
        hyperparameters: hyperparameters of the edit.
        title: title given by the user, or "".
        sketches: sketch of the sum of all updates up to this edit, by layer, see
            :mod:`.update_sketches`; empty in sessions of earlier versions.
    """

    created: str
    batches: list[StoredBatch]
    result: EditResult
    digest: str
    hyperparameters: EditConfig
    title: str = ""
    sketches: dict[int, list[float]] = field(default_factory=dict)

    @property
    def facts(self) -> list[Fact]:
        """All facts of the edit."""
        return [fact for batch in self.batches for fact in batch.facts]
