"""Second moments of keys over running text: one pass for all wanted layers.

``C = (1/N) sum k k^T`` over N tokens, where a *key* k (d_in numbers) is what a block's
down-projection reads at one token (Meng et al. 2022, MEMIT, section 4.2; Fang et al. 2025,
section 3.2). Uncenterd: it is a second moment, though the literature says covariance.

The pass stops after the last wanted block. Text is packed into windows of equal length, so nothing
is padded. Products of a chunk are formed in float32, only on and above the diagonal, and added up
in float64, so that a pass that was interrupted and resumed ends with the same bits.
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

#: Tokens in a packed window; shorter where a model takes fewer.
WINDOW = 512
#: Windows in one forward pass.
WINDOWS_AT_ONCE = 8
#: Seconds between two checkpoints of a running pass.
CHECKPOINT_SECONDS = 20.0
#: Side of the square pieces that a symmetric product is formed from.
_PIECE = 384


def default_tokens(inner_size: int) -> int:
    """The token budget where none is given: 100,000, and never under 10 tokens per key dimension.

    About 10 * d_in tokens settle the spectrum in an independent study; 100,000 is that and more up
    to d_in 10,000.
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
    """Second moments of the keys of several layers, from the cache or from one pass over text.

    The model is unedited meanwhile, in evaluation mode and nobody else's: what a session has
    written into it is taken out, and afterwards everything is as before. What is found in the cache
    was made from these very weights, tokenizer, configuration, module paths and precision.

    A pass that was stopped, by a cancel or a kill, goes on from its last checkpoint when the same
    statistics are asked for again. A cached file that is damaged or belongs to another recipe is
    made again.

    Args:
        model: the model.
        text: a source of running text, or how to name one (see :func:`~.sources.open_text`).
        layers: indices of the wanted blocks.
        tokens: number of tokens to read; None for :func:`default_tokens`.
        cache: whether to read and write the cache; without it there is no resuming either.
        monitor: what to report to.

    Raises:
        InputError: if a layer does not exist, ``tokens`` is under one window, or the text is
            too short to give a single window.
        SessionError: if another thread uses the model, or its weights were changed by hand since
            a session took it.
        Canceled: if canceled; the checkpoint is kept.
    """
    monitor = monitor or Monitor()
    wanted = sorted(set(layers))
    if not wanted or wanted[0] < 0 or wanted[-1] >= model.layers:
        raise InputError(
            f"layers {list(layers)} are not all blocks of this model; give indices from 0 to "
            f"{model.layers - 1}"
        )
    with unedited(model) as now:
        return _collected(
            model, now, open_text(text, model, monitor), wanted, tokens, cache, monitor
        )


def _collected(
    model: EditableModel,
    now: Identity,
    source: TextSource,
    wanted: Sequence[int],
    tokens: int | None,
    cache: bool,
    monitor: Monitor,
) -> KeyStatistics:
    recipe = replace(_recipe(model, now, source, tokens), text=source.checksum())
    window, tokens = recipe.window, recipe.tokens
    found: dict[int, LayerStatistics] = {}
    if cache:
        for layer in wanted:
            try:
                stored, layers_there = read_layers(layer_file(recipe, layer))
            except FileNotFoundError:
                continue
            except CorruptFileError as error:
                log.warning("%s; made again", error)
                continue
            if stored.key() == recipe.key() and layer in layers_there:
                found[layer] = layers_there[layer]
            else:
                log.warning(
                    "%s: belongs to another recipe; made again",
                    layer_file(recipe, layer),
                )
    missing = [layer for layer in wanted if layer not in found]
    if missing:
        windows = pack(source.documents(), model, window, tokens)
        accumulator = _Accumulator(recipe, missing, cache)
        for layer, statistics in _run(model, windows, accumulator, monitor).items():
            found[layer] = statistics
            if cache:
                write_layers(layer_file(recipe, layer), recipe, [statistics])
        accumulator.forget()
    return KeyStatistics(recipe, {layer: found[layer] for layer in wanted}, cached=not missing)


def cached_checksums(
    model: EditableModel,
    text: str | Path | TextSource = "wikipedia-sample",
    layers: Sequence[int] = (),
    tokens: int | None = None,
    *,
    monitor: Monitor | None = None,
) -> dict[int, str] | None:
    """Checksums of the matrices that :func:`collect_statistics` would find in the cache, by layer.

    Only heads of files are read; the text too, but only where a file in the cache was made from
    one of its name, so that nothing is fetched to learn that there is nothing.

    Args:
        model: as for :func:`collect_statistics`.
        text: as for :func:`collect_statistics`.
        layers: as for :func:`collect_statistics`.
        tokens: as for :func:`collect_statistics`.
        monitor: what to report to.

    Returns:
        None if the matrix of a layer is not there.

    Raises:
        InputError: if the text cannot be used or ``tokens`` is under one window.
    """
    source = open_text(text, model, monitor)
    wanted = _recipe(model, identity(model), source, tokens)
    checksum = ""
    for folder in sorted(statistics_dir().iterdir()):
        found: dict[int, str] = {}
        for layer in layers:
            try:
                recipe, checksums = read_head(folder / layer_file(wanted, layer).name)
            except (CorruptFileError, OSError):
                break
            if replace(recipe, text="") != wanted:
                break
            checksum = checksum or source.checksum()
            if recipe.text != checksum or layer not in checksums:
                break
            found[layer] = checksums[layer]
        else:
            return found
    return None


def _recipe(
    model: EditableModel, now: Identity, source: TextSource, tokens: int | None
) -> StatisticsSpec:
    """What statistics are made from, in whole windows; the text's checksum, which may cost, not."""
    window = window_length(model)
    tokens = default_tokens(model.architecture.inner_size) if tokens is None else tokens
    if tokens < window:
        raise InputError(f"tokens {tokens} is less than one window; give at least {window}")
    return StatisticsSpec(now, "", source.name, tokens - tokens % window, window)


def window_length(model: EditableModel) -> int:
    """Tokens in a packed window for this model."""
    return min(WINDOW, model.max_length or WINDOW)


def pack(
    documents: Iterable[str], model: EditableModel, window: int, tokens: int
) -> Iterator[list[int]]:
    """Windows of exactly ``window`` token ids, ``tokens`` in all.

    Documents follow each other, separated by the end-of-text token where the tokenizer has one;
    every window begins with the special tokens that the tokenizer begins a text with, if any.
    """
    tokenizer = model.tokenizer
    with_special, _ = encode(tokenizer, "x")
    plain = tokenizer("x", add_special_tokens=False)["input_ids"]
    start = with_special[: len(with_special) - len(plain)]
    end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
    buffer: list[int] = []
    body, left = window - len(start), tokens // window
    for document in documents:
        buffer += tokenizer(document, add_special_tokens=False, verbose=False)["input_ids"] + end
        for at in range(0, len(buffer) - body + 1, body):
            if left == 0:
                return
            yield start + buffer[at : at + body]
            left -= 1
        del buffer[: len(buffer) - len(buffer) % body]


class _Accumulator:
    """Running sums of ``k k^T``, upper triangle by pieces, with checkpoints on the disk."""

    def __init__(self, recipe: StatisticsSpec, layers: Sequence[int], keep: bool) -> None:
        self.recipe, self.layers, self.windows = recipe, list(layers), 0
        self.sums: dict[int, Tensor] = {}
        self._whole = True  # the sums hold exactly the counted windows
        self._file: Path | None = None
        self._saved = time.monotonic()
        if keep:
            name = blake2b(repr(self.layers).encode(), digest_size=8).hexdigest()
            self._file = layer_file(recipe, 0).with_name(f"checkpoint-{name}.safetensors")
            self._resume(self._file)

    def add(self, layer: int, keys: Tensor) -> None:
        """Add the keys of a chunk, (tokens, d_in)."""
        width = keys.shape[1]
        if layer not in self.sums:
            # MPS has no float64; there the products are added up on the CPU.
            device = "cpu" if keys.device.type == "mps" else keys.device
            self.sums[layer] = torch.zeros(width, width, dtype=torch.float64, device=device)
        self._whole = False
        add_outer_products(self.sums[layer], keys)

    def counted(self, windows: int) -> None:
        """Note that so many more windows are complete; write a checkpoint when it is time."""
        self.windows += windows
        self._whole = True
        if self._file is not None and time.monotonic() - self._saved > CHECKPOINT_SECONDS:
            self.save()

    def save(self) -> None:
        """Write a checkpoint; an interrupt amid a chunk leaves the last one as it is."""
        if self._file is None or not self.sums or not self._whole:
            return
        sums = {str(layer): total.cpu() for layer, total in self.sums.items()}
        save_tensors(self._file, sums, {"recipe": self.recipe.key(), "windows": str(self.windows)})
        self._saved = time.monotonic()

    def forget(self) -> None:
        """Remove the checkpoint of a pass that is complete."""
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def means(self) -> dict[int, LayerStatistics]:
        """C per layer: the mean over tokens, both triangles, float32 on the CPU."""
        count = self.windows * self.recipe.window
        result = {}
        for layer, total in self.sums.items():
            upper = total.triu().cpu() / count
            moment = (upper + upper.triu(1).T).float()
            if not bool(moment.isfinite().all()):
                raise SessionError(
                    f"layer {layer}: the keys of the text leave the finite numbers; load the model "
                    "in bfloat16 or float32"
                )
            result[layer] = LayerStatistics(layer, moment, count)
        return result

    def _resume(self, file: Path) -> None:
        try:
            sums, metadata = load_tensors(file, sealed=True)
            if metadata["recipe"] == self.recipe.key():
                windows, totals = int(metadata["windows"]), {int(n): t for n, t in sums.items()}
                if sorted(totals) != self.layers:
                    raise ValueError(f"{file}: holds layers {sorted(totals)}")
                self.windows, self.sums = windows, totals
        except FileNotFoundError:
            pass
        except (CorruptFileError, KeyError, ValueError) as error:
            log.warning("checkpoint not usable, starting from the beginning: %s", error)


def add_outer_products(total: Tensor, keys: Tensor) -> None:
    """``total += keys^T keys`` on and above the diagonal, in place.

    The product is symmetric, so pieces below the diagonal are left out: with d_in / 384 = 4 pieces
    a side, 10 of 16 are formed. Entries below the diagonal of the diagonal pieces are correct too,
    but only the upper triangle of ``total`` means anything.

    Args:
        total: (d_in, d_in), float64 (or wider than ``keys``).
        keys: (tokens, d_in).
    """
    keys = keys.float() if keys.dtype in (torch.float16, torch.bfloat16) else keys
    width = keys.shape[1]
    for top in range(0, width, _PIECE):
        rows = keys[:, top : top + _PIECE].T
        total[top : top + _PIECE, top:] += (rows @ keys[:, top:]).to(total.device)


@torch.no_grad()
def _run(
    model: EditableModel,
    windows: Iterator[list[int]],
    accumulator: _Accumulator,
    monitor: Monitor,
) -> dict[int, LayerStatistics]:
    recipe, last = accumulator.recipe, max(accumulator.layers)
    for layer, total in accumulator.sums.items():
        accumulator.sums[layer] = total.to("cpu" if model.device.type == "mps" else model.device)
    rest = islice(windows, accumulator.windows, None)
    done = accumulator.windows * recipe.window
    with monitor.stage("statistics", recipe.tokens, "token", done=done):
        try:
            while chunk := list(islice(rest, WINDOWS_AT_ONCE)):
                monitor.check()
                ids = torch.tensor(chunk, device=model.device)
                keys = keys_of(model, ids, accumulator.layers, last)
                for layer in accumulator.layers:
                    accumulator.add(layer, keys[layer])
                accumulator.counted(len(chunk))
                monitor.advance(len(chunk) * recipe.window)
        except BaseException:
            accumulator.save()
            raise
    complete = accumulator.windows * recipe.window
    if complete == 0:
        raise InputError(
            f'text "{recipe.text_name}" has less than {recipe.window} tokens; give a longer text'
        )
    if complete < recipe.tokens:
        log.warning("text %s has only %d tokens", recipe.text_name, complete)
    return accumulator.means()


def keys_of(
    model: EditableModel, ids: Tensor, layers: Sequence[int], last: int
) -> dict[int, Tensor]:
    """Keys (tokens, d_in) of several layers for one batch of windows, from one forward pass."""
    keys: dict[int, Tensor] = {}

    def reader(layer: int) -> Any:
        # Some architectures hand over (rows, tokens, d_in), others (rows * tokens, d_in).
        return lambda value: keys.__setitem__(layer, value.reshape(-1, value.shape[-1]))

    with ExitStack() as stack:
        for layer in layers:
            down = model.architecture.down_projections[layer]
            stack.enter_context(tap(down, reader(layer), ids.numel()))
        stack.enter_context(ending_before(model, last + 1))
        run_model(model, ids)
    return keys
