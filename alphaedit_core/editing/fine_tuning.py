"""Fine-tuning of one down-projection on facts: what FT and FT-L do in place of a closed form.

Adam moves the whole matrix (Meng et al. 2022, appendix E.1). The blocks before the layer are run
once; of what follows, only the logits that the loss reads are made.
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
    """The change of a layer's weight that makes the model say the targets; no weight is changed.

    The loss is the mean over the facts of the mean negative log-likelihood of the target's tokens
    after the bare prompt. Training ends when it is under ``loss_stop``; no step follows the last
    evaluation.

    Args:
        model: the model, as it stands.
        requests: n facts as tokens.
        layer: the block whose down-projection is trained.
        constrain: given the change after a step, gives what of it is allowed.
        hp: ``target_steps``, ``ft_learning_rate`` and ``loss_stop``.
        plan: how many tokens go through the blocks together.
        monitor: what to report to; asked between blocks whether to stop.

    Where memory runs out the training starts again with half as many tokens at once.

    Returns:
        The change (d_out, d_in), float32 or better, what happened to each fact, and the plan that
        was used.

    Raises:
        Canceled: if canceled.
        torch.OutOfMemoryError: if not even the smallest plan fits.
    """
    while True:
        try:
            # Whatever the caller is in: there is no training without gradients.
            with outside_inference_mode(), torch.enable_grad():
                return *_train(model, requests, layer, constrain, hp, plan, monitor), plan
        except torch.OutOfMemoryError:
            smaller = plan.halved()
            if smaller is None:
                raise
            monitor.warn(
                f"out of memory with {plan.tokens} tokens at once; the training begins again with "
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
                        _note(traces[index], nll, hp.loss_stop)
                monitor.advance(note=f"loss {total:.2f}")
                if total < hp.loss_stop or not learn:
                    break
                adam.step()
                with torch.no_grad():
                    delta.copy_(constrain(delta))
    return delta.detach(), traces


class _Group:
    """Facts that go through the blocks together: bare prompts, each with its target behind it."""

    def __init__(
        self,
        model: EditableModel,
        requests: Sequence[TokenizedFact],
        facts: Sequence[int],
        layer: int,
    ) -> None:
        self.facts = list(facts)
        rows = [_text(requests[index]) for index in facts]
        self._recording: RecordedPass = record(
            model, pad_rows(rows, model.device), layer, model.layers
        )
        where: list[tuple[int, int]] = []
        labels: list[int] = []
        owners: list[int] = []
        for row, index in enumerate(facts):
            request = requests[index]
            first = len(request.rows[0].ids) - 1
            for place, token in enumerate(request.target):
                where.append((row, first + place))
                labels.append(token)
                owners.append(row)

        def on_device(values: Sequence[object]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=model.device)

        self._rows, self._places = on_device(where).T
        self._labels, self._owners = on_device(labels), on_device(owners)
        self._counts = torch.bincount(self._owners, minlength=len(rows))

    def losses(self, model: EditableModel, check: Callable[[], None]) -> Tensor:
        """Mean negative log-likelihood of each fact's target, (rows,), nats."""
        recording = self._recording
        out = proceed(model, recording.entry, recording.calls, recording.start, check)
        logits = model.architecture.logits(out[self._rows, self._places])
        each = F.cross_entropy(logits, self._labels, reduction="none")
        return each.new_zeros(len(self.facts)).index_add(0, self._owners, each) / self._counts


def _text(request: TokenizedFact) -> tuple[int, ...]:
    return request.rows[0].ids + request.target[:-1]


def _grouped(requests: Sequence[TokenizedFact], plan: BatchPlan) -> list[list[int]]:
    return by_length([len(_text(request)) for request in requests], plan.tokens)


def _note(trace: Trace, nll: float, stop: float) -> None:
    trace.nll.append(nll)
    trace.probability.append(float(torch.tensor(-nll).exp()))
    for terms in (trace.kl, trace.decay, trace.delta):
        terms.append(0.0)
    trace.converged = nll < stop
