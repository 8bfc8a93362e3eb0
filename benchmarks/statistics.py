"""Statistics: one pass for all layers against one pass per layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256
from itertools import islice

import torch
from torch import Tensor

from alphaedit_core.corpora.sources import TextSource, open_text
from alphaedit_core.covariance.collect import (
    WINDOWS_AT_ONCE,
    collect_statistics,
    pack,
    window_length,
)
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import run_model, tap
from alphaedit_core.progress import Monitor

from .arithmetic import blocks_cost
from .machine import Machine
from .report import Ratio, Report, figure
from .timing import say, timed

WANTED = 3.0


class _InMemory:
    """The beginning of a text, kept in memory, so that reading files is no part of the time."""

    name = "in memory"

    def __init__(self, source: TextSource, characters: int) -> None:
        self._documents: list[str] = []
        for document in source.documents():
            self._documents.append(document[:characters])
            characters -= len(document)
            if characters <= 0:
                break

    def documents(self) -> Iterator[str]:
        return iter(self._documents)

    def checksum(self) -> str:
        return sha256("".join(self._documents).encode()).hexdigest()


def benchmark(
    model: EditableModel,
    machine: Machine,
    tokens: int = 16_384,
    layers: Sequence[int] = (),
    text: str | TextSource = "wikipedia-sample",
) -> Report:
    """Seconds for the second moments of several layers.

    Args:
        model: the model, unedited.
        machine: where this runs.
        tokens: how many are read, the same for all.
        layers: None for the model's preset.
        text: a source of running text.
    """
    layers = list(layers or default_hyperparameters(model).layers)
    window = window_length(model)
    tokens -= tokens % (window * WINDOWS_AT_ONCE)  # whole chunks, so that all chunks are alike
    tokens = max(tokens, window * WINDOWS_AT_ONCE)
    # A token has fewer than eight characters on average, in any text of words.
    source = _InMemory(open_text(text, model), 8 * tokens)

    def collect(wanted: Sequence[int], budget: int = tokens) -> dict[int, Tensor]:
        quiet = Monitor(show=None)
        found = collect_statistics(model, source, wanted, budget, cache=False, monitor=quiet)
        if found.spec.tokens != budget or any(s.tokens != budget for s in found.layers.values()):
            raise AssertionError("the text is shorter than the budget")
        return {layer: found[layer].moment for layer in wanted}

    say("statistics: warming up")
    collect(layers, window * WINDOWS_AT_ONCE)
    middle = len(layers) // 2
    apart: dict[int, Tensor] = {}
    apart_seconds = 0.0
    say(f"statistics: {tokens} tokens, one pass for {len(layers)} layers between passes for each")
    for layer in layers[:middle]:
        own, seconds = timed(partial(collect, [layer]))
        apart, apart_seconds = apart | own, apart_seconds + seconds
    together, together_seconds = timed(partial(collect, layers))
    for layer in layers[middle:]:
        own, seconds = timed(partial(collect, [layer]))
        apart, apart_seconds = apart | own, apart_seconds + seconds
    say("statistics: one pass through all blocks")
    plain, plain_seconds = timed(lambda: _plain_pass(model, source, layers[-1], tokens))
    plain_seconds *= len(layers)

    report = Report("statistics", "Statistics of keys")
    far = max(_distance(apart[layer], together[layer]) for layer in layers)
    report.check("second moments of one pass and of one pass per layer", far, 1e-6)
    far = _distance(plain, together[layers[-1]])
    report.check("second moments in blocks in float64 and dense in float32", far, 1e-4)

    report.columns = (
        "", "seconds", "tokens/s", "ratio", "floor GFLOP", "GFLOP/s", "share of peak"
    )  # fmt: skip
    count = len(layers)
    for name, seconds, operations in (
        (f"one pass for {count} layers", together_seconds, least(model, layers) * tokens),
        (
            f"{count} passes, each stopped at its layer",
            apart_seconds,
            sum(least(model, [layer]) for layer in layers) * tokens,
        ),
        (
            f"{count} passes through all blocks, dense products",
            plain_seconds,
            count * (blocks_cost(model, 0, model.layers) + 2 * len(plain) ** 2) * tokens,
        ),
    ):
        rate = operations / seconds / 1e9
        report.rows.append(
            (
                name, figure(seconds), figure(tokens / seconds),
                f"{figure(seconds / together_seconds)} ×", figure(operations / 1e9), figure(rate),
                machine.share(rate),
            )
        )  # fmt: skip
    report.ratios = [
        Ratio(f"one pass for {count} layers", apart_seconds / together_seconds, WANTED),
        Ratio("against passes through all blocks", plain_seconds / together_seconds),
    ]
    report.notes = [
        f"{tokens:,} tokens in windows of {window}, layers {layers}; the same tokens and windows "
        "for all rows.",
        "Floor: 2 × parameters × tokens up to the last key, and half of each symmetric product.",
        f"Only one pass through all blocks was run, and its time multiplied by {count}: the passes "
        "cost the same.",
    ]
    return report


def least(model: EditableModel, layers: Sequence[int]) -> float:
    """Operations per token: blocks up to the last key, and symmetric products."""
    last = max(layers)
    down, size = model.architecture.matrix(last).numel(), model.architecture.inner_size
    return blocks_cost(model, 0, last + 1) - 2 * down + len(layers) * size * (size + 1)


@torch.no_grad()
def _plain_pass(model: EditableModel, source: TextSource, layer: int, tokens: int) -> Tensor:
    """One layer's second moment by the whole model and a dense float32 product."""
    size = model.architecture.inner_size
    total = torch.zeros(size, size)
    windows = pack(source.documents(), model, window_length(model), tokens)

    def add(keys: Tensor) -> None:
        flat = keys.reshape(-1, size).float()
        total.add_((flat.T @ flat).cpu())

    with tap(model.architecture.down_projections[layer], add):
        while chunk := list(islice(windows, WINDOWS_AT_ONCE)):
            run_model(model, torch.tensor(chunk, device=model.device))
    return total / tokens


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())
