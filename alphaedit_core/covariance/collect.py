"""Second moments of keys on running text, in one pass for all requested layers.

``C = (1/N) sum k k^T`` over N tokens, where a *key* k (d_in numbers) is the input of a block's
down-projection at one token (Meng et al. 2023, section 4.2; Fang et al. 2025, section 3.2). It is
uncentered: a second moment, although the literature calls it a covariance.

The pass stops after the last requested block. Text is packed into windows of equal length, without
padding. The products of a chunk are computed in float32, only on and above the diagonal, and summed
in float64. A pass that was interrupted and resumed gives the same bits as an uninterrupted one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alphaedit_core.corpora.sources import TextSource, open_text
from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import ending_before, run_model, tap
from alphaedit_core.model.identity import Identity, identity, unedited
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import statistics_dir
from alphaedit_core.storage.tensor_files import load_tensors, save_tensors

from .files import (
    KeyStatistics,
    LayerStatistics,
    StatisticsSpec,
    layer_file,
    read_head,
    read_layers,
    write_layers,
)

log = logging.getLogger(__name__)

#: Tokens in a packed window; fewer if the model's maximum length is smaller.
WINDOW = 512
#: Number of windows in one forward pass.
WINDOWS_AT_ONCE = 8
#: Seconds between the checkpoints of a pass.
CHECKPOINT_SECONDS = 20.0
#: Rows of a block of the symmetric product.
_BLOCK = 384


def default_tokens(inner_size: int) -> int:
    """Return the default token budget: 100,000, or 10 tokens per key dimension if that is more.

    In an independent study, about 10 * d_in tokens are enough for a stable spectrum.

    Args:
        inner_size: d_in.
    """
    return max(100_000, 10 * inner_size)


def collect_statistics(
    model: EditableModel,
    text: str | Path | TextSource = "wikipedia-sample",
    layers: Sequence[int] = (),
    tokens: int | None = None,
    *,
    cache: bool = True,
    monitor: Monitor | None = None,
) -> KeyStatistics:
    """Return the second moments of several layers' keys, from the cache or one pass over text.

    The pass runs on the unedited model in evaluation mode, with exclusive access. Edits of a
    session are removed and restored afterwards. Cached statistics are used only if they were
    collected with the same weights, tokenizer, configuration, module paths and precision.

    A pass that was canceled or killed resumes from its last checkpoint. A cached file that is
    damaged or belongs to other settings is collected again.

    Args:
        model: the model.
        text: a source of running text, or its name (see :func:`~.sources.open_text`).
        layers: indices of the blocks.
        tokens: number of tokens to read; None for :func:`default_tokens`.
        cache: False to neither read nor write the cache, which also disables checkpoints.
        monitor: receives progress.

    Returns:
        One (d_in, d_in) matrix per layer, float32, on the CPU.

    Raises:
        InputError: if a layer does not exist, ``tokens`` is less than one window, or the text is
            shorter than one window.
        SessionError: if another thread uses the model, its weights were changed outside its
            session, or the keys are not finite.
        Canceled: if canceled; the checkpoint is kept.

    References:
        Fang et al. 2025, section 3.2; Meng et al. 2023, section 4.2.
    """
    monitor = monitor or Monitor()
    indices = sorted(set(layers))
    if not indices or indices[0] < 0 or indices[-1] >= model.layers:
        raise InputError(
            f"layers {list(layers)} are not all blocks of this model; give indices from 0 to "
            f"{model.layers - 1}"
        )
    with unedited(model) as current:
        source = open_text(text, model, monitor)
        return _collect(model, current, source, indices, tokens, cache, monitor)


def _collect(
    model: EditableModel,
    current: Identity,
    source: TextSource,
    indices: Sequence[int],
    tokens: int | None,
    cache: bool,
    monitor: Monitor,
) -> KeyStatistics:
    spec = replace(_spec(model, current, source, tokens), text=source.checksum())
    window, tokens = spec.window, spec.tokens
    by_layer: dict[int, LayerStatistics] = {}
    if cache:
        for layer in indices:
            file = layer_file(spec, layer)
            try:
                stored_spec, stored_layers = read_layers(file)
            except FileNotFoundError:
                continue
            except CorruptFileError as error:
                log.warning("%s; collecting it again", error)
                continue
            if stored_spec.key() == spec.key() and layer in stored_layers:
                by_layer[layer] = stored_layers[layer]
            else:
                log.warning("%s: belongs to other settings; collecting it again", file)
    missing = [layer for layer in indices if layer not in by_layer]
    if missing:
        windows = pack(source.documents(), model, window, tokens)
        accumulator = _Accumulator(spec, missing, cache)
        for layer, statistics in _run(model, windows, accumulator, monitor).items():
            by_layer[layer] = statistics
            if cache:
                write_layers(layer_file(spec, layer), spec, [statistics])
        accumulator.remove_checkpoint()
    return KeyStatistics(spec, {layer: by_layer[layer] for layer in indices}, cached=not missing)


def cached_checksums(
    model: EditableModel,
    text: str | Path | TextSource = "wikipedia-sample",
    layers: Sequence[int] = (),
    tokens: int | None = None,
    *,
    monitor: Monitor | None = None,
) -> dict[int, str] | None:
    """Return the checksums of the matrices that :func:`collect_statistics` would find in the cache.

    Only file headers are read. The text is read only if a cached file was collected on a text of
    the same name, so nothing is downloaded otherwise.

    Args:
        model: the model.
        text: a source of running text, or its name (see :func:`~.sources.open_text`).
        layers: indices of the blocks.
        tokens: number of tokens; None for :func:`default_tokens`.
        monitor: receives progress.

    Returns:
        The checksums by layer; None if any layer is not cached.

    Raises:
        InputError: if the text is invalid or ``tokens`` is less than one window.
    """
    source = open_text(text, model, monitor)
    spec_without_text = _spec(model, identity(model), source, tokens)
    text_checksum = ""
    for folder in sorted(statistics_dir().iterdir()):
        by_layer: dict[int, str] = {}
        for layer in layers:
            try:
                spec, checksums = read_head(folder / layer_file(spec_without_text, layer).name)
            except (CorruptFileError, OSError):
                break
            if replace(spec, text="") != spec_without_text:
                break
            text_checksum = text_checksum or source.checksum()
            if spec.text != text_checksum or layer not in checksums:
                break
            by_layer[layer] = checksums[layer]
        else:
            return by_layer
    return None


def _spec(
    model: EditableModel, current: Identity, source: TextSource, tokens: int | None
) -> StatisticsSpec:
    """Return the specification without the text's checksum, which can be expensive to compute."""
    window = window_length(model)
    tokens = default_tokens(model.architecture.inner_size) if tokens is None else tokens
    if tokens < window:
        raise InputError(f"tokens: {tokens} is less than one window; give at least {window}")
    return StatisticsSpec(current, "", source.name, tokens - tokens % window, window)


def window_length(model: EditableModel) -> int:
    """Return the number of tokens in a packed window for this model."""
    return min(WINDOW, model.max_length or WINDOW)


def pack(
    documents: Iterable[str], model: EditableModel, window: int, tokens: int
) -> Iterator[list[int]]:
    """Pack documents into windows of exactly ``window`` token ids, ``tokens`` in total.

    Documents are concatenated, separated by the end-of-text token if the tokenizer has one. Every
    window starts with the special tokens that the tokenizer puts at the start of a text.
    """
    tokenizer = model.tokenizer
    with_special, _ = encode(tokenizer, "x")
    plain = tokenizer("x", add_special_tokens=False)["input_ids"]
    start = with_special[: len(with_special) - len(plain)]
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    buffer: list[int] = []
    body, windows_left = window - len(start), tokens // window
    for document in documents:
        buffer += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"] + end
        for at in range(0, len(buffer) - body + 1, body):
            if windows_left == 0:
                return
            yield start + buffer[at : at + body]
            windows_left -= 1
        del buffer[: len(buffer) - len(buffer) % body]


class _Accumulator:
    """Running sums of ``k k^T`` on and above the diagonal, with checkpoints on disk."""

    def __init__(self, spec: StatisticsSpec, layers: Sequence[int], checkpoints: bool) -> None:
        self.spec, self.layers, self.windows = spec, list(layers), 0
        self.sums: dict[int, Tensor] = {}
        self._consistent = True  # the sums hold exactly the counted windows
        self._file: Path | None = None
        self._saved = time.monotonic()
        if checkpoints:
            name = blake2b(repr(self.layers).encode(), digest_size=8).hexdigest()
            self._file = layer_file(spec, 0).with_name(f"checkpoint-{name}.safetensors")
            self._resume(self._file)

    def add(self, layer: int, keys: Tensor) -> None:
        """Add the keys of a chunk, (tokens, d_in)."""
        width = keys.shape[1]
        if layer not in self.sums:
            # MPS has no float64, so sum on the CPU.
            device = "cpu" if keys.device.type == "mps" else keys.device
            self.sums[layer] = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._consistent = False
        add_outer_products(self.sums[layer], keys)

    def count(self, windows: int) -> None:
        """Count completed windows, and write a checkpoint if one is due."""
        self.windows += windows
        self._consistent = True
        if self._file is not None and time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        """Write a checkpoint, unless the sums hold part of a chunk only."""
        if self._file is None or not self.sums or not self._consistent:
            return
        sums = {str(layer): total.cpu() for layer, total in self.sums.items()}
        save_tensors(self._file, sums, {"recipe": self.spec.key(), "windows": str(self.windows)})
        self._saved = time.monotonic()

    def remove_checkpoint(self) -> None:
        """Remove the checkpoint of a completed pass."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def means(self) -> dict[int, LayerStatistics]:
        """Return C of each layer: mean over tokens, symmetric, float32, on the CPU.

        Raises:
            SessionError: if C is not finite.
        """
        count = self.windows * self.spec.window
        result = {}
        for layer, total in self.sums.items():
            upper = total.triu().cpu() / count
            moment = (upper + upper.triu(1).T).float()
            if not bool(moment.isfinite().all()):
                raise SessionError(
                    f"layer {layer}: the keys of the text are not finite; load the model in "
                    "bfloat16 or float32"
                )
            result[layer] = LayerStatistics(layer, moment, count)
        return result

    def _resume(self, file: Path) -> None:
        try:
            sums, metadata = load_tensors(file, sealed=True)
            if metadata["recipe"] == self.spec.key():
                windows, totals = int(metadata["windows"]), {int(n): t for n, t in sums.items()}
                if sorted(totals) != self.layers:
                    raise ValueError(f"{file}: has layers {sorted(totals)}")
                self.windows, self.sums = windows, totals
        except FileNotFoundError:
            pass
        except (CorruptFileError, KeyError, ValueError) as error:
            log.warning("invalid checkpoint, starting from the beginning: %s", error)


def add_outer_products(total: Tensor, keys: Tensor) -> None:
    """Compute ``total += keys^T keys`` on and above the diagonal, in place.

    As the product is symmetric, blocks below the diagonal are skipped: with d_in / 384 = 4 blocks a
    side, 10 of 16 are computed. Only the upper triangle of ``total`` is valid.

    Args:
        total: (d_in, d_in), float64.
        keys: (tokens, d_in).
    """
    keys = keys.float() if keys.dtype in (torch.float16, torch.bfloat16) else keys
    width = keys.shape[1]
    for top in range(0, width, _BLOCK):
        rows = keys[:, top : top + _BLOCK].T
        total[top : top + _BLOCK, top:] += (rows @ keys[:, top:]).to(total.device)


@torch.no_grad()
def _run(
    model: EditableModel,
    windows: Iterator[list[int]],
    accumulator: _Accumulator,
    monitor: Monitor,
) -> dict[int, LayerStatistics]:
    spec, last = accumulator.spec, max(accumulator.layers)
    for layer, total in accumulator.sums.items():
        accumulator.sums[layer] = total.to("cpu" if model.device.type == "mps" else model.device)
    remaining = islice(windows, accumulator.windows, None)
    done = accumulator.windows * spec.window
    with monitor.stage("statistics", spec.tokens, "token", done=done):
        try:
            while chunk := list(islice(remaining, WINDOWS_AT_ONCE)):
                monitor.check()
                ids = torch.tensor(chunk, device=model.device)
                keys = keys_of(model, ids, accumulator.layers, last)
                for layer in accumulator.layers:
                    accumulator.add(layer, keys[layer])
                accumulator.count(len(chunk))
                monitor.advance(len(chunk) * spec.window)
        except BaseException:
            accumulator.save()
            raise
    complete = accumulator.windows * spec.window
    if complete == 0:
        raise InputError(
            f'text "{spec.text_name}" has fewer than {spec.window} tokens; give a longer text'
        )
    if complete < spec.tokens:
        log.warning("text %s has only %d tokens", spec.text_name, complete)
    return accumulator.means()


def keys_of(
    model: EditableModel, ids: Tensor, layers: Sequence[int], last: int
) -> dict[int, Tensor]:
    """Return the keys of several layers for one batch of windows, from one forward pass.

    Args:
        model: the model.
        ids: token ids, (windows, window).
        layers: indices of the blocks.
        last: index of the last block to run.

    Returns:
        Keys by layer, (tokens, d_in), in the dtype of the forward pass.
    """
    keys: dict[int, Tensor] = {}

    def reader(layer: int) -> Any:
        # Depending on the architecture, (rows, tokens, d_in) or (rows * tokens, d_in).
        return lambda value: keys.__setitem__(layer, value.reshape(-1, value.shape[-1]))

    with ExitStack() as stack:
        for layer in layers:
            down = model.architecture.down_projections[layer]
            stack.enter_context(tap(down, reader(layer), ids.numel()))
        stack.enter_context(ending_before(model, last + 1))
        run_model(model, ids)
    return keys
