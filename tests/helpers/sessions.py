"""Sessions of tiny models, three edits of them, and all that a state of one consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.session.session import EditSession

A, B, C = FACTS[:1], FACTS[1:3], FACTS[3:]
#: The same subject and prompt as A says, and another target.
CORRECTED = Fact("Eiffel  Tower", "{} is in the  city of", "Berlin")

#: Conv1D and Linear, wide weights and narrow ones.
MODELS = [("gpt2", torch.float32), ("llama", torch.bfloat16), ("gemma3", torch.float32)]
#: Each of them.
both = pytest.mark.parametrize(("layout", "dtype"), MODELS)


def new_session(
    place: Path, layout: str = "llama", dtype: torch.dtype = torch.float32, **changes: Any
) -> EditSession:
    """A session without edits of a tiny model."""
    return EditSession(
        tiny_model(layout, dtype=dtype),
        hyperparameters=small(place, **changes),
        contexts=CONTEXTS[:1],
    )


def weights(model: EditableModel) -> list[torch.Tensor]:
    """Copies of all weights."""
    return [parameter.detach().clone() for parameter in model.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Whether two lists of weights are the same, to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def keys_of(session: EditSession) -> list[tuple[str, torch.Tensor]]:
    """Everything that later edits know of earlier ones."""
    session._prepare(quiet())
    memory = session._runner.memory
    assert memory is not None
    names = [fact.id for fact in memory.facts]
    state = [("facts", torch.tensor([int(name, 16) for name in names]))]
    for layer, keys in memory.by_layer.items():
        state += [(f"{layer} columns", keys.columns), (f"{layer} gram", keys.gram)]
    return state


def same_keys(one: EditSession, other: EditSession) -> bool:
    """Whether later edits of both know the same of earlier ones, to the bit."""
    pairs = zip(keys_of(one), keys_of(other), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


#: What an edit does, one after the other.
STAGES = ("before", "target values", "keys and update", "after")
