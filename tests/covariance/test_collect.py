"""Key statistics: the sums, the budget of tokens and the packing of texts."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from key_statistics import CHUNK, collect, same
from tiny import INNER, KINDS, WINDOW, prose, tiny_model, tiny_tokenizer
from torch import Tensor

from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.covariance import collect as statistics
from alphaedit_core.covariance.collect import (
    add_outer_products,
    default_tokens,
    pack,
    window_length,
)
from alphaedit_core.errors import InputError
from alphaedit_core.model.editable_model import EditableModel


def plain_moment(model: EditableModel, windows: list[list[int]], layer: int) -> Tensor:
    """Return the mean of k k^T in float64, from one full forward pass per window."""
    keys: list[Tensor] = []
    hook = model.architecture.down_projections[layer].register_forward_pre_hook(
        lambda _module, args: keys.append(args[0].reshape(-1, INNER).double())
    )
    with torch.no_grad():
        for window in windows:
            model.model(input_ids=torch.tensor([window]), use_cache=False)
    hook.remove()
    stacked = torch.cat(keys)
    return stacked.T @ stacked / len(stacked)


# -------------------------------------------------------------------------------------- the sums


@pytest.mark.parametrize("layout", KINDS)
def test_moment_is_mean_of_outer_products(cache: Path, text: Path, layout: str) -> None:
    model = tiny_model(layout)
    found = collect(model, text)
    windows = list(pack(TextFile(text).documents(), model, WINDOW, 2 * CHUNK))
    assert len(windows) == 2 * statistics.WINDOWS_AT_ONCE
    for layer in (0, 2):
        moment = found[layer].moment
        assert (moment.shape, moment.dtype) == ((INNER, INNER), torch.float32)
        assert torch.equal(moment, moment.T)
        exact = plain_moment(model, windows, layer)
        assert float((moment - exact).norm() / exact.norm()) < 1e-6
        assert (found[layer].layer, found[layer].tokens) == (layer, 2 * CHUNK)
    assert not found.cached


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_dtypes(cache: Path, text: Path, dtype: torch.dtype) -> None:
    model = tiny_model("llama", dtype=dtype)
    moment = collect(model, text, (1,))[1].moment
    windows = list(pack(TextFile(text).documents(), model, WINDOW, 2 * CHUNK))
    exact = plain_moment(model, windows, 1)
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-6
    assert float((moment - exact).norm() / exact.norm()) < tolerance
    assert moment.dtype == torch.float32


def test_joint_pass_equals_separate_passes(cache: Path, text: Path) -> None:
    model = tiny_model("gpt2")
    together = collect(model, text, (0, 1, 2), cache=False)
    alone = [collect(model, text, (layer,), cache=False) for layer in (0, 1, 2)]
    assert all(torch.equal(together[i].moment, alone[i][i].moment) for i in (0, 1, 2))


def test_pass_stops_after_last_block(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    calls = [0, 0, 0]
    for i, block in enumerate(model.architecture.blocks):
        block.register_forward_pre_hook(lambda *_, i=i: calls.__setitem__(i, calls[i] + 1))
    collect(model, text, (0, 1))
    assert calls == [2, 2, 0]


def test_padding_side_does_not_change_statistics(cache: Path, text: Path) -> None:
    left, right = (
        collect(tiny_model("opt", tiny_tokenizer(padding_side=side)), text, cache=False)
        for side in ("left", "right")
    )
    assert same(left, right)


@pytest.mark.parametrize("width", [5, 384, 385, 900])
def test_only_upper_triangle_is_computed(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    keys = torch.randn(50, width, generator=generator)
    total = torch.zeros(width, width, dtype=torch.float64)
    add_outer_products(total, keys)
    add_outer_products(total, keys.bfloat16())
    exact = sum(k.double().T @ k.double() for k in (keys, keys.bfloat16()))
    torch.testing.assert_close(total.triu(), exact.triu(), rtol=1e-4, atol=1e-4)
    assert width <= 768 or float(total[-1, 0]) == 0.0


# ---------------------------------------------------------------------------- budget and packing


def test_default_tokens() -> None:
    assert default_tokens(1536) == default_tokens(10_000) == 100_000
    assert default_tokens(14_336) == 143_360


@pytest.mark.parametrize("bos", [False, True])
def test_windows_are_running_text_after_start_token(bos: bool) -> None:
    model = tiny_model("llama", tiny_tokenizer(bos=bos, closing=True))
    tokenizer = model.tokenizer
    documents = [prose(90, seed) for seed in range(3)]
    windows = list(pack(documents, model, 20, 20 * 7))
    assert len(windows) == 7 and {len(w) for w in windows} == {20}
    if bos:
        assert all(w[0] == tokenizer.bos_token_id for w in windows)
    body = [token for w in windows for token in w[bos:]]
    running: list[int] = []
    for document in documents:
        running += tokenizer(document, add_special_tokens=False)["input_ids"]
        running.append(tokenizer.eos_token_id)
    assert body == running[: len(body)]
    assert tokenizer.eos_token_id not in windows[0]


def test_tokenizer_without_end_of_text() -> None:
    model = tiny_model("llama")
    model.tokenizer.eos_token = None
    windows = list(pack(["Rome is old"] * 9, model, 8, 1000))
    plain = model.tokenizer("Rome is old")["input_ids"] * 9
    assert [t for w in windows for t in w] == plain[: 8 * len(windows)]
    assert len(windows) == len(plain) // 8


def test_window_is_limited_by_model() -> None:
    assert window_length(tiny_model("llama")) == WINDOW
    assert window_length(tiny_model("llama", max_position_embeddings=4096)) == 512


def test_budget_is_rounded_down_to_windows(cache: Path, text: Path) -> None:
    found = collect(tiny_model("llama"), text, (0,), tokens=3 * WINDOW + 17)
    assert found[0].tokens == found.spec.tokens == 3 * WINDOW


def test_text_shorter_than_budget(
    cache: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    with caplog.at_level(logging.WARNING, statistics.__name__):
        found = collect(model, text, (0,), tokens=1_000_000)
    assert "has only" in caplog.text
    windows = list(pack(TextFile(text).documents(), model, WINDOW, 1_000_000))
    assert found[0].tokens == WINDOW * len(windows) < 10_000
    exact = plain_moment(model, windows, 0)
    assert float((found[0].moment - exact).norm() / exact.norm()) < 1e-6
    assert collect(model, text, (0,), tokens=1_000_000).cached


@pytest.mark.parametrize(
    ("layers", "tokens", "content", "complaint"),
    [
        ((), 640, "x", r"layers \[\] are not all blocks of this model; give indices from 0 to 2"),
        ((3,), 640, "x", r"layers \[3\] are not all blocks"),
        ((-1, 0), 640, "x", r"layers \[-1, 0\] are not all blocks"),
        ((0,), 63, "x", "tokens: 63 is less than one window; give at least 64"),
        ((0,), 640, "Rome is old.", 'txt" has fewer than 64 tokens; give a longer text'),
    ],
)
def test_invalid_arguments(
    cache: Path,
    tmp_path: Path,
    layers: tuple[int, ...],
    tokens: int,
    content: str,
    complaint: str,
) -> None:
    file = tmp_path / "short.txt"
    file.write_text(content)
    with pytest.raises(InputError, match=complaint):
        collect(tiny_model("llama"), file, layers, tokens)
    assert not list(cache.rglob("*.safetensors"))
