"""Resuming of passes that were canceled or killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from key_statistics import CHUNK, collect, same
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import prose, tiny_model
from torch import Tensor

from alphaedit_core.covariance import collect as statistics
from alphaedit_core.covariance.collect import add_outer_products
from alphaedit_core.errors import Canceled
from alphaedit_core.progress import Monitor, Stage


def checkpoints(cache: Path) -> list[Path]:
    return list(cache.rglob("checkpoint-*.safetensors"))


def stop_after(tokens: int) -> Monitor:
    """Return a monitor that cancels after a number of tokens."""
    event = threading.Event()

    def watch(stage: Stage, *, closed: bool) -> None:
        if stage.done >= tokens:
            event.set()

    return Monitor(watch, event)


def test_canceled_pass_resumes(cache: Path, text: Path) -> None:
    model = tiny_model("llama")
    uninterrupted = collect(model, text, tokens=7 * CHUNK, cache=False)
    for chunks in (2, 5):
        with pytest.raises(Canceled, match='canceled during "statistics"'):
            collect(model, text, tokens=7 * CHUNK, monitor=stop_after(chunks * CHUNK))
        assert len(checkpoints(cache)) == 1
    seen: list[float] = []
    monitor = Monitor(lambda stage, closed: seen.append(stage.done))
    resumed = collect(model, text, tokens=7 * CHUNK, monitor=monitor)
    assert seen[:2] == [5 * CHUNK, 6 * CHUNK]
    assert same(resumed, uninterrupted)
    assert not checkpoints(cache)


def test_interrupt_within_chunk_counts_nothing_twice(
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
def test_killed_pass_resumes(cache: Path, tmp_path: Path) -> None:
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
def test_invalid_checkpoint_is_ignored(
    cache: Path, text: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    model, other = tiny_model("llama"), tiny_model("llama", seed=1)
    for each in (model, other):
        with pytest.raises(Canceled):
            collect(each, text, tokens=3 * CHUNK, monitor=stop_after(CHUNK))
    file, foreign = sorted(checkpoints(cache), key=lambda path: path.stat().st_mtime_ns)
    file.write_bytes(foreign.read_bytes() if content is None else content)
    with caplog.at_level(logging.WARNING, statistics.__name__):
        found = collect(model, text, tokens=3 * CHUNK)
    assert same(found, collect(model, text, tokens=3 * CHUNK, cache=False))
    assert content is None or "starting from the beginning" in caplog.text


def test_checkpoint_name_with_many_layers(cache: Path, text: Path) -> None:
    model = tiny_model("llama", num_hidden_layers=100)
    with pytest.raises(Canceled):
        collect(model, text, tuple(range(100)), tokens=2 * CHUNK, monitor=stop_after(CHUNK))
    assert len(checkpoints(cache)) == 1


@pytest.mark.parametrize("name", ["windows", "recipe", "checksum.0", "checksum"])
def test_tampered_checkpoint_is_ignored(
    cache: Path, text: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    with pytest.raises(Canceled):
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
