"""Check that packed rows, rows in groups and the model itself give the same hidden states.

Packing joins the cached keys and values inside the attention function. The result is wrong if a
block transforms keys or values between its cache and its attention (DiffLlama, latent attention).
No class attribute tells such models apart, so this module compares states and gradients once per
model, before the first target search.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from alphaedit_core.errors import StructureError
from alphaedit_core.progress import Monitor

from .editable_model import EditableModel
from .forward import pad_rows, record
from .load_checks import allowed_gap, gap
from .packed_rows import PackedRows

#: Token ids of the test rows, and the lengths of their prefixes; two suffixes have equal length.
_ROWS = (
    ((5, 9, 6, 7, 11, 8, 4), 4),
    ((12, 7, 8, 10, 6), 2),
    ((9, 6, 5, 12), 3),
    ((7, 13, 5), 0),
)


def may_pack(model: EditableModel, monitor: Monitor) -> bool:
    """Whether a search may pack rows of different lengths; warns if not.

    The check runs once per model.

    Raises:
        StructureError: if even rows in groups do not reproduce the states of the model's forward
            pass.
    """
    reason = model.remembered("packing", lambda: _reason_against(model))
    if reason:
        warning = (
            f"a {type(model.model).__name__} cannot take texts of different lengths laid end to "
            f"end ({reason}); they are searched in groups of one length, which is slower but exact"
        )
        if warning not in monitor.warnings:
            monitor.warn(warning)
    return not reason


def _reason_against(model: EditableModel) -> str:
    """Return why rows cannot be packed, or "" if they can."""
    vocabulary, allowed = model.architecture.vocabulary, allowed_gap(model.dtype)
    rows = [([token % vocabulary for token in ids], cut) for ids, cut in _ROWS]
    suffixes = PackedRows(model, rows, 0, pack=False)
    states, gradient = _run(suffixes)
    full = _full_pass_states(model, [ids for ids, _ in rows])
    expected = torch.cat([full[i][rows[i][1] : len(rows[i][0])] for i in suffixes.order])
    off = gap(states, expected)
    if not off <= allowed:
        raise StructureError(
            f"a {type(model.model).__name__} cannot be searched: its blocks, called again with the "
            f"recorded arguments, give states that differ from its forward pass by {off:.0%}"
        )
    try:
        if not suffixes.lay_end_to_end():
            return ""
        packed_states, packed_gradient = _run(suffixes)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a block may raise anything when it is called in an unusual way
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    off = max(gap(packed_states, states), gap(packed_gradient, gradient))
    return "" if off <= allowed else f"its hidden states would be off by {off:.0%}"


def _run(suffixes: PackedRows) -> tuple[Tensor, Tensor]:
    """Return the last block's output and the gradient of a fixed sum, (tokens, hidden) each."""
    with torch.enable_grad():
        entry = suffixes.entry.detach().clone().requires_grad_()
        out = suffixes.run(entry, lambda: None)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
        # Only of the change: the residual stream itself would dominate the gradient.
        (gradient,) = torch.autograd.grad(((out - entry) * weights).sum(), entry)
    return out.detach(), gradient


@torch.no_grad()
def _full_pass_states(model: EditableModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """Return the last block's output for whole texts, padded on the right, (texts, tokens, hidden).

    This is the model's ordinary forward pass, without a cache.
    """
    return record(model, pad_rows(texts, model.device), model.layers, model.layers).entry
