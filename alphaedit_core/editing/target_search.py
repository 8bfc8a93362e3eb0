"""Target search: find the hidden state that makes the model predict the new target.

For each fact, Adam optimizes a change ``delta`` of the residual stream after the last edited block,
at the subject's last token (Meng et al. 2022, section 3.1; Meng et al. 2023, Eq. 16; the loss
follows the released AlphaEdit code):

    ``loss = mean_rows -log p(target) + kl_factor KL(p || p_0) + weight_decay |delta| / |h0|^2``

The target value ``z = h0 + delta`` is what the down-projections have to produce.

The editor chooses h0 (:data:`~.target_rows.Place`): the output of the block (MEMIT, AlphaEdit) or
of its MLP (ROME). PMET optimizes the outputs of attention and MLP together and keeps the MLP's (Li
et al. 2024, section 4.1).

Everything that does not depend on delta is computed once:

- the blocks up to the last edited one and, in later blocks, all tokens before the subject's last
  token (their attention keys and values are cached);
- later blocks run only on the tokens from there on, and logits are computed only where the loss
  needs them; of ``{subject} is a`` only the subject's last token is run;
- all facts are optimized together, as they are independent, and a converged fact is dropped.

The rows of a batch are concatenated, so only cached prefixes are padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from alphaedit_core.errors import DivergedError, InputError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel, outside_inference_mode
from alphaedit_core.model.packing_check import may_pack
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.progress import Monitor

from .config import EditConfig
from .search_trace import Trace
from .target_rows import Place, SearchRows, SearchText


@dataclass(frozen=True)
class Targets:
    """Target values of a batch of n facts.

    Attributes:
        z: target output of the last edited block or of its MLP, (n, hidden_size), float32.
        h0: output of the same module before the edit, (n, hidden_size), float32.
        traces: one trace per fact.
        plan: the plan that was used; smaller than the given one if memory ran out.
    """

    z: Tensor
    h0: Tensor
    traces: list[Trace]
    plan: BatchPlan


def find_targets(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    hyperparameters: EditConfig,
    plan: BatchPlan,
    monitor: Monitor | None = None,
    place: Place = "block",
) -> Targets:
    """Search the target values of all facts together, on the current weights.

    If memory runs out, the search restarts with half as many tokens per pass.

    Args:
        model: the model.
        requests: n tokenized facts.
        hyperparameters: layers, steps and weights of the loss.
        plan: number of tokens per pass through the blocks.
        monitor: receives progress; checked for cancellation between blocks.
        place: module output that delta is added to.

    Raises:
        Canceled: if canceled; nothing was changed.
        StructureError: if ``place`` includes attention and a block has no attention module, or if
            the blocks cannot be rerun from their recorded calls.
        DivergedError: if a fact's target value is not finite (the model overflows).
        InputError: if the hidden state at a fact's subject is all zeros.
        torch.OutOfMemoryError: if even the smallest plan does not fit.
    """
    monitor = monitor or Monitor()
    while True:
        try:
            # The search needs gradients even if the caller has turned them off.
            with outside_inference_mode(), torch.enable_grad():
                return _search(model, requests, hyperparameters, plan, monitor, place)
        except torch.OutOfMemoryError:
            smaller = plan.halved()
            if smaller is None:
                raise
            monitor.warn(
                f"out of memory with {plan.tokens} tokens per pass; the search restarts with "
                f"{smaller.tokens}"
            )
            plan = smaller


def _search(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    hp: EditConfig,
    plan: BatchPlan,
    monitor: Monitor,
    place: Place,
) -> Targets:
    with monitor.stage("target values", hp.target_steps, "step") as stage:
        last = hp.layers[-1]
        with torch.no_grad():
            pack = may_pack(model, monitor)
            batches = _micro_batches(model, requests, last, place, plan, monitor, pack)
            h0 = _first_states(batches, len(requests))
        _check_norms(requests, h0)
        search = _Search(h0, hp)
        stage.detail = search.traces
        for step in range(hp.target_steps):
            search.evaluate(batches, monitor, learn=step + 1 < hp.target_steps)
            monitor.advance(note=search.note())
            batches = _without_converged(batches, search.active)
            if not batches:
                break
        z = search.z()
        for request, finite in zip(requests, z.isfinite().all(dim=1).tolist(), strict=True):
            if not finite:
                raise DivergedError(
                    f'fact "{request.fact.text}": its target value is not finite; lower '
                    "target_learning_rate, or load the model in float32"
                )
        return Targets(z, search.h0[:, -1], search.traces, plan)


def _micro_batches(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    last: int,
    place: Place,
    plan: BatchPlan,
    monitor: Monitor,
    pack: bool = True,
) -> list[SearchRows]:
    """Return the texts of all facts, in order, in batches of at most the plan's tokens."""
    batches: list[list[SearchText]] = [[]]
    tokens = 0
    for index, request in enumerate(requests):
        texts = [
            SearchText(index, None),
            *(SearchText(index, row) for row in range(len(request.rows))),
        ]
        for text in texts:
            ids, cut = text.cut(requests)
            if batches[-1] and tokens + len(ids) - cut > plan.tokens:
                batches.append([])
                tokens = 0
            batches[-1].append(text)
            tokens += len(ids) - cut
    rows = []
    for texts in batches:
        monitor.check()
        rows.append(SearchRows(model, texts, requests, last, place, pack))
    return rows


def _first_states(batches: Sequence[SearchRows], count: int) -> Tensor:
    """Return h0 at the bare prompts' last subject tokens, (n, parts, hidden)."""
    states = torch.cat([batch.states(batch.bare_rows) for batch in batches])
    facts = torch.cat([batch.facts[batch.bare_rows] for batch in batches])
    h0 = states.new_zeros(count, *states.shape[1:], dtype=_wide(states.dtype))
    h0[facts] = states.to(h0.dtype)
    return h0


def _check_norms(requests: Sequence[TokenizedFact], h0: Tensor) -> None:
    """Check that no h0 is zero, as the clamp and decay of delta are relative to its norm."""
    for request, norm in zip(requests, h0.norm(dim=2).min(dim=1).values.tolist(), strict=True):
        if norm == 0:
            raise InputError(
                f'fact "{request.fact.text}": the hidden state at its subject is all zeros (the '
                "weight of that block may be, too); edit other layers"
            )


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of delta, loss and optimizer: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def _without_converged(batches: Sequence[SearchRows], active: Tensor) -> list[SearchRows]:
    remaining = []
    for batch in batches:
        rows = active[batch.facts].nonzero()[:, 0]
        if len(rows) == 0:
            continue
        if len(rows) < len(batch.facts):
            batch.keep(rows)
        remaining.append(batch)
    return remaining


class _Search:
    """State of the search: Adam on delta of all facts that have not converged.

    Args:
        h0: outputs that delta is added to, (n, parts, hidden); every part has its own delta, decay
            and clamp.
        hp: steps and weights of the loss.
    """

    def __init__(self, h0: Tensor, hp: EditConfig) -> None:
        self.h0, self.hp = h0, hp
        self.delta = torch.zeros_like(h0, requires_grad=True)
        self.final = torch.zeros_like(h0)
        self.active = torch.ones(len(h0), dtype=torch.bool, device=h0.device)
        self.traces = [Trace() for _ in range(len(h0))]
        self.adam = torch.optim.Adam([self.delta], lr=hp.target_learning_rate, betas=(0.9, 0.999))

    def evaluate(self, batches: Sequence[SearchRows], monitor: Monitor, learn: bool) -> None:
        """Evaluate the loss of every active fact, then take one Adam step and clamp.

        Converged facts keep the delta that was evaluated; at the last evaluation (``learn`` false)
        all facts do.
        """
        hp, count = self.hp, len(self.h0)
        nll, kl, probability, rows = (torch.zeros_like(self.h0[:, 0, 0]) for _ in range(4))
        for batch in batches:
            rows += torch.bincount(batch.facts[batch.nll_rows], minlength=count)
        self.adam.zero_grad()
        for batch in batches:
            nll_facts, kl_facts = batch.facts[batch.nll_rows], batch.facts[batch.kl_rows]
            with torch.set_grad_enabled(learn):
                row_nll, row_kl = batch.losses(self.delta, monitor.check)
                row_kl = hp.kl_factor * row_kl
                if learn:
                    ((row_nll / rows[nll_facts]).sum() + row_kl.sum()).backward()
            row_nll = row_nll.detach()
            nll.index_add_(0, nll_facts, row_nll / rows[nll_facts])
            probability.index_add_(0, nll_facts, (-row_nll).exp() / rows[nll_facts])
            kl.index_add_(0, kl_facts, row_kl.detach())
        norm = self.h0.norm(dim=2)  # (n, parts)
        with torch.set_grad_enabled(learn):
            decay = (hp.weight_decay * self.delta.norm(dim=2) / norm**2).sum(dim=1)
        if learn:
            decay.sum().backward()
        decay = decay.detach()
        converged = self.active & (nll + kl + decay < hp.loss_stop)
        relative = self.delta.detach().norm(dim=2) / norm
        self._record(nll, kl, decay, probability, relative[:, -1])
        done = converged if learn else self.active.clone()
        self.final[done] = self.delta.detach()[done]
        for index in range(count):
            self.traces[index].converged |= bool(converged[index])
        self.active = self.active & ~done
        if learn:
            self.adam.step()
            self._clamp(hp.clamp_norm_factor * norm)

    def _clamp(self, max_norm: Tensor) -> None:
        with torch.no_grad():
            norm = self.delta.norm(dim=2)
            over = norm > max_norm
            self.delta[over] *= (max_norm / norm)[over, None]
            for index in self.active.nonzero()[:, 0].tolist():
                self.traces[index].clamped = bool(over[index].any())

    def _record(self, *columns: Tensor) -> None:
        active = self.active.nonzero()[:, 0].tolist()
        names = ("nll", "kl", "decay", "probability", "delta")
        for name, column in zip(names, columns, strict=True):
            values = column.tolist()
            for index in active:
                getattr(self.traces[index], name).append(values[index])

    def note(self) -> str:
        """Return the mean loss and the number of finished facts as text."""
        last = [trace.loss[-1] for trace in self.traces]
        return f"loss {sum(last) / len(last):.2f}, {int((~self.active).sum())} of {len(last)} done"

    def z(self) -> Tensor:
        """Return the target values, (n, hidden), of the last part."""
        return (self.h0 + self.final)[:, -1]
