"""What a session keeps of an edit: its batches, what each wrote, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.config import EditConfig

from .results import EditResult

if TYPE_CHECKING:  # a session is listed without torch
    from torch import Tensor

    from alphaedit_core.editing.weight_updates import WeightUpdate


@dataclass(frozen=True, eq=False)
class StoredBatch:
    """What one batch of an edit left behind.

    Attributes:
        facts: the facts written together.
        changes: the change of each layer's weight, on the CPU.
        keys: the facts' keys at each layer, (d_in, n), on the CPU.
        plan: tokens that went through the blocks together.
        superseded: positions of the earlier facts that these took the place of, see
            :mod:`~alphaedit_core.data.superseding`.
    """

    facts: list[Fact]
    changes: dict[int, WeightUpdate]
    keys: dict[int, Tensor]
    plan: int
    superseded: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Edit:
    """One edit of a session.

    Attributes:
        created: date and time, ISO 8601 in UTC.
        batches: its batches, in order.
        result: what it did.
        digest: of the edited weights after it.
        hyperparameters: what it was made with.
        title: a name that a person gave it, or "".
        sketches: of what all edits up to this one add to each weight, by layer, see
            :mod:`.update_sketches`; none in a session of an earlier version.
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
