"""The rows of text that a search for target values runs through the model."""

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

#: What delta is added to: the last edited block's output, its MLP's, or its attention's and its
#: MLP's at once.
Place = Literal["block", "mlp", "attention and mlp"]


class _Rows:
    """Texts of many facts that go through the blocks together, and what the loss reads of them.

    Every fact gives its bare prompt, its prompts with a context (all followed by the target's
    tokens but the last), and the beginning of ``{subject} is a`` for the KL term.
    """

    def __init__(
        self,
        model: EditableModel,
        texts: Sequence[_Text],
        requests: Sequence[TokenizedFact],
        last: int,
        place: Place,
        pack: bool = True,
    ) -> None:
        self._model, self._last = model, last
        #: Modules inside the last edited block whose output delta is added to; none for the
        #: block's own output, after which the search begins.
        self._moved_modules = _modules(model, last, place)
        start = last if self._moved_modules else last + 1
        self._suffixes = PackedRows(model, [text.cut(requests) for text in texts], start, pack)
        self._texts = [texts[index] for index in self._suffixes.order]
        self._requests = requests
        self._before: Tensor | None = None
        self._index()

    def _index(self) -> None:
        """Where in the flat sequence the loss reads, for the rows that are here now."""
        device = self._model.device
        rows: list[int] = []
        places: list[int] = []
        labels: list[int] = []
        counts: list[int] = []
        for row, (text, start) in enumerate(
            zip(self._texts, self._suffixes.starts.tolist(), strict=True)
        ):
            ids, cut = text.cut(self._requests)
            target = self._requests[text.fact].target if text.row is not None else ()
            end = start + len(ids) - cut
            rows += [row] * len(target)
            places += range(end - len(target), end)
            labels += target
            counts.append(len(target))

        def indices(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        self._row_of, self._places, self._labels = indices(rows), indices(places), indices(labels)
        self._counts = indices(counts).clamp_min(1)
        self.facts = indices([text.fact for text in self._texts])
        #: Rows that the likelihood is read from, and those that the KL term is.
        self.worded = indices([i for i, text in enumerate(self._texts) if text.row is not None])
        self.essence = indices([i for i, text in enumerate(self._texts) if text.row is None])
        self.prompt_keys = indices([i for i, text in enumerate(self._texts) if text.row == 0])

    def states(self, rows: Tensor) -> Tensor:
        """What delta is added to, at the subject's last token of rows: (rows, parts, hidden)."""
        entry, at = self._suffixes.entry, self._suffixes.starts[rows]
        if not self._moved_modules:
            return entry[at][:, None]
        nothing = entry.new_zeros(len(rows), len(self._moved_modules), entry.shape[1])
        with self._moved(nothing, rows) as seen:
            self._suffixes.run(entry, lambda: None, self._last + 1)
        return torch.stack([torch.cat(part)[at] for part in seen], dim=1)

    @contextmanager
    def _moved(self, delta: Tensor, rows: Tensor) -> Iterator[list[list[Tensor]]]:
        """While open, the moved modules give delta (rows, parts, hidden) more.

        What each puts out without it is noted, (tokens, hidden) by group.
        """
        flat = self._suffixes.entry
        parts = range(len(self._moved_modules))
        fields = [
            torch.zeros_like(flat).index_add(
                0, self._suffixes.starts[rows], delta[:, part].to(flat.dtype)
            )
            for part in parts
        ]
        done = [0 for _ in parts]
        seen: list[list[Tensor]] = [[] for _ in parts]

        def adding(part: int) -> Callable[..., Any]:
            def add(_module: Any, _args: Any, out: Any) -> Any:
                own = out[0] if isinstance(out, tuple) else out
                first, done[part] = done[part], done[part] + own.numel() // own.shape[-1]
                seen[part].append(own.detach().reshape(-1, own.shape[-1]))
                moved = own + fields[part][first : done[part]].view_as(own)
                return (moved, *out[1:]) if isinstance(out, tuple) else moved

            return add

        with own_hooks() as hooks:
            for part, module in enumerate(self._moved_modules):
                hooks.after(module, adding(part))
            yield seen
        if any(tokens != len(flat) for tokens in done):
            raise StructureError(
                f"{done} tokens came out of the modules that are searched at in block "
                f"{self._last} in a pass of {len(flat)}; every token is to go through them once"
            )

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (ascending indices)."""
        if self._before is not None:
            stays = torch.isin(self.essence, rows)
            self._before = self._before[stays]
        self._suffixes.keep(rows)
        self._texts = [self._texts[i] for i in rows.tolist()]
        self._index()

    def losses(self, delta: Tensor, check: Callable[[], None]) -> tuple[Tensor, Tensor]:
        """Mean negative log-likelihood of each worded row, and KL(now || before) of each other."""
        entry, own = self._suffixes.entry, delta[self.facts]
        if self._moved_modules:
            every = torch.arange(len(self.facts), device=entry.device)
            with self._moved(own, every):
                out = self._suffixes.run(entry, check)
        else:
            hidden = entry.index_add(0, self._suffixes.starts, own[:, 0].to(entry.dtype))
            out = self._suffixes.run(hidden, check)
        logits = self._model.architecture.logits
        each = F.cross_entropy(logits(out[self._places]), self._labels, reduction="none")
        total = each.new_zeros(len(self.facts)).index_add(0, self._row_of, each)
        nll = (total / self._counts)[self.worded]
        now = logits(out[self._suffixes.starts[self.essence]]).log_softmax(dim=-1)
        if self._before is None:  # the first evaluation has delta = 0
            self._before = now.detach()
        return nll, (now.exp() * (now - self._before)).sum(dim=-1)


def _modules(model: EditableModel, layer: int, place: Place) -> list[nn.Module]:
    """The modules of a block whose outputs are moved; none where it is the block's own."""
    mlp = model.architecture.down_projections[layer]
    if place == "attention and mlp":
        return [model.architecture.attention(layer), mlp]
    return [mlp] if place == "mlp" else []


class _Text(NamedTuple):
    """One text of one fact: a row of its request, or (None) the beginning of the KL text."""

    fact: int
    row: int | None

    def cut(self, requests: Sequence[TokenizedFact]) -> tuple[tuple[int, ...], int]:
        """Token ids as they are fed, and the index of the subject's last one."""
        request = requests[self.fact]
        if self.row is None:
            return request.essence.ids, request.essence.subject
        row = request.rows[self.row]
        return row.ids + request.target[:-1], row.subject
