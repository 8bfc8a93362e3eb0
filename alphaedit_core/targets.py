"""Target values: the hidden state that would make the model say the new target.

For each fact a change ``delta`` of the residual stream after the last edited block, at the subject's
last token, is found with Adam (Meng et al. 2022, ROME, section 3.1; MEMIT, Eq. 16; the loss as the
released AlphaEdit code has it). ``z = h0 + delta`` is what the down-projections shall then produce.

What does not depend on delta is computed once and reused, so that a step costs only what it must:

- blocks up to the last edited one, and in later blocks all tokens before the subject's last one
  (their attention keys and values are kept);
- of the text behind, only the tokens that carry the change on, and logits only where the loss reads
  them; of ``{subject} is a`` only the subject's last token;
- facts are independent, so all are optimised together, and one that has converged leaves.

Rows are grouped by the number of tokens from the subject's last one on, so nothing is padded but
cached prefixes, which only attention sees.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.cache_utils import DynamicCache

from .forward import cache_prefix, pad_rows, proceed, record
from .hyperparameters import HyperParameters
from .memory import BatchPlan
from .models import EditableModel
from .progress import Monitor
from .prompts import Request

log = logging.getLogger(__name__)


@dataclass
class Trace:
    """What happened to one fact in the search, one number per evaluation of the loss.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens, over the rows (nats).
        kl: KL divergence from the distribution before, times its factor.
        decay: penalty on the length of delta, times its factor.
        probability: mean over the rows of the geometric mean of the target tokens' probabilities.
        delta: norm of delta relative to the hidden state's.
        clamped: True if delta was last cut back to its longest allowed length.
        converged: True if the loss came under ``loss_stop``.
    """

    nll: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    decay: list[float] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    delta: list[float] = field(default_factory=list)
    clamped: bool = False
    converged: bool = False

    @property
    def loss(self) -> list[float]:
        """The sum of the three terms at every evaluation."""
        return [sum(terms) for terms in zip(self.nll, self.kl, self.decay, strict=True)]


@dataclass(frozen=True)
class Targets:
    """Target values of a batch.

    Attributes:
        z: (n, hidden_size), float32: the wanted output of the last edited block.
        h0: the output before, at the same place.
        traces: one per fact.
        plan: the plan that was used; smaller than the one given where memory ran out.
    """

    z: Tensor
    h0: Tensor
    traces: list[Trace]
    plan: BatchPlan


@dataclass
class _Line:
    """One row of the search: a text of one fact, from which the loss reads something."""

    fact: int
    ids: tuple[int, ...]
    subject: int
    target: tuple[int, ...] = ()  # empty for the KL row
    bare: bool = False


class _MicroBatch:
    """Rows of equal length behind the subject that go through the blocks together."""

    def __init__(self, model: EditableModel, lines: list[_Line], start: int) -> None:
        device = model.device
        self.model, self.start = model, start
        self.facts = torch.tensor([line.fact for line in lines], device=device)
        prefixes = [line.ids[: line.subject] for line in lines]
        suffix = torch.tensor([line.ids[line.subject :] for line in lines], device=device)
        before = torch.tensor([line.subject for line in lines], device=device)
        self.cache: DynamicCache = cache_prefix(model, pad_rows(prefixes, device))
        longest = max(len(prefix) for prefix in prefixes)
        real = torch.arange(longest, device=device) < before[:, None]
        seen = torch.cat([real, torch.ones_like(suffix, dtype=torch.bool)], dim=1).long()
        recording = record(
            model,
            suffix,
            start,
            model.layers,
            positions=before[:, None] + torch.arange(suffix.shape[1], device=device),
            # Without padding no mask is needed, and attention kernels are faster without.
            mask=None if bool(real.all()) else seen,
            cache=self.cache,
        )
        self.entry, self.calls = recording.entry, recording.calls
        # Earlier blocks are not run again.
        for layer in self.cache.layers[:start]:
            layer.reset()
        self.is_kl = not lines[0].target
        self.bare = [row for row, line in enumerate(lines) if line.bare]
        width = suffix.shape[1]
        counts = [len(line.target) for line in lines]

        def indices(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        # One entry per target token of the batch: its row, the column that predicts it, its id.
        self.rows = indices([row for row, n in enumerate(counts) for _ in range(n)])
        self.columns = indices([width - n + i for n in counts for i in range(n)])
        self.labels = indices([token for line in lines for token in line.target])
        self.counts = indices(counts)
        self.before_kl: Tensor | None = None

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (indices, ascending)."""
        batch = len(self.facts)
        new_index = torch.full((batch,), -1, device=rows.device)
        new_index[rows] = torch.arange(len(rows), device=rows.device)
        self.calls = [call.select(rows, batch) for call in self.calls]
        for layer in self.cache.layers[self.start :]:
            layer.batch_select_indices(rows)
        self.entry, self.facts, self.counts = self.entry[rows], self.facts[rows], self.counts[rows]
        still = new_index[self.rows] >= 0
        self.rows, self.columns = new_index[self.rows[still]], self.columns[still]
        self.labels = self.labels[still]
        if self.before_kl is not None:
            self.before_kl = self.before_kl[rows]

    def output(self, delta: Tensor, monitor: Monitor) -> Tensor:
        """Output of the last block (rows, tokens, hidden) with delta at the subject's last token."""
        hidden = self.entry.clone()
        hidden[:, 0] += delta[self.facts].to(hidden.dtype)
        return proceed(self.model, hidden, self.calls, self.start, monitor.check)

    def nll(self, delta: Tensor, monitor: Monitor) -> Tensor:
        """Mean negative log-likelihood of each row's target tokens, (rows,), float32."""
        hidden = self.output(delta, monitor)[self.rows, self.columns]
        each = F.cross_entropy(self.model.anatomy.logits(hidden), self.labels, reduction="none")
        total = torch.zeros(len(self.facts), dtype=each.dtype, device=each.device)
        return total.index_add(0, self.rows, each) / self.counts

    def kl(self, delta: Tensor, monitor: Monitor) -> Tensor:
        """KL(now || before) of each row's next-token distribution, (rows,), float32."""
        hidden = self.output(delta, monitor)[:, 0]
        now = self.model.anatomy.logits(hidden).log_softmax(dim=-1)
        if self.before_kl is None:  # the first evaluation has delta = 0
            self.before_kl = now.detach()
        return (now.exp() * (now - self.before_kl)).sum(dim=-1)


def find_targets(
    model: EditableModel,
    requests: Sequence[Request],
    hyperparameters: HyperParameters,
    plan: BatchPlan,
    monitor: Monitor | None = None,
) -> Targets:
    """Target values for all facts at once, on the model as it stands.

    Where memory runs out the search starts again with half as many tokens at once.

    Args:
        model: the model.
        requests: the facts as tokens.
        hyperparameters: layers, steps and the loss.
        plan: how many tokens go through the blocks together.
        monitor: what to report to; it is asked between blocks whether to stop.

    Raises:
        Cancelled: if cancelled; nothing was changed.
        torch.OutOfMemoryError: if not even the smallest plan fits.
    """
    monitor = monitor or Monitor()
    while True:
        try:
            return _search(model, requests, hyperparameters, plan, monitor)
        except torch.OutOfMemoryError:
            smaller = plan.halved()
            if smaller is None:
                raise
            log.warning("out of memory with %d tokens at once; trying half", plan.tokens)
            plan = smaller


def _search(
    model: EditableModel,
    requests: Sequence[Request],
    hp: HyperParameters,
    plan: BatchPlan,
    monitor: Monitor,
) -> Targets:
    with monitor.stage("target values", hp.steps, "step"):
        with torch.no_grad():
            batches = _micro_batches(model, requests, hp.layers[-1] + 1, plan, monitor)
        search = _Search(_first_states(batches, len(requests)), hp)
        for step in range(hp.steps):
            search.evaluate(batches, monitor, learn=step + 1 < hp.steps)
            monitor.advance(note=search.note())
            batches = _without_converged(batches, search.active)
            if not batches:
                break
        return Targets(search.z(), search.h0, search.traces, plan)


def _micro_batches(
    model: EditableModel,
    requests: Sequence[Request],
    start: int,
    plan: BatchPlan,
    monitor: Monitor,
) -> list[_MicroBatch]:
    """All rows of all facts, grouped by their length behind the subject and cut to the plan."""
    groups: dict[tuple[bool, int], list[_Line]] = defaultdict(list)
    for index, request in enumerate(requests):
        for number, row in enumerate(request.rows):
            line = _Line(
                index, row.ids + request.target[:-1], row.subject, request.target, number == 0
            )
            groups[False, len(line.ids) - line.subject].append(line)
        groups[True, 1].append(_Line(index, request.essence.ids, request.essence.subject))
    batches = []
    for (_, length), lines in sorted(groups.items()):
        lines.sort(key=lambda line: line.subject)  # prefixes of like length together
        size = max(1, plan.tokens // length)
        for first in range(0, len(lines), size):
            monitor.check()
            batches.append(_MicroBatch(model, lines[first : first + size], start))
    return batches


def _first_states(batches: list[_MicroBatch], count: int) -> Tensor:
    """h0 of every fact, (n, hidden), float32: the state at the subject's end in the bare prompt."""
    entry = batches[0].entry
    h0 = torch.zeros(count, entry.shape[-1], device=entry.device, dtype=_wide(entry.dtype))
    for batch in batches:
        h0[batch.facts[batch.bare]] = batch.entry[batch.bare, 0].to(h0.dtype)
    return h0


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype that delta, loss and optimiser work in: float32 or better."""
    return torch.promote_types(dtype, torch.float32)


def _without_converged(batches: list[_MicroBatch], active: Tensor) -> list[_MicroBatch]:
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
    """Adam on the changes of all facts, which take part until they converge."""

    def __init__(self, h0: Tensor, hp: HyperParameters) -> None:
        self.h0, self.hp = h0, hp
        self.delta = torch.zeros_like(h0, requires_grad=True)
        self.final = torch.zeros_like(h0)
        self.active = torch.ones(len(h0), dtype=torch.bool, device=h0.device)
        self.traces = [Trace() for _ in range(len(h0))]
        self.adam = torch.optim.Adam([self.delta], lr=hp.learning_rate, betas=(0.9, 0.999))

    def evaluate(self, batches: list[_MicroBatch], monitor: Monitor, learn: bool) -> None:
        """Loss and gradient of every active fact, one step of Adam, and the clamp.

        Facts whose loss is low enough, or all if this is the last evaluation (``learn`` false),
        keep the delta that was evaluated.
        """
        hp, count = self.hp, len(self.h0)
        nll, kl, probability = (torch.zeros_like(self.h0[:, 0]) for _ in range(3))
        rows = torch.zeros_like(nll)
        for batch in batches:
            if not batch.is_kl:
                rows.index_add_(0, batch.facts, torch.ones_like(rows[batch.facts]))
        self.adam.zero_grad()
        for batch in batches:
            with torch.set_grad_enabled(learn):
                if batch.is_kl:
                    each = hp.kl_factor * batch.kl(self.delta, monitor)
                    kl.index_add_(0, batch.facts, each.detach())
                else:
                    each = batch.nll(self.delta, monitor)
                    probability.index_add_(
                        0, batch.facts, (-each.detach()).exp() / rows[batch.facts]
                    )
                    each = each / rows[batch.facts]
                    nll.index_add_(0, batch.facts, each.detach())
            if learn:
                each.sum().backward()
        length = self.h0.norm(dim=1)
        with torch.set_grad_enabled(learn):
            decay = hp.weight_decay * self.delta.norm(dim=1) / length**2
        if learn:
            decay.sum().backward()
        decay = decay.detach()
        converged = self.active & (nll + kl + decay < hp.loss_stop)
        self._note(nll, kl, decay, probability, self.delta.detach().norm(dim=1) / length)
        done = converged if learn else self.active.clone()
        self.final[done] = self.delta.detach()[done]
        for index in range(count):
            self.traces[index].converged |= bool(converged[index])
        self.active = self.active & ~done
        if learn:
            self.adam.step()
            self._clamp(hp.clamp_factor * length)

    def _clamp(self, longest: Tensor) -> None:
        with torch.no_grad():
            length = self.delta.norm(dim=1)
            over = length > longest
            self.delta[over] *= (longest / length)[over, None]
            for index in self.active.nonzero()[:, 0].tolist():
                self.traces[index].clamped = bool(over[index])

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
        return self.h0 + self.final
