"""Key statistics: the sums, the packing, the cache, and passes that were stopped or killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import INNER, KINDS, WINDOW, prose, tiny_model, tiny_tokenizer
from torch import Tensor

from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.covariance import collect as statistics
from alphaedit_core.covariance.collect import (
    add_outer_products,
    cached_checksums,
    collect_statistics,
    default_tokens,
    pack,
    window_length,
)
from alphaedit_core.covariance.files import KeyStatistics, export_statistics, layer_file
from alphaedit_core.covariance.importing import import_statistics
from alphaedit_core.errors import Cancelled, CorruptFileError, FingerprintError, InputError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor, Stage

CHUNK = statistics.WINDOWS_AT_ONCE * WINDOW
quiet = Monitor(show=None)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Three documents of about 1,700 tokens each."""
    file = tmp_path / "text.txt"
    file.write_text("\f".join(prose(700, seed) for seed in range(3)), encoding="utf-8")
    return file


def collect(
    model: EditableModel,
    text: Path,
    layers: tuple[int, ...] = (0, 2),
    tokens: int = 2 * CHUNK,
    monitor: Monitor = quiet,
    **options: bool,
) -> KeyStatistics:
    return collect_statistics(model, text, layers, tokens, monitor=monitor, **options)


def same(a: KeyStatistics, b: KeyStatistics) -> bool:
    return list(a.layers) == list(b.layers) and all(
        torch.equal(a[layer].moment, b[layer].moment) and a[layer].tokens == b[layer].tokens
        for layer in a.layers
    )


def plain_moment(model: EditableModel, windows: list[list[int]], layer: int) -> Tensor:
    """sum k k^T / tokens in float64, one window and one full forward pass at a time."""
    keys: list[Tensor] = []
    hook = model.anatomy.down_projections[layer].register_forward_pre_hook(
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
def test_the_moment_is_the_plain_mean_of_outer_products(
    cache: Path, text: Path, layout: str
) -> None:
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


def test_one_pass_for_all_layers_is_a_pass_for_each(cache: Path, text: Path) -> None:
    model = tiny_model("gpt2")
    together = collect(model, text, (0, 1, 2), cache=False)
    alone = [collect(model, text, (layer,), cache=False) for layer in (0, 1, 2)]
    assert all(torch.equal(together[i].moment, alone[i][i].moment) for i in (0, 1, 2))


def test_the_pass_stops_after_the_last_wanted_block(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    calls = [0, 0, 0]
    for i, block in enumerate(model.anatomy.blocks):
        block.register_forward_pre_hook(lambda *_, i=i: calls.__setitem__(i, calls[i] + 1))
    collect(model, text, (0, 1))
    assert calls == [2, 2, 0]


def test_both_padding_sides_give_the_same_statistics(cache: Path, text: Path) -> None:
    left, right = (
        collect(tiny_model("opt", tiny_tokenizer(padding_side=side)), text, cache=False)
        for side in ("left", "right")
    )
    assert same(left, right)


@pytest.mark.parametrize("width", [5, 384, 385, 900])
def test_only_the_upper_triangle_is_formed(width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    keys = torch.randn(50, width, generator=generator)
    total = torch.zeros(width, width, dtype=torch.float64)
    add_outer_products(total, keys)
    add_outer_products(total, keys.bfloat16())
    exact = sum(k.double().T @ k.double() for k in (keys, keys.bfloat16()))
    torch.testing.assert_close(total.triu(), exact.triu(), rtol=1e-4, atol=1e-4)
    assert width <= 768 or float(total[-1, 0]) == 0.0


# ---------------------------------------------------------------------------- budget and packing


def test_the_budget_rule() -> None:
    assert default_tokens(1536) == default_tokens(10_000) == 100_000
    assert default_tokens(14_336) == 143_360


@pytest.mark.parametrize("bos", [False, True])
def test_windows_are_running_text_behind_the_opening_token(bos: bool) -> None:
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


def test_a_tokenizer_without_an_end_of_text() -> None:
    model = tiny_model("llama")
    model.tokenizer.eos_token = None
    windows = list(pack(["Rome is old"] * 9, model, 8, 1000))
    plain = model.tokenizer("Rome is old")["input_ids"] * 9
    assert [t for w in windows for t in w] == plain[: 8 * len(windows)]
    assert len(windows) == len(plain) // 8


def test_the_window_is_at_most_what_the_model_takes() -> None:
    assert window_length(tiny_model("llama")) == WINDOW
    assert window_length(tiny_model("llama", max_position_embeddings=4096)) == 512


def test_the_budget_is_rounded_down_to_whole_windows(cache: Path, text: Path) -> None:
    found = collect(tiny_model("llama"), text, (0,), tokens=3 * WINDOW + 17)
    assert found[0].tokens == found.recipe.tokens == 3 * WINDOW


def test_a_text_shorter_than_the_budget(
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
        ((0,), 63, "x", "tokens 63 is less than one window; give at least 64"),
        ((0,), 640, "Rome is old.", 'txt" has less than 64 tokens; give a longer text'),
    ],
)
def test_what_cannot_be_collected(
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


# ------------------------------------------------------------------------------------- the cache


def test_what_is_cached_is_not_made_again(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    model.model.forward = None  # cannot run any more
    model.model.model.forward = None
    again = collect(model, text)
    assert again.cached and same(first, again)
    assert repr(again) == (
        f"KeyStatistics(layers 0, 2, d_in 48, 1,024 tokens of {text}, from cache)"
    )


def test_only_missing_layers_are_collected(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    collect(model, text, (0,))
    before = layer_file(collect(model, text, (0,)).recipe, 0).stat().st_mtime_ns
    both = collect(model, text, (0, 2))
    assert not both.cached and list(both.layers) == [0, 2]
    assert layer_file(both.recipe, 0).stat().st_mtime_ns == before
    assert same(both, collect(model, text, (2, 0, 0), cache=False))


def test_without_the_cache_nothing_is_written(cache: Path, text: Path) -> None:
    collect(tiny_model("llama"), text, cache=False)
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_made_again(
    cache: Path, text: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    file = layer_file(first.recipe, 2)
    whole = file.read_bytes()
    contents = {
        "cut": whole[:-8],
        "changed": whole[:-9] + bytes([whole[-9] ^ 4]) + whole[-8:],
        "empty": b"",
    }
    file.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert str(file) in caplog.text and "made again" in caplog.text
    assert not again.cached and same(first, again)
    assert collect(model, text).cached


def test_other_weights_text_or_budget_have_statistics_of_their_own(
    cache: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = collect(tiny_model("llama"), text)
    for other in (
        collect(tiny_model("llama", seed=1), text),
        collect(tiny_model("llama"), text, tokens=CHUNK),
        collect(tiny_model("llama", dtype=torch.float64), text),
    ):
        assert not other.cached and not torch.equal(other[0].moment, first[0].moment)
    text.write_text(text.read_text(encoding="utf-8") + " old", encoding="utf-8")
    assert not collect(tiny_model("llama"), text).cached
    assert not caplog.records


def test_a_file_of_other_weights_in_the_place_is_noticed(
    cache: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    first, foreign = collect(model, text), collect(other, text)
    place = layer_file(first.recipe, 0)
    place.write_bytes(layer_file(foreign.recipe, 0).read_bytes())
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert "belongs to another recipe; made again" in caplog.text
    assert same(first, again)


# ---------------------------------------------------------------------- stopped, killed, resumed


def checkpoints(cache: Path) -> list[Path]:
    return list(cache.rglob("checkpoint-*.safetensors"))


def stop_after(tokens: int) -> Monitor:
    """A monitor that cancels once so many tokens are done."""
    event = threading.Event()

    def watch(stage: Stage, *, closed: bool) -> None:
        if stage.done >= tokens:
            event.set()

    return Monitor(watch, event)


def test_a_cancelled_pass_goes_on_where_it_was(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    uninterrupted = collect(model, text, tokens=7 * CHUNK, cache=False)
    for chunks in (2, 5):
        with pytest.raises(Cancelled, match='cancelled during "statistics"'):
            collect(model, text, tokens=7 * CHUNK, monitor=stop_after(chunks * CHUNK))
        assert len(checkpoints(cache)) == 1
    seen: list[float] = []
    monitor = Monitor(lambda stage, closed: seen.append(stage.done))
    resumed = collect(model, text, tokens=7 * CHUNK, monitor=monitor)
    assert seen[:2] == [5 * CHUNK, 6 * CHUNK]
    assert same(resumed, uninterrupted)
    assert not checkpoints(cache)


def test_an_interrupt_amid_a_chunk_counts_nothing_twice(
    cache: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("llama")
    uninterrupted = collect(model, text, tokens=4 * CHUNK, cache=False)
    monkeypatch.setattr(statistics, "CHECKPOINT_SECONDS", -1.0)
    calls = 0

    def interrupted(total: Tensor, keys: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:  # the second layer of the third chunk
            raise KeyboardInterrupt
        add_outer_products(total, keys)

    with monkeypatch.context() as patched:
        patched.setattr(statistics, "add_outer_products", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect(model, text, tokens=4 * CHUNK)
    seen: list[float] = []
    monitor = Monitor(lambda stage, closed: seen.append(stage.done))
    resumed = collect(model, text, tokens=4 * CHUNK, monitor=monitor)
    assert seen[0] == 2 * CHUNK
    assert same(resumed, uninterrupted)


CHILD = """
import sys, time
from tiny import tiny_model
from alphaedit_core.covariance import collect as statistics
from alphaedit_core.progress import Monitor
statistics.CHECKPOINT_SECONDS = 0.0
slowly = Monitor(lambda stage, closed: time.sleep(0.1))
statistics.collect_statistics(
    tiny_model("gpt2"), sys.argv[1], (0, 2), int(sys.argv[2]), monitor=slowly
)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_pass_goes_on_where_it_was(cache: Path, tmp_path: Path) -> None:
    text = tmp_path / "long.txt"
    text.write_text(prose(6_000), encoding="utf-8")
    tokens, root = 20 * CHUNK, Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{root / 'tests/helpers'}"}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(text), str(tokens)], env=environment)
    try:
        end = time.monotonic() + 120
        while not checkpoints(cache) and child.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL and len(checkpoints(cache)) == 1
    model = tiny_model("gpt2")
    seen: list[float] = []
    monitor = Monitor(lambda stage, closed: seen.append(stage.done))
    resumed = collect(model, text, tokens=tokens, monitor=monitor)
    assert CHUNK <= seen[0] < tokens and seen[0] % CHUNK == 0
    assert same(resumed, collect(model, text, tokens=tokens, cache=False))
    assert not checkpoints(cache)


@pytest.mark.parametrize("content", [b"", b"torn", None])
def test_a_checkpoint_that_cannot_be_used(
    cache: Path, text: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    for each in (model, other):
        with pytest.raises(Cancelled):
            collect(each, text, tokens=3 * CHUNK, monitor=stop_after(CHUNK))
    file, foreign = sorted(checkpoints(cache), key=lambda path: path.stat().st_mtime_ns)
    file.write_bytes(foreign.read_bytes() if content is None else content)
    with caplog.at_level(logging.WARNING, statistics.__name__):
        found = collect(model, text, tokens=3 * CHUNK)
    assert same(found, collect(model, text, tokens=3 * CHUNK, cache=False))
    assert content is None or "starting from the beginning" in caplog.text


def test_many_layers_have_a_file_name_too(cache: Path, text: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=100)
    with pytest.raises(Cancelled):
        collect(model, text, tuple(range(100)), tokens=2 * CHUNK, monitor=stop_after(CHUNK))
    assert len(checkpoints(cache)) == 1


# ------------------------------------------------------------------------------ export and import


@pytest.fixture
def exported(cache: Path, text: Path, tmp_path: Path) -> tuple[KeyStatistics, Path]:
    found = collect(tiny_model("llama"), text)
    export_statistics(found, tmp_path / "shared.safetensors")
    for file in cache.rglob("layer-*.safetensors"):
        file.unlink()
    return found, tmp_path / "shared.safetensors"


def test_statistics_travel_in_one_file(exported: tuple[KeyStatistics, Path], text: Path) -> None:
    original, file = exported
    model = tiny_model("llama")
    imported = import_statistics(file, model)
    assert same(imported, original) and imported.recipe == original.recipe
    assert imported[0].checksum == original[0].checksum != original[2].checksum
    assert collect(model, text).cached  # they are in the cache now


def test_statistics_of_other_weights_are_refused(
    exported: tuple[KeyStatistics, Path], cache: Path
) -> None:
    original, file = exported
    other = tiny_model("llama", seed=1)
    with pytest.raises(FingerprintError) as caught:
        import_statistics(file, other)
    assert other.fingerprint in str(caught.value) and original.recipe.fingerprint in str(
        caught.value
    )
    assert not list(cache.rglob("layer-*.safetensors"))


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "other tensors"])
def test_damaged_exports_are_refused(
    exported: tuple[KeyStatistics, Path], cache: Path, damage: str
) -> None:
    _, file = exported
    whole = file.read_bytes()
    if damage == "cut":
        file.write_bytes(whole[:-4])
    elif damage == "changed":
        file.write_bytes(whole[:-7] + bytes([whole[-7] ^ 1]) + whole[-6:])
    elif damage == "text":
        file.write_text("layer 0: all fine")
    else:
        tiny_model("llama").model.save_pretrained(file.parent / "model")
        file.write_bytes((file.parent / "model" / "model.safetensors").read_bytes())
    with pytest.raises(CorruptFileError) as caught:
        import_statistics(file, tiny_model("llama"))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; give a file that an export wrote"):
        import_statistics(tmp_path / "none.safetensors", tiny_model("llama"))


def asymmetric(c: Tensor) -> Tensor:
    c[3, 5] += 1e-3
    return c


def with_number(value: float) -> Callable[[Tensor], Tensor]:
    def put(c: Tensor) -> Tensor:
        c[7, 7] = value
        return c

    return put


def indefinite(c: Tensor) -> Tensor:
    """All of the diagonal positive, one eigenvalue not."""
    c[0, 1] = c[1, 0] = 2 * float((c[0, 0] * c[1, 1]).sqrt())
    return c


IMPOSSIBLE: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "nan": (with_number(float("nan")), "has numbers that are not finite"),
    "inf": (with_number(float("inf")), "has numbers that are not finite"),
    "asymmetric": (asymmetric, "is not symmetric"),
    "negative diagonal": (with_number(-1e-3), "has a diagonal that is negative"),
    "negative eigenvalues": (indefinite, "has negative eigenvalues"),
    "negated": (lambda c: -c, "has a diagonal that is negative"),
    "zero": (lambda c: 0 * c, "has a diagonal that is negative or all zero"),
    "not square": (lambda c: c[:, :-1], r"has the shape \[48, 47\], not \[48, 48\]"),
    "another width": (lambda c: c[:-1, :-1], r"has the shape \[47, 47\]"),
    "a vector": (lambda c: c[0], r"has the shape \[48\]"),
    "empty": (lambda c: c[:0, :0], r"has the shape \[0, 0\]"),
    "integers": (lambda c: c.long(), "has the dtype int64, not float32"),
    "float64": (lambda c: c.double(), "has the dtype float64, not float32"),
    "a sum": (lambda c: 1024 * c, "is about 1.*e.03 times the second moment"),
    "divided twice": (lambda c: c / 1024, "is about .* times the second moment"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_import_takes_nothing_that_no_text_can_give(
    exported: tuple[KeyStatistics, Path], cache: Path, what: str
) -> None:
    original, file = exported
    change, complaint = IMPOSSIBLE[what]
    bad = replace(original[2], moment=change(original[2].moment.clone()))
    export_statistics(replace(original, layers={0: original[0], 2: bad}), file)
    refused(file, f"layer 2 {complaint}", cache)


@pytest.mark.parametrize("layer", [-1, 3, 10**12])
def test_an_import_of_a_layer_that_the_model_has_not(
    exported: tuple[KeyStatistics, Path], cache: Path, layer: int
) -> None:
    original, file = exported
    layers = {0: original[0], layer: replace(original[2], layer=layer)}
    export_statistics(replace(original, layers=layers), file)
    refused(file, f"layer {layer} is no block of this model, which has 0 to 2", cache)


@pytest.mark.parametrize("tokens", [0, -640, CHUNK + 1, 10**9])
def test_an_import_of_a_number_of_tokens_that_cannot_be(
    exported: tuple[KeyStatistics, Path], cache: Path, tokens: int
) -> None:
    original, file = exported
    bad = replace(original[0], tokens=tokens)
    export_statistics(replace(original, layers={0: bad, 2: original[2]}), file)
    refused(file, f"layer 0 says {tokens} of {original.recipe.tokens} tokens", cache)


def test_an_import_of_layers_that_were_swapped(
    exported: tuple[KeyStatistics, Path], cache: Path, text: Path
) -> None:
    """Both are moments that some text could give, of another layer: a few tokens tell."""
    original, file = exported
    layers = {0: replace(original[2], layer=0), 2: replace(original[0], layer=2)}
    export_statistics(replace(original, layers=layers), file)
    refused(file, "layer 0 is not that of this model's keys", cache)


@pytest.mark.parametrize("window", [0, -1, 1, WINDOW // 2])
def test_an_import_of_windows_that_the_model_does_not_read(
    exported: tuple[KeyStatistics, Path], cache: Path, window: int
) -> None:
    original, file = exported
    export_statistics(replace(original, recipe=replace(original.recipe, window=window)), file)
    refused(file, f"was read in windows of {window} tokens, this model reads {WINDOW}", cache)


@pytest.mark.parametrize("tokens", [0, -640, 10**13, 10**400])
def test_an_import_of_a_budget_that_nobody_can_read(
    exported: tuple[KeyStatistics, Path], cache: Path, tokens: int
) -> None:
    original, file = exported
    export_statistics(replace(original, recipe=replace(original.recipe, tokens=tokens)), file)
    refused(file, "does not say that 1 to 1,000,000,000,000 tokens", cache)


def test_an_import_without_layers(exported: tuple[KeyStatistics, Path], cache: Path) -> None:
    original, file = exported
    export_statistics(replace(original, layers={}), file)
    refused(file, "holds no layer", cache)


def refused(file: Path, complaint: str, cache: Path) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        import_statistics(file, tiny_model("llama"))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    assert not list(cache.rglob("layer-*.safetensors"))


def test_statistics_of_an_earlier_version_are_refused_by_that_reason(
    exported: tuple[KeyStatistics, Path],
) -> None:
    original, file = exported
    metadata = {"format": "alphaedit key statistics 1", "checksum.0": original[0].checksum}
    save_file({"0": original[0].moment}, file, metadata)
    with pytest.raises(CorruptFileError, match=r"of an earlier version.*export them anew"):
        import_statistics(file, tiny_model("llama"))


@pytest.mark.parametrize("name", ["windows", "recipe", "checksum.0", "checksum"])
def test_a_checkpoint_whose_counters_were_changed_is_not_used(
    cache: Path, text: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    with pytest.raises(Cancelled):
        collect(model, text, tokens=3 * CHUNK, monitor=stop_after(CHUNK))
    (file,) = checkpoints(cache)
    with safe_open(file, "pt") as stored:
        metadata = dict(stored.metadata())
        tensors = {key: stored.get_tensor(key).clone() for key in ("0", "2")}
    old = metadata[name]
    metadata[name] = str(int(old) + 8) if name == "windows" else old[:-1] + chr(ord(old[-1]) ^ 1)
    save_file(tensors, file, metadata)
    with caplog.at_level(logging.WARNING, statistics.__name__):
        found = collect(model, text, tokens=3 * CHUNK)
    assert same(found, collect(model, text, tokens=3 * CHUNK, cache=False))
    assert "starting from the beginning" in caplog.text


@pytest.mark.parametrize("name", ["tokens", "tokens.0", "text_name", "configuration"])
def test_statistics_whose_head_was_changed_are_made_again(
    cache: Path, text: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    first = collect(model, text)
    file = layer_file(first.recipe, 0)
    with safe_open(file, "pt") as stored:
        metadata, moment = dict(stored.metadata()), stored.get_tensor("0").clone()
    save_file({"0": moment}, file, metadata | {name: metadata[name] + "0"})
    assert cached_checksums(model, text, (0, 2), 2 * CHUNK) is None
    with caplog.at_level(logging.WARNING, statistics.__name__):
        again = collect(model, text)
    assert "made again" in caplog.text and same(first, again) and again.recipe == first.recipe
