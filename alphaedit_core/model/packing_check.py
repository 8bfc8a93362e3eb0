"""Whether rows laid end to end measure the same model as rows in groups, and those the model.

Where a block does something to keys or values between its cache and its attention (DiffLlama,
latent attention), joining the cached ones in the attention function gives another model. No flag of
a class says so. It is tried once, with a gradient, before the first search.
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

#: Token ids of the rows, and where what is kept of each ends; two suffixes are of one length.
_ROWS = (
    ((5, 9, 6, 7, 11, 8, 4), 4),
    ((12, 7, 8, 10, 6), 2),
    ((9, 6, 5, 12), 3),
    ((7, 13, 5), 0),
)


def may_pack(model: EditableModel, monitor: Monitor) -> bool:
    """Whether rows may be laid end to end in a search; tried once per model, and said if not.

    Raises:
        StructureError: if not even rows in groups give the states of the model's own forward pass.
    """
    why = model.remembered("packing", lambda: _why_not(model))
    if why:
        words = (
            f"a {type(model.model).__name__} cannot take texts of different lengths laid end to "
            f"end ({why}); they are searched in groups of one length, which is slower and exact"
        )
        if words not in monitor.warnings:
            monitor.warn(words)
    return not why


def _why_not(model: EditableModel) -> str:
    vocabulary, allowed = model.architecture.vocabulary, allowed_gap(model.dtype)
    rows = [([token % vocabulary for token in ids], cut) for ids, cut in _ROWS]
    suffixes = PackedRows(model, rows, 0, pack=False)
    states, gradient = _run(suffixes)
    own = _own_states(model, [ids for ids, _ in rows])
    expected = torch.cat([own[i][rows[i][1] : len(rows[i][0])] for i in suffixes.order])
    off = gap(states, expected)
    if not off <= allowed:
        raise StructureError(
            f"a {type(model.model).__name__} cannot be searched: its blocks, run again with what "
            f"they were called with, give other states than its own pass does (off by {off:.0%})"
        )
    try:
        if not suffixes.lay_end_to_end():
            return ""
        found, slope = _run(suffixes)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a block says that is called in an unusual way
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    off = max(gap(found, states), gap(slope, gradient))
    return "" if off <= allowed else f"its hidden states would be off by {off:.0%}"


def _run(suffixes: PackedRows) -> tuple[Tensor, Tensor]:
    """The last block's output, and the gradient of a fixed sum of it, (tokens, hidden) each."""
    with torch.enable_grad():
        entry = suffixes.entry.detach().clone().requires_grad_()
        out = suffixes.run(entry, lambda: None)
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
        # Of the change alone: the stream passes every block as it is, which would hide the rest.
        (gradient,) = torch.autograd.grad(((out - entry) * weights).sum(), entry)
    return out.detach(), gradient


@torch.no_grad()
def _own_states(model: EditableModel, texts: Sequence[Sequence[int]]) -> Tensor:
    """What the model's own pass over whole texts gives, padded behind: (texts, tokens, hidden)."""
    return record(model, pad_rows(texts, model.device), model.layers, model.layers).entry
