"""Edited weights: the same bits in any order of operations, and exact undo."""

from __future__ import annotations

import pytest
import torch
from tiny import HIDDEN, INNER, tiny_model

from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.weight_updates import LowRank, compose
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.fingerprints import fingerprint

LAYERS = (0, 2)
CASES = [
    pytest.param(layout, dtype, id=f"{layout}-{dtype}".replace("torch.", ""))
    for layout in ("llama", "gpt2")  # Linear and Conv1D
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)
]


def changes(count: int) -> list[LowRank]:
    generator = torch.Generator().manual_seed(count)
    result = []
    for _ in range(count):
        n = int(torch.randint(1, 5, (1,), generator=generator))
        left = torch.randn(HIDDEN, n, generator=generator)
        result.append(LowRank(left, torch.randn(INNER, n, generator=generator) / 7))
    return result


def bits(model: EditableModel) -> dict[int, torch.Tensor]:
    return {layer: model.architecture.matrix(layer).clone() for layer in LAYERS}


def same(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> bool:
    return all(torch.equal(a[layer], b[layer]) for layer in LAYERS)


@pytest.mark.parametrize(("layout", "dtype"), CASES)
def test_sequential_equals_all_at_once(layout: str, dtype: torch.dtype) -> None:
    model = tiny_model(layout, dtype=dtype)
    weights = EditedWeights(model, LAYERS)
    per_layer = {layer: changes(6 + layer) for layer in LAYERS}
    for layer in LAYERS:
        for change in per_layer[layer]:
            weights.add(layer, change)
    added = bits(model)
    weights.make(per_layer)
    assert same(bits(model), added)
    fresh = tiny_model(layout, dtype=dtype)
    EditedWeights(fresh, LAYERS).make(per_layer)
    assert same(bits(fresh), added)


@pytest.mark.parametrize(("layout", "dtype"), CASES)
def test_restore_gives_original_bits(layout: str, dtype: torch.dtype) -> None:
    model = tiny_model(layout, dtype=dtype)
    before, first = bits(model), fingerprint(model.model)
    weights = EditedWeights(model, LAYERS)
    digest = weights.digest()
    for layer in LAYERS:
        for change in changes(5):
            weights.add(layer, change)
    assert not same(bits(model), before)
    assert weights.digest() != digest and fingerprint(model.model) != first
    weights.restore()
    assert same(bits(model), before)
    assert weights.digest() == digest and fingerprint(model.model) == first
    assert weights.distance(0) == 0.0


@pytest.mark.parametrize(("layout", "dtype"), CASES)
def test_weight_is_sum_rounded_once(layout: str, dtype: torch.dtype) -> None:
    """Updates far below the weights' rounding accumulate."""
    model = tiny_model(layout, dtype=dtype)
    original = model.architecture.matrix(0).clone()
    weights = EditedWeights(model, LAYERS)
    step = LowRank(torch.full((HIDDEN, 1), 1e-4), torch.full((INNER, 1), 1.0))
    for _ in range(300):
        weights.add(0, step)
    expected = original.double() + 300 * 1e-4
    rounding = {torch.float16: 2e-3, torch.bfloat16: 1e-2}.get(dtype, 5e-5)
    torch.testing.assert_close(
        model.architecture.matrix(0).double(), expected, rtol=rounding, atol=rounding / 10
    )
    assert weights.distance(0) == pytest.approx(300e-4 * (HIDDEN * INNER) ** 0.5, rel=1e-3)
    assert weights.original_norm(0) == pytest.approx(float(original.double().norm()), rel=1e-4)
    assert weights.layers == list(LAYERS)


def test_removing_first_update_keeps_second() -> None:
    a, b = changes(2)
    model, other = tiny_model("llama"), tiny_model("llama")
    weights, alone = EditedWeights(model, LAYERS), EditedWeights(other, LAYERS)
    weights.add(0, a)
    weights.add(0, b)
    weights.make({0: [b]})
    alone.add(0, b)
    assert same(bits(model), bits(other))
    weights.add(0, a)  # goes on from what was made, not from what was before
    alone.make({0: [b, a]})
    assert same(bits(model), bits(other))


def test_only_edited_layers_change() -> None:
    model = tiny_model("gpt2")
    untouched = {n: p.clone() for n, p in model.model.named_parameters()}
    weights = EditedWeights(model, LAYERS)
    weights.add(2, changes(1)[0])
    changed = [n for n, p in model.model.named_parameters() if not torch.equal(p, untouched[n])]
    assert changed == [model.architecture.weight_name(2)]


def test_fingerprint_is_of_unedited_model() -> None:
    model = tiny_model("llama")
    model.owner = object()  # as a session does that edits
    EditedWeights(model, LAYERS).add(0, changes(1)[0])
    assert model.fingerprint == fingerprint(tiny_model("llama").model)


def test_compose_adds_in_place_and_in_order() -> None:
    master = torch.zeros(HIDDEN, INNER)
    three = changes(3)
    assert compose(master, three) is master
    expected = sum(change.left.double() @ change.right.double().T for change in three)
    torch.testing.assert_close(master.double(), expected, rtol=1e-5, atol=1e-5)
