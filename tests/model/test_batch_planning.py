"""Plans for the number of tokens that go through a model at once."""

from __future__ import annotations

import psutil
import pytest
import torch
from tiny import tiny_model

from alphaedit_core.model import batch_planning as memory
from alphaedit_core.model.batch_planning import BatchPlan, free_memory, plan_batches
from alphaedit_core.model.editable_model import EditableModel


def per_token(model: EditableModel) -> int:
    """Return the estimated bytes per token: 16 x 32 + 5 x 48 numbers in 3 blocks, and logits."""
    vocabulary = model.model.config.vocab_size
    return 3 * (16 * 32 + 5 * 48) * model.dtype.itemsize + 12 * vocabulary


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("fitting", [33, 64, 100, 500, 1000])
def test_a_plan_is_the_power_of_two_that_fits_in_half_of_the_free_memory(
    dtype: torch.dtype, fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama", dtype=dtype)
    monkeypatch.setattr(memory, "free_memory", lambda _: 2 * fitting * per_token(model))
    tokens = plan_batches(model).tokens
    assert tokens & (tokens - 1) == 0
    assert tokens <= fitting < 2 * tokens


def test_a_plan_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    monkeypatch.setattr(memory, "free_memory", lambda _: 0)
    assert plan_batches(model) == BatchPlan(32)
    monkeypatch.setattr(memory, "free_memory", lambda _: 1 << 50)
    assert plan_batches(model) == BatchPlan(1024)


def test_a_small_difference_of_free_memory_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    plans = set()
    for free in (1.0, 1.1, 1.3):
        amount = int(free * 2 * 260 * per_token(model))
        monkeypatch.setattr(memory, "free_memory", lambda _, amount=amount: amount)
        plans.add(plan_batches(model))
    assert plans == {BatchPlan(256)}


def test_halving_stops_at_the_minimum() -> None:
    plan: BatchPlan | None = BatchPlan(256)
    seen = []
    while plan is not None:
        seen.append(plan.tokens)
        plan = plan.halved()
    assert seen == [256, 128, 64, 32]


def test_free_memory_is_measured() -> None:
    free = free_memory(torch.device("cpu"))
    assert 0 < free <= psutil.virtual_memory().total
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        assert 0 < free_memory(torch.device("cuda")) <= total
