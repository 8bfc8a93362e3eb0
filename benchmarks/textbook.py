"""The plain implementation: one fact at a time, the whole model, every position's logits.

Written to be obviously correct, following the steps of the released research code (one fact at a
time; seven prompts padded to the longest; all blocks and all logits at every step). Tests check the
library against it, and the benchmarks compare the library's time with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.target_rows import Place
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import pad_rows
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.nullspace.projectors import Projector


@dataclass
class PlainTarget:
    """One fact's target value and how it was found.

    Attributes:
        z: (hidden_size,).
        losses: (nll, kl, decay) of every evaluation.
        deltas: delta at every evaluation.
        gradients: gradient of the loss at every evaluation that was followed by a step.
    """

    z: Tensor
    losses: list[tuple[float, float, float]]
    deltas: list[Tensor]
    gradients: list[Tensor]


def plain_target(
    model: EditableModel,
    request: TokenizedFact,
    hp: EditConfig,
    start: Tensor | None = None,
    place: Place = "block",
) -> PlainTarget:
    """Target value of one fact by running the whole model on all its prompts at every step.

    Args:
        model: the model.
        request: the fact.
        hp: the hyperparameters.
        start: delta to begin with; None for zero.
        place: what delta is added to, and measured by; for attention and MLP there are two.

    Returns:
        Of two deltas, z is the MLP's; ``deltas`` and ``gradients`` have both, (2, hidden_size).
    """
    last, architecture = hp.layers[-1], model.architecture
    block, down = architecture.blocks[last], architecture.down_projections[last]
    both = place == "attention and mlp"
    moved = [architecture.attention(last), down] if both else [down if place == "mlp" else block]
    rows = [row.ids + request.target[:-1] for row in request.rows] + [request.essence.ids]
    places = [row.subject for row in request.rows] + [request.essence.subject]
    ids = pad_rows(rows, model.device)
    wide = torch.promote_types(model.dtype, torch.float32)
    shape = (len(moved), architecture.hidden_size)
    delta = torch.zeros(shape, dtype=wide, device=model.device)
    if start is not None:
        delta += start
    delta.requires_grad_(True)
    first: dict[int, Tensor] = {}

    def add_delta(part: int, out: Tensor | tuple[Tensor, ...]) -> object:
        hidden = out[0] if isinstance(out, tuple) else out
        changed = hidden.clone().view(*ids.shape, -1)
        first.setdefault(part, changed[0, places[0]].detach().to(wide).clone())
        changed[range(len(rows)), places] += delta[part].to(hidden.dtype)
        changed = changed.view_as(hidden)
        return (changed, *out[1:]) if isinstance(out, tuple) else changed

    adam = torch.optim.Adam([delta], lr=hp.target_learning_rate, betas=(0.9, 0.999))
    before: Tensor | None = None
    result = PlainTarget(torch.empty(0), [], [], [])
    hooks = [
        module.register_forward_hook(lambda _module, _args, out, part=part: add_delta(part, out))
        for part, module in enumerate(moved)
    ]
    try:
        for step in range(hp.target_steps):
            adam.zero_grad()
            logits = model.model(input_ids=ids, use_cache=False).logits.to(wide)
            log_probabilities = logits.log_softmax(dim=-1)
            nll = torch.zeros((), dtype=wide, device=model.device)
            for index, row in enumerate(request.rows):
                first_place = len(row.ids) - 1
                own = log_probabilities[index, first_place : first_place + len(request.target)]
                nll = nll + F.nll_loss(own, torch.tensor(request.target, device=own.device))
            nll = nll / len(request.rows)
            now = log_probabilities[-1, places[-1]]
            before = now.detach() if before is None else before
            kl = hp.kl_factor * (now.exp() * (now - before)).sum()
            lengths = [first[part].norm() for part in range(len(moved))]
            decay = nll.new_zeros(())
            for own, length in zip(delta, lengths, strict=True):
                decay = decay + hp.weight_decay * own.norm() / length**2
            loss = nll + kl + decay
            result.losses.append((nll.item(), kl.item(), decay.item()))
            result.deltas.append(delta.detach().clone())
            if loss < hp.loss_stop or step == hp.target_steps - 1:
                break
            loss.backward()
            assert delta.grad is not None
            result.gradients.append(delta.grad.clone())
            adam.step()
            with torch.no_grad():
                for own, length in zip(delta, lengths, strict=True):
                    if own.norm() > hp.clamp_norm_factor * length:
                        own *= hp.clamp_norm_factor * length / own.norm()
    finally:
        for hook in hooks:
            hook.remove()
    result.z = first[len(moved) - 1] + delta.detach()[-1]
    if not both:
        result.deltas = [own[0] for own in result.deltas]
        result.gradients = [own[0] for own in result.gradients]
    return result


def plain_update(
    keys: Tensor, residual: Tensor, projector: Tensor, ridge: float, earlier: Tensor
) -> Tensor:
    """Solve the released form: a dense, non-symmetric d_in x d_in system.

    Args:
        keys: K, (d_in, n).
        residual: R, (d_out, n).
        projector: dense P, (d_in, d_in).
        ridge: lambda.
        earlier: K_p K_p^T, (d_in, d_in).

    Returns:
        dW, (d_out, d_in).
    """
    eye = torch.eye(len(keys), dtype=keys.dtype, device=keys.device)
    system = projector @ (keys @ keys.T + earlier) + ridge * eye
    return torch.linalg.solve(system, projector @ keys @ residual.T).T


def dense(projector: Projector) -> Tensor:
    """Return the dense matrix of a projector."""
    return projector(torch.eye(projector.size, dtype=projector.basis.dtype))
