"""Statistics of keys, collected from a text of a few chunks."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import WINDOW

from alphaedit_core.covariance import collect as statistics
from alphaedit_core.covariance.collect import collect_statistics
from alphaedit_core.covariance.files import KeyStatistics
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor

#: Tokens of a tiny model that are read at once.
CHUNK = statistics.WINDOWS_AT_ONCE * WINDOW
quiet = Monitor(show=None)


def collect(
    model: EditableModel,
    text: Path,
    layers: tuple[int, ...] = (0, 2),
    tokens: int = 2 * CHUNK,
    monitor: Monitor = quiet,
    **options: bool,
) -> KeyStatistics:
    """Statistics of two layers, without a word."""
    return collect_statistics(model, text, layers, tokens, monitor=monitor, **options)


def same(a: KeyStatistics, b: KeyStatistics) -> bool:
    """Whether two statistics are of the same layers, moments and tokens, to the bit."""
    return list(a.layers) == list(b.layers) and all(
        torch.equal(a[layer].moment, b[layer].moment) and a[layer].tokens == b[layer].tokens
        for layer in a.layers
    )
