"""Divergence of the predictions of two states of a model on the same text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import record
from alphaedit_core.progress import Monitor

#: Positions per piece; the logits of both states for a piece are in memory together.
_POSITIONS = 64


@torch.no_grad()
def compare_outputs(
    model: EditableModel,
    before: Tensor,
    after: Tensor,
    labels: Tensor,
    monitor: Monitor | None = None,
) -> tuple[float, float, float, float]:
    """Compare the next-token distributions of two states of a model.

    Args:
        model: the model, in either state.
        before: outputs of the last block in the first state, (tokens, hidden_size).
        after: outputs of the last block in the second state, same shape.
        labels: the next tokens, (tokens,), int64.
        monitor: may cancel between pieces.

    Returns:
        Means over the tokens: KL(before || after) in nats, the share of tokens whose most likely
        next token differs, and the negative log-likelihoods of the labels before and after in nats.
    """
    monitor = monitor or Monitor(show=None)
    kl = nll_before = nll_after = 0.0
    differ, count = 0, len(labels)
    for start in range(0, count, _POSITIONS):
        monitor.check()
        piece = slice(start, start + _POSITIONS)
        p = model.architecture.logits(before[piece]).log_softmax(dim=-1)
        q = model.architecture.logits(after[piece]).log_softmax(dim=-1)
        kl += float(F.kl_div(q, p, reduction="sum", log_target=True))
        differ += int((p.argmax(dim=-1) != q.argmax(dim=-1)).sum())
        nll_before += float(F.nll_loss(p, labels[piece], reduction="sum"))
        nll_after += float(F.nll_loss(q, labels[piece], reduction="sum"))
    # KL is never negative, but rounding can make its float32 sum so.
    kl = 0.0 if kl < 0 else kl
    return kl / count, differ / count, nll_before / count, nll_after / count


def last_block_outputs(model: EditableModel, windows: Tensor, monitor: Monitor) -> Tensor:
    """Return the last block's outputs except at the last token: (windows, tokens - 1, hidden)."""
    outputs = []
    for window in windows:
        outputs.append(record(model, window[None, :-1], model.layers, model.layers).entry[0])
        monitor.advance()
    return torch.stack(outputs)
