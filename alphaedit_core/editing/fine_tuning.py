"""Fine-tuning of one down-projection on facts, for FT and FT-L.

Adam trains the whole matrix (Meng et al. 2022, appendix E.1). The blocks before the layer run once,
and logits are computed only at the target's tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel, outside_inference_mode
from alphaedit_core.model.forward import RecordedPass, by_length, pad_rows, proceed, record
from alphaedit_core.model.hooks import own_hooks
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.progress import Monitor

from .editors.ft import FtConfig
from .search_trace import Trace


def fine_tune(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    layer: int,
    constrain: Callable[[Tensor], Tensor],
    hp: FtConfig,
    plan: BatchPlan,
    monitor: Monitor,
) -> tuple[Tensor, list[Trace], BatchPlan]:
    """Train a change of a layer's weight on the targets, without changing the weight.

    The loss is the mean over the facts of the mean negative log-likelihood of the target's tokens
    after the bare prompt. Training ends once the loss is below ``loss_stop``; no step follows the
    last evaluation. If memory runs out, training restarts with half as many tokens per pass.

    Args:
        model: the model, with its current weights.
        requests: n tokenized facts.
        layer: index of the block whose down-projection is trained.
        constrain: returns the allowed part of a change (d_out, d_in) after a step.
        hp: provides ``target_steps``, ``ft_learning_rate`` and ``loss_stop``.
        plan: number of tokens per pass through the blocks.
        monitor: receives progress; checked for cancellation between blocks.

    Returns:
        The change, (d_out, d_in), float32 or better; one trace per fact; and the plan that was
        used.

    Raises:
        Canceled: if canceled.
        torch.OutOfMemoryError: if even the smallest plan does not fit.
    """
    while True:
        try:
            # Training needs gradients even if the caller has turned them off.
            with outside_inference_mode(), torch.enable_grad():
                return *_train(model, requests, layer, constrain, hp, plan, monitor), plan
        except torch.OutOfMemoryError:
            smaller = plan.halved()
            if smaller is None:
                raise
            monitor.warn(
                f"out of memory with {plan.tokens} tokens per pass; training restarts with "
                f"{smaller.tokens}"
            )
            plan = smaller


def _train(
    model: EditableModel,
    requests: Sequence[TokenizedFact],
    layer: int,
    constrain: Callable[[Tensor], Tensor],
    hp: FtConfig,
    plan: BatchPlan,
    monitor: Monitor,
) -> tuple[Tensor, list[Trace]]:
    matrix = model.architecture.matrix(layer)
    wide = torch.promote_types(matrix.dtype, torch.float32)
    delta = torch.zeros(matrix.shape, dtype=wide, device=matrix.device, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=hp.ft_learning_rate, betas=(0.9, 0.999))
    traces = [Trace() for _ in requests]

    def add(_module: object, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return out + args[0] @ delta.to(out.dtype).T

    with monitor.stage("training", hp.target_steps, "step") as stage:
        stage.detail = traces
        with torch.no_grad():
            groups = [_Group(model, requests, rows, layer) for rows in _grouped(requests, plan)]
        with own_hooks() as hooks:
            hooks.after(model.architecture.down_projections[layer], add)
            for step in range(hp.target_steps):
                learn = step + 1 < hp.target_steps
                adam.zero_grad()
                total = 0.0
                for group in groups:
                    with torch.set_grad_enabled(learn):
                        losses = group.losses(model, monitor.check)
                        if learn:
                            (losses.sum() / len(requests)).backward()
                    total += float(losses.detach().sum()) / len(requests)
                    for index, nll in zip(group.facts, losses.tolist(), strict=True):
                        _record_loss(traces[index], nll, hp.loss_stop)
                monitor.advance(note=f"loss {total:.2f}")
                if total < hp.loss_stop or not learn:
                    break
                adam.step()
                with torch.no_grad():
                    delta.copy_(constrain(delta))
    return delta.detach(), traces


class _Group:
    """Facts that run through the blocks together, each as its bare prompt and target."""

    def __init__(
        self,
        model: EditableModel,
        requests: Sequence[TokenizedFact],
        facts: Sequence[int],
        layer: int,
    ) -> None:
        self.facts = list(facts)
        rows = [_text(requests[index]) for index in facts]
        self._recorded: RecordedPass = record(
            model, pad_rows(rows, model.device), layer, model.layers
        )
        positions: list[tuple[int, int]] = []
        labels: list[int] = []
        owners: list[int] = []
        for row, index in enumerate(facts):
            request = requests[index]
            first = len(request.rows[0].ids) - 1
            for offset, token in enumerate(request.target):
                positions.append((row, first + offset))
                labels.append(token)
                owners.append(row)

        def on_device(values: Sequence[object]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=model.device)

        self._rows, self._positions = on_device(positions).T
        self._labels, self._owners = on_device(labels), on_device(owners)
        self._counts = torch.bincount(self._owners, minlength=len(rows))

    def losses(self, model: EditableModel, check: Callable[[], None]) -> Tensor:
        """Return the mean negative log-likelihood of each fact's target, (rows,), in nats."""
        recorded = self._recorded
        out = proceed(model, recorded.entry, recorded.calls, recorded.start, check)
        logits = model.architecture.logits(out[self._rows, self._positions])
        token_nll = F.cross_entropy(logits, self._labels, reduction="none")
        total = token_nll.new_zeros(len(self.facts)).index_add(0, self._owners, token_nll)
        return total / self._counts


def _text(request: TokenizedFact) -> tuple[int, ...]:
    """Return the token ids of the bare prompt and the target without its last token."""
    return request.rows[0].ids + request.target[:-1]


def _grouped(requests: Sequence[TokenizedFact], plan: BatchPlan) -> list[list[int]]:
    return by_length([len(_text(request)) for request in requests], plan.tokens)


def _record_loss(trace: Trace, nll: float, stop: float) -> None:
    trace.nll.append(nll)
    trace.probability.append(float(torch.tensor(-nll).exp()))
    for terms in (trace.kl, trace.decay, trace.delta):
        terms.append(0.0)
    trace.converged = nll < stop
