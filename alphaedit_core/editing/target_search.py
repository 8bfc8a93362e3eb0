"""Target values: the hidden state that would make the model say the new target.

For each fact a change ``delta`` of the residual stream after the last edited block, at the
subject's last token, is found with Adam (Meng et al. 2022, ROME, section 3.1; MEMIT, Eq. 16; the
loss as the released AlphaEdit code has it). ``z = h0 + delta`` is what the down-projections shall
then produce.

What h0 is, the editor says (:data:`~.target_rows.Place`): the block's output (MEMIT, AlphaEdit), or
the MLP's (ROME), which is another length to measure delta by. PMET moves the outputs of the
attention and of the MLP together (Li et al. 2024, section 4.1) and keeps the MLP's.

What does not depend on delta is computed once and reused, so that a step costs only what it must:

- blocks up to the last edited one, and in later blocks all tokens before the subject's last one
  (their attention keys and values are kept);
- of the text behind, only the tokens that carry the change on, and logits only where the loss reads
  them; of ``{subject} is a`` only the subject's last token;
- facts are independent, so all are optimized together, and one that has converged leaves.

All rows of a batch go through a block end to end, so nothing is padded but cached prefixes, which
only attention sees.
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
from .target_rows import Place, _Rows, _Text


@dataclass(frozen=True)
class Targets:
    """Target values of a batch.

    Attributes:
        z: (n, hidden_size), float32: the wanted output of the last edited block, or of its MLP.
        h0: the output before, at the same place.
        traces: one per fact.
        plan: the plan that was used; smaller than the one given where memory ran out.
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
    """Target values for all facts at once, on the model as it stands.

    Where memory runs out the search starts again with half as many tokens at once.

    Args:
        model: the model.
        requests: the facts as tokens.
        hyperparameters: layers, steps and the loss.
        plan: how many tokens go through the blocks together.
        monitor: what to report to; it is asked between blocks whether to stop.
        place: what delta is added to.

    Raises:
        Canceled: if canceled; nothing was changed.
        StructureError: if the place is the attention's, and a block has none as a module; if the
            blocks cannot be run again from what they were called with.
        DivergedError: if a target value is not finite (the model overflows); names the fact.
        InputError: if the state at a fact's subject is all zeros.
        torch.OutOfMemoryError: if not even the smallest plan fits.
    """
    monitor = monitor or Monitor()
    while True:
        try:
            # Whatever the caller is in: there is no search without gradients.
            with outside_inference_mode(), torch.enable_grad():
                return _search(model, requests, hyperparameters, plan, monitor, place)
        except torch.OutOfMemoryError:
            smaller = plan.halved()
            if smaller is None:
                raise
            monitor.warn(
                f"out of memory with {plan.tokens} tokens at once; the search begins again with "
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
        _check_lengths(requests, h0)
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
                    f'fact "{request.fact.text}": the search for its target value left the finite '
                    "numbers; lower target_learning_rate, or load the model in float32"
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
) -> list[_Rows]:
    """All texts of all facts, a fact's together, in batches of at most the plan's tokens."""
    batches: list[list[_Text]] = [[]]
    tokens = 0
    for index, request in enumerate(requests):
        texts = [_Text(index, None), *(_Text(index, row) for row in range(len(request.rows)))]
        for text in texts:
            ids, cut = text.cut(requests)
            if batches[-1] and tokens + len(ids) - cut > plan.tokens:
                batches.append([])
                tokens = 0
            batches[-1].append(text)
            tokens += len(ids) - cut
    made = []
    for texts in batches:
        monitor.check()
        made.append(_Rows(model, texts, requests, last, place, pack))
    return made


def _first_states(batches: Sequence[_Rows], count: int) -> Tensor:
    """h0 of every fact, (n, parts, hidden): at the subject's end in the bare prompt."""
    states = torch.cat([batch.states(batch.prompt_keys) for batch in batches])
    facts = torch.cat([batch.facts[batch.prompt_keys] for batch in batches])
    h0 = states.new_zeros(count, *states.shape[1:], dtype=_wide(states.dtype))
    h0[facts] = states.to(h0.dtype)
    return h0


def _check_lengths(requests: Sequence[TokenizedFact], h0: Tensor) -> None:
    """Refuse a state of length 0, to which no change has a length in proportion."""
    for request, length in zip(requests, h0.norm(dim=2).min(dim=1).values.tolist(), strict=True):
        if length == 0:
            raise InputError(
                f'fact "{request.fact.text}": the state that its target value is to replace is all '
                "zeros (so is the weight of that block, perhaps); edit other layers"
            )


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that delta, loss and optimizer work in: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def _without_converged(batches: Sequence[_Rows], active: Tensor) -> list[_Rows]:
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
    """Adam on the changes of all facts, which take part until they converge.

    Args:
        h0: what delta is added to, (n, parts, hidden); each part has a delta, decay and clamp of
            its own.
        hp: steps and the loss.
    """

    def __init__(self, h0: Tensor, hp: EditConfig) -> None:
        self.h0, self.hp = h0, hp
        self.delta = torch.zeros_like(h0, requires_grad=True)
        self.final = torch.zeros_like(h0)
        self.active = torch.ones(len(h0), dtype=torch.bool, device=h0.device)
        self.traces = [Trace() for _ in range(len(h0))]
        self.adam = torch.optim.Adam([self.delta], lr=hp.target_learning_rate, betas=(0.9, 0.999))

    def evaluate(self, batches: Sequence[_Rows], monitor: Monitor, learn: bool) -> None:
        """Loss and gradient of every active fact, one step of Adam, and the clamp.

        Facts whose loss is low enough, or all if this is the last evaluation (``learn`` false),
        keep the delta that was evaluated.
        """
        hp, count = self.hp, len(self.h0)
        nll, kl, probability, rows = (torch.zeros_like(self.h0[:, 0, 0]) for _ in range(4))
        for batch in batches:
            rows += torch.bincount(batch.facts[batch.worded], minlength=count)
        self.adam.zero_grad()
        for batch in batches:
            worded, essence = batch.facts[batch.worded], batch.facts[batch.essence]
            with torch.set_grad_enabled(learn):
                row_nll, row_kl = batch.losses(self.delta, monitor.check)
                row_kl = hp.kl_factor * row_kl
                if learn:
                    ((row_nll / rows[worded]).sum() + row_kl.sum()).backward()
            row_nll = row_nll.detach()
            nll.index_add_(0, worded, row_nll / rows[worded])
            probability.index_add_(0, worded, (-row_nll).exp() / rows[worded])
            kl.index_add_(0, essence, row_kl.detach())
        length = self.h0.norm(dim=2)
        with torch.set_grad_enabled(learn):
            decay = (hp.weight_decay * self.delta.norm(dim=2) / length**2).sum(dim=1)
        if learn:
            decay.sum().backward()
        decay = decay.detach()
        converged = self.active & (nll + kl + decay < hp.loss_stop)
        moved = self.delta.detach().norm(dim=2) / length
        self._note(nll, kl, decay, probability, moved[:, -1])
        done = converged if learn else self.active.clone()
        self.final[done] = self.delta.detach()[done]
        for index in range(count):
            self.traces[index].converged |= bool(converged[index])
        self.active = self.active & ~done
        if learn:
            self.adam.step()
            self._clamp(hp.clamp_norm_factor * length)

    def _clamp(self, longest: Tensor) -> None:
        with torch.no_grad():
            length = self.delta.norm(dim=2)
            over = length > longest
            self.delta[over] *= (longest / length)[over, None]
            for index in self.active.nonzero()[:, 0].tolist():
                self.traces[index].clamped = bool(over[index].any())

    def _note(self, *columns: Tensor) -> None:
        active = self.active.nonzero()[:, 0].tolist()
        names = ("nll", "kl", "decay", "probability", "delta")
        for name, column in zip(names, columns, strict=True):
            values = column.tolist()
            for index in active:
                getattr(self.traces[index], name).append(values[index])

    def note(self) -> str:
        """Where the search stands, in a few words."""
        last = [trace.loss[-1] for trace in self.traces]
        return f"loss {sum(last) / len(last):.2f}, {int((~self.active).sum())} of {len(last)} done"

    def z(self) -> Tensor:
        """What is to be written, (n, hidden): of several parts the last."""
        return (self.h0 + self.final)[:, -1]
