"""Texts that the target search runs through the model, and the loss on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alphaedit_core.errors import StructureError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.hooks import own_hooks
from alphaedit_core.model.packed_rows import PackedRows
from alphaedit_core.model.tokenization import TokenizedFact

#: Module output that delta is added to: the last edited block's, its MLP's, or both its attention's
#: and its MLP's.
Place = Literal["block", "mlp", "attention and mlp"]


class SearchRows:
    """Texts of many facts that run through the blocks together, and the loss on them.

    Each fact has its bare prompt and its prompts with a context, all followed by the target without
    its last token, and the start of ``{subject} is a`` for the KL term.

    Args:
        model: the model.
        texts: the texts of this batch.
        requests: the tokenized facts that the texts refer to.
        last: index of the last edited block.
        place: module output that delta is added to.
        pack: False to run rows in groups of equal length instead of end to end.

    Attributes:
        facts: index of each row's fact, (rows,).
        nll_rows: rows whose target likelihood is in the loss.
        kl_rows: rows of the KL term.
        bare_rows: rows of the bare prompts.
    """

    def __init__(
        self,
        model: EditableModel,
        texts: Sequence[SearchText],
        requests: Sequence[TokenizedFact],
        last: int,
        place: Place,
        pack: bool = True,
    ) -> None:
        self._model, self._last = model, last
        #: Modules inside the last edited block that delta is added to; empty for the block's own
        #: output, as the search then starts after the block.
        self._delta_modules = _modules(model, last, place)
        start = last if self._delta_modules else last + 1
        self._suffixes = PackedRows(model, [text.cut(requests) for text in texts], start, pack)
        self._texts = [texts[index] for index in self._suffixes.order]
        self._requests = requests
        self._first_kl_logprobs: Tensor | None = None
        self._index()

    def _index(self) -> None:
        """Set the positions in the concatenated sequence that the loss reads."""
        device = self._model.device
        rows: list[int] = []
        positions: list[int] = []
        labels: list[int] = []
        counts: list[int] = []
        for row, (text, start) in enumerate(
            zip(self._texts, self._suffixes.starts.tolist(), strict=True)
        ):
            ids, cut = text.cut(self._requests)
            target = self._requests[text.fact].target if text.row is not None else ()
            end = start + len(ids) - cut
            rows += [row] * len(target)
            positions += range(end - len(target), end)
            labels += target
            counts.append(len(target))

        def indices(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        self._row_of, self._labels = indices(rows), indices(labels)
        self._positions = indices(positions)
        self._counts = indices(counts).clamp_min(1)
        self.facts = indices([text.fact for text in self._texts])
        self.nll_rows = indices([i for i, text in enumerate(self._texts) if text.row is not None])
        self.kl_rows = indices([i for i, text in enumerate(self._texts) if text.row is None])
        self.bare_rows = indices([i for i, text in enumerate(self._texts) if text.row == 0])

    def states(self, rows: Tensor) -> Tensor:
        """Return the outputs that delta is added to, without delta: (rows, parts, hidden)."""
        entry, at = self._suffixes.entry, self._suffixes.starts[rows]
        if not self._delta_modules:
            return entry[at][:, None]
        zero = entry.new_zeros(len(rows), len(self._delta_modules), entry.shape[1])
        with self._delta_added(zero, rows) as outputs:
            self._suffixes.run(entry, lambda: None, self._last + 1)
        return torch.stack([torch.cat(part)[at] for part in outputs], dim=1)

    @contextmanager
    def _delta_added(self, delta: Tensor, rows: Tensor) -> Iterator[list[list[Tensor]]]:
        """Add delta (rows, parts, hidden) to the modules' outputs within the context.

        Yields:
            By part, the modules' outputs without delta, (tokens, hidden) per group.
        """
        flat = self._suffixes.entry
        parts = range(len(self._delta_modules))
        deltas = [
            torch.zeros_like(flat).index_add(
                0, self._suffixes.starts[rows], delta[:, part].to(flat.dtype)
            )
            for part in parts
        ]
        offsets = [0 for _ in parts]  # tokens seen so far
        outputs: list[list[Tensor]] = [[] for _ in parts]

        def add_to(part: int) -> Callable[..., Any]:
            def add(_module: Any, _args: Any, out: Any) -> Any:
                hidden = out[0] if isinstance(out, tuple) else out
                width = hidden.shape[-1]
                first, offsets[part] = offsets[part], offsets[part] + hidden.numel() // width
                outputs[part].append(hidden.detach().reshape(-1, width))
                changed = hidden + deltas[part][first : offsets[part]].view_as(hidden)
                return (changed, *out[1:]) if isinstance(out, tuple) else changed

            return add

        with own_hooks() as hooks:
            for part, module in enumerate(self._delta_modules):
                hooks.after(module, add_to(part))
            yield outputs
        if any(tokens != len(flat) for tokens in offsets):
            raise StructureError(
                f"block {self._last}: its target modules returned {offsets} tokens in a pass of "
                f"{len(flat)}; they must process each token exactly once"
            )

    def keep(self, rows: Tensor) -> None:
        """Keep only the given rows (ascending indices)."""
        if self._first_kl_logprobs is not None:
            kept = torch.isin(self.kl_rows, rows)
            self._first_kl_logprobs = self._first_kl_logprobs[kept]
        self._suffixes.keep(rows)
        self._texts = [self._texts[i] for i in rows.tolist()]
        self._index()

    def losses(self, delta: Tensor, check: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Return the loss terms of each row.

        Args:
            delta: (n, parts, hidden), for all n facts.
            check: called between blocks; raises to cancel.

        Returns:
            Mean negative log-likelihood of the target's tokens, (nll_rows,), and the KL divergence
            from the first evaluation, (kl_rows,), both in nats.
        """
        entry, row_delta = self._suffixes.entry, delta[self.facts]
        if self._delta_modules:
            all_rows = torch.arange(len(self.facts), device=entry.device)
            with self._delta_added(row_delta, all_rows):
                out = self._suffixes.run(entry, check)
        else:
            hidden = entry.index_add(0, self._suffixes.starts, row_delta[:, 0].to(entry.dtype))
            out = self._suffixes.run(hidden, check)
        logits = self._model.architecture.logits
        token_nll = F.cross_entropy(logits(out[self._positions]), self._labels, reduction="none")
        total = token_nll.new_zeros(len(self.facts)).index_add(0, self._row_of, token_nll)
        nll = (total / self._counts)[self.nll_rows]
        logprobs = logits(out[self._suffixes.starts[self.kl_rows]]).log_softmax(dim=-1)
        if self._first_kl_logprobs is None:  # the first evaluation has delta = 0
            self._first_kl_logprobs = logprobs.detach()
        return nll, (logprobs.exp() * (logprobs - self._first_kl_logprobs)).sum(dim=-1)


def _modules(model: EditableModel, layer: int, place: Place) -> list[nn.Module]:
    """Return the modules in a block that delta is added to; none for the block's own output."""
    mlp = model.architecture.down_projections[layer]
    if place == "attention and mlp":
        return [model.architecture.attention(layer), mlp]
    return [mlp] if place == "mlp" else []


class SearchText(NamedTuple):
    """One text of one fact: a row of its request, or the start of the KL text if row is None."""

    fact: int
    row: int | None

    def cut(self, requests: Sequence[TokenizedFact]) -> tuple[tuple[int, ...], int]:
        """Return the token ids to run and the index of the subject's last token."""
        request = requests[self.fact]
        if self.row is None:
            return request.essence.ids, request.essence.subject
        row = request.rows[self.row]
        return row.ids + request.target[:-1], row.subject
