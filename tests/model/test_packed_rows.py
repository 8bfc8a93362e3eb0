"""Suffixes of many rows at once, compared with a full pass per row; attention of packed rows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from examples import NARROW_ATTENTION, outputs, quiet, requests_of
from tiny import LAYOUTS, tiny_model
from torch import Tensor

from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.editing.target_search import find_targets
from alphaedit_core.model import packed_rows as suffixes_module
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import by_length
from alphaedit_core.model.packed_attention import can_pack, packed
from alphaedit_core.model.packed_rows import PackedRows

#: Models whose attention functions are not in the registry; their rows run in groups.
UNPACKED = {"gptj", "gemma2"}

#: (length of a text, length of its prefix). The prefixes are empty, short or longer than a sliding
#: window; the suffixes have one token or many, and several have the same length.
SHAPES = [(5, 0), (1, 0), (12, 11), (30, 20), (30, 28), (4, 2), (22, 12), (30, 20), (9, 8), (14, 4)]
#: (row, other row, number of shared tokens at the start), up to the whole prefix.
SHARED = [(7, 3, 15), (5, 3, 2), (6, 4, 12), (9, 8, 3)]


def rows_of(shapes: list[tuple[int, int]]) -> list[tuple[tuple[int, ...], int]]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 250, (len(shapes), 40), generator=generator).tolist()
    for row, other, tokens in SHARED:
        ids[row][:tokens] = ids[other][:tokens]
    return [(tuple(row[:length]), cut) for row, (length, cut) in zip(ids, shapes, strict=True)]


def plain(model: EditableModel, rows: list[tuple[tuple[int, ...], int]]) -> list[Tensor]:
    """Return the output of the last block for every suffix, each from its own forward pass."""
    return [outputs(model, model.layers - 1, ids)[cut:] for ids, cut in rows]


def run(suffixes: PackedRows) -> Tensor:
    with torch.no_grad():
        return suffixes.run(suffixes.entry, lambda: None)


@pytest.mark.parametrize("start", [0, 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_last_blocks_output(layout: str, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed and in groups, before and after rows are dropped, from any block on."""
    model = tiny_model(layout, dtype=torch.float64)
    rows = rows_of(SHAPES)
    expected = plain(model, rows)
    found = {}
    for way in ("packed", "grouped"):
        if way == "grouped":
            monkeypatch.setattr(suffixes_module, "can_pack", lambda _: False)
        with torch.no_grad():
            suffixes = PackedRows(model, rows, start)
        assert (suffixes._packed is not None) == (way == "packed" and layout not in UNPACKED)
        for keep in (None, [0, 2, 3, 4, 7, 9], [1, 2, 5], [2]):
            if keep is not None:
                suffixes.keep(torch.tensor(keep))
            found[way, str(keep)] = out = run(suffixes)
            wanted = torch.cat([expected[index] for index in suffixes.order])
            narrow = layout in UNPACKED | NARROW_ATTENTION
            assert float((out - wanted).abs().max()) < (1e-4 if narrow else 1e-10)
            for index, first in zip(suffixes.order, suffixes.starts.tolist(), strict=True):
                assert len(out) >= first + len(expected[index])
    for (way, keep_), out in found.items():
        if way == "packed":
            assert float((out - found["grouped", keep_]).abs().max()) < 1e-10


@pytest.mark.parametrize("layout", ["gpt2", "llama", "gemma3"])
def test_packed_and_grouped_rows_find_the_same_targets(
    layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model(layout, dtype=torch.float64)
    hp = AlphaEditConfig(layers=(0,), target_steps=5, loss_stop=0.0)
    first = find_targets(model, requests_of(model), hp, BatchPlan(4096), quiet())
    monkeypatch.setattr(suffixes_module, "can_pack", lambda _: False)
    second = find_targets(model, requests_of(model), hp, BatchPlan(4096), quiet())
    assert float((first.z - second.z).abs().max()) < 1e-10


def test_nothing_is_padded() -> None:
    rows = rows_of(SHAPES)
    with torch.no_grad():
        suffixes = PackedRows(tiny_model(), rows, 1)
    assert len(suffixes.entry) == sum(length - cut for length, cut in SHAPES)
    assert sorted(suffixes.order) == list(range(len(SHAPES)))
    for group in suffixes._groups:  # blocks that do not run again have no cache
        there = [layer.is_initialized for layer in group.cache.layers]
        assert not there[0] and len(set(there[1:])) == 1


def test_keep_returns_the_kept_tokens() -> None:
    rows = rows_of(SHAPES)
    with torch.no_grad():
        suffixes = PackedRows(tiny_model(), rows, 1)
    entry, order, starts = suffixes.entry, suffixes.order, suffixes.starts.tolist()
    stays = suffixes.keep(torch.tensor([1, 4, 8]))
    assert suffixes.order == [order[i] for i in (1, 4, 8)]
    expected = []
    for i in (1, 4, 8):
        length, cut = SHAPES[order[i]]
        expected += range(starts[i], starts[i] + length - cut)
    assert stays.tolist() == expected
    assert torch.equal(suffixes.entry, entry[stays])


class Stop(Exception):
    pass


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_models_own_attention_is_restored(layout: str) -> None:
    model = tiny_model(layout)
    implementations = {
        id(module.config): module.config._attn_implementation
        for module in model.model.modules()
        if hasattr(module, "config")
    }
    with torch.no_grad():
        suffixes = PackedRows(model, rows_of(SHAPES), 1)

    def stop_at(call: int) -> Callable[[], None]:
        calls = 0

        def check() -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                raise Stop

        return check

    ids = torch.tensor([rows_of(SHAPES)[3][0]])
    expected = model.model(input_ids=ids).logits
    for call in (1, 2, 10**6):
        with torch.no_grad():
            if call < 10**6:
                with pytest.raises(Stop):
                    suffixes.run(suffixes.entry, stop_at(call))
            else:
                suffixes.run(suffixes.entry, stop_at(call))
        for module in model.model.modules():
            if hasattr(module, "config"):
                assert module.config._attn_implementation == implementations[id(module.config)]
        assert torch.equal(model.model(input_ids=ids).logits, expected)


def test_packed_attention_acts_only_inside_the_context_and_in_its_thread() -> None:
    model = tiny_model("llama").model
    assert can_pack(model)
    before = model.config._attn_implementation
    ids = torch.tensor([[5, 6, 7, 8], [9, 5, 7, 4]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    ask = lambda: model(input_ids=ids, attention_mask=mask).logits  # noqa: E731
    expected = ask()
    with ThreadPoolExecutor(1) as other, pytest.raises(Stop), packed(model, []):
        with pytest.raises(RuntimeError):  # there are no groups
            ask()
        assert torch.equal(other.submit(ask).result(), expected)
        raise Stop
    assert torch.equal(ask(), expected)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    assert not can_pack(model)


@pytest.mark.parametrize("limit", [1, 10, 64, 1000])
def test_groups_of_similar_length(limit: int) -> None:
    """Every row occurs once; only a single row may exceed the limit; padding is small."""
    lengths = torch.randint(1, 40, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    groups = by_length(lengths, limit)
    assert sorted(index for group in groups for index in group) == list(range(200))
    for group in groups:
        own = [lengths[index] for index in group]
        padded = max(own) * len(own)
        assert padded <= limit or len(own) == 1
        assert (padded - sum(own)) * 16 <= padded
