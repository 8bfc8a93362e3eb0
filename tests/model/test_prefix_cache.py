"""Cached prefixes, compared with a separate pass for each, and the choice of shared beginnings."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from examples import NARROW_ATTENTION
from hypothesis import given
from hypothesis import strategies as st
from tiny import LAYOUTS, tiny_model
from torch import Tensor
from transformers.cache_utils import DynamicCache

from alphaedit_core.model import prefix_cache as prefixes_module
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import run_model
from alphaedit_core.model.prefix_cache import PrefixCache, shared_beginnings

#: An empty prefix, one that equals a shared beginning, and prefixes beyond a sliding window of 8.
ROWS = [
    [],
    [7, 8, 9, 10, 11],
    [7, 8, 9, 10, 11, 20, 21, 22],
    [7, 8, 9, 10, 11, *range(30, 48)],
    [5],
    [7, 8, 50],
    [60, 61, 62, 63, 64, 65],
    [60, 61, 62, 63, 64, 66, 67, 68, 69, 70, 71],
]


def plain(model: EditableModel, row: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    cache = DynamicCache()
    with torch.no_grad():
        run_model(model, torch.tensor([row]), cache=cache)
    return [(layer.keys[0], layer.values[0]) for layer in cache.layers]  # type: ignore[union-attr]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_and_values_are_those_of_each_row_alone(layout: str) -> None:
    model = tiny_model(layout, dtype=torch.float64)
    prefixes = PrefixCache(model, ROWS)
    limit = 1e-4 if layout in {"gptj", "gemma2"} | NARROW_ATTENTION else 1e-10
    for rows in ([0, 1, 2, 3, 4, 5, 6, 7], [3], [5, 1], [7, 6, 2], [4, 0]):
        cache = prefixes.cache(rows)
        longest = max(len(ROWS[row]) for row in rows)
        for place, row in enumerate(rows):
            if not ROWS[row]:
                continue
            for layer, (keys, values) in zip(cache.layers, plain(model, ROWS[row]), strict=True):
                assert layer.keys.shape[2] == longest  # type: ignore[union-attr]
                first = longest - len(ROWS[row])
                for own, expected in ((layer.keys, keys), (layer.values, values)):  # type: ignore[union-attr]
                    assert float((own[place, :, first:] - expected).abs().max()) < limit


def test_rows_without_any_prefix() -> None:
    cache = PrefixCache(tiny_model(), [[], []]).cache([0, 1])
    key = torch.ones(2, 1, 3, 4)
    for layer in range(tiny_model().layers):
        keys, values = cache.update(key, 2 * key, layer)
        assert torch.equal(keys, key) and torch.equal(values, 2 * key)


def test_later_tokens_attend_to_a_prefix_without_extending_it() -> None:
    cache = PrefixCache(tiny_model(), ROWS).cache([2, 6])
    before = cache.layers[1].keys.clone()  # type: ignore[union-attr]
    new = torch.ones(2, before.shape[1], 3, before.shape[3])
    for _ in range(2):
        keys, _ = cache.update(new, new, 1)
        assert torch.equal(keys, torch.cat([before, new], dim=2))


def test_a_shared_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = 0

    def counted(model: EditableModel, ids: Tensor, **kwargs: object) -> None:
        nonlocal tokens
        tokens += ids.numel()
        run_model(model, ids, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(prefixes_module, "run_model", counted)
    context = list(range(40, 60))
    PrefixCache(tiny_model(), [[*context, i, i + 1] for i in range(100, 130)])
    assert tokens == 20 + 30 * 2


def saved(rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> int:
    """Return the number of tokens that need not be computed thanks to shared beginnings."""
    beginnings = [tuple(row[:length]) for row, length in zip(rows, lengths, strict=True)]
    return sum(map(len, beginnings)) - sum(map(len, set(beginnings)))


def most_saved(rows: Sequence[Sequence[int]]) -> int:
    """Return the maximum of ``saved`` by brute force over all lengths for all rows."""
    best = 0
    choices: list[list[int]] = [[]]
    for row in rows:
        choices = [[*choice, length] for choice in choices for length in range(len(row) + 1)]
    for choice in choices:
        best = max(best, saved(rows, choice))
    return best


@given(st.lists(st.lists(st.integers(0, 1), max_size=3), max_size=5))
def test_the_shared_beginnings_save_the_most_tokens(rows: list[list[int]]) -> None:
    lengths = shared_beginnings(rows)
    assert all(0 <= length <= len(row) for length, row in zip(lengths, rows, strict=True))
    assert saved(rows, lengths) == most_saved(rows)


def test_nothing_shared() -> None:
    assert shared_beginnings([]) == []
    assert shared_beginnings([[1, 2]]) == [0]
    assert shared_beginnings([[1, 2], [2, 1]]) == [0, 0]
