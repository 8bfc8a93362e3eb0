"""Training of one weight, compared with a reference that runs one text at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from examples import FACTS, NARROW_ATTENTION, quiet
from tiny import INNER, KINDS, tiny_model, tiny_tokenizer
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.editing.config import EditConfig
from alphaedit_core.editing.editors.base import FineTuner
from alphaedit_core.editing.editors.ft import FtLConfig
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.editing.fine_tuning import fine_tune
from alphaedit_core.errors import Canceled
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact, prepare
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.progress import Monitor

HP = FtLConfig(
    layers=(1,), target_steps=6, ft_learning_rate=0.01, loss_stop=0.0, ft_max_change=0.025
)
LAYER = 1


def as_it_is(change: Tensor) -> Tensor:
    return change


def plain(
    model: EditableModel,
    requests: list[TokenizedFact],
    hp: EditConfig,
    constrain: Callable[[Tensor], Tensor],
) -> tuple[Tensor, list[list[float]]]:
    """Return the weight's change and every fact's loss at every evaluation."""
    weight = model.architecture.down_projections[LAYER].weight
    assert isinstance(weight, torch.nn.Parameter)
    matrix = model.architecture.matrix(LAYER)
    original = matrix.clone()
    weight.requires_grad_(True)
    adam = torch.optim.Adam([weight], lr=hp.ft_learning_rate, betas=(0.9, 0.999))
    losses: list[list[float]] = [[] for _ in requests]
    for step in range(hp.target_steps):
        adam.zero_grad()
        total = torch.zeros((), dtype=weight.dtype)
        for index, request in enumerate(requests):
            ids = request.rows[0].ids
            text = torch.tensor([ids + request.target])
            logits = model.model(input_ids=text, use_cache=False).logits[0, len(ids) - 1 : -1]
            own = F.cross_entropy(logits.double(), torch.tensor(request.target))
            losses[index].append(own.item())
            total = total + own / len(requests)
        if total < hp.loss_stop or step + 1 == hp.target_steps:
            break
        total.backward()
        adam.step()
        with torch.no_grad():
            matrix.copy_(original + constrain(matrix - original))
    weight.requires_grad_(False)
    change = matrix - original
    matrix.copy_(original)
    return change, losses


@pytest.mark.parametrize("tokens", [4096, 8])
@pytest.mark.parametrize("layout", KINDS)
def test_training_matches_reference(layout: str, tokens: int) -> None:
    model = tiny_model(layout, dtype=torch.float64)
    requests = prepare(model, FACTS, (), LAYER)
    expected, losses = plain(model, requests, HP, as_it_is)
    before = model.architecture.matrix(LAYER).clone()
    change, traces, _ = fine_tune(model, requests, LAYER, as_it_is, HP, BatchPlan(tokens), quiet())
    allowed = 1e-4 if layout in NARROW_ATTENTION else 1e-8
    assert float((change - expected).abs().max()) < allowed
    for trace, own in zip(traces, losses, strict=True):
        assert trace.nll == pytest.approx(own, abs=allowed)
        assert trace.probability == pytest.approx([2.718281828459045**-n for n in own], abs=1e-6)
        assert trace.loss == trace.nll and len(trace.delta) == HP.target_steps
    assert torch.equal(model.architecture.matrix(LAYER), before), "the weight itself stays as it is"
    assert not model.architecture.down_projections[LAYER]._forward_hooks
    assert traces[0].nll[-1] < traces[0].nll[0]


def test_stops_at_loss_stop() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    requests = prepare(model, FACTS, (), LAYER)
    _, losses = plain(model, requests, HP, as_it_is)
    means = [sum(step) / len(step) for step in zip(*losses, strict=True)]
    assert means == sorted(means, reverse=True)
    hp = HP.replace(loss_stop=(means[2] + means[3]) / 2)
    expected, _ = plain(model, requests, hp, as_it_is)
    change, traces, _ = fine_tune(model, requests, LAYER, as_it_is, hp, BatchPlan(4096), quiet())
    assert [len(trace.nll) for trace in traces] == [4] * len(FACTS)
    assert float((change - expected).abs().max()) < 1e-8


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("name", ["ft", "ft-l"])
def test_every_step_is_constrained(name: str, projection: bool) -> None:
    """Clamped (FT-L) and then projected, after each step: not once at the end."""
    model = tiny_model("gpt2", dtype=torch.float64)
    requests = prepare(model, FACTS, (), LAYER)
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(INNER, 10, generator=generator, dtype=torch.float64)
    projector = Projector(torch.linalg.qr(random).Q, kept=True)
    dense = projector(torch.eye(INNER, dtype=torch.float64))
    hp = HP.replace(projection=projection)

    def by_hand(change: Tensor) -> Tensor:
        if name == "ft-l":
            change = change.clamp(-0.025, 0.025)
        return change @ dense if projection else change

    editor = editor_class(name)()
    assert isinstance(editor, FineTuner)
    change, _, _ = fine_tune(
        model, requests, LAYER, lambda c: editor.constrain(c, projector, hp), hp,
        BatchPlan(4096), quiet(),
    )  # fmt: skip
    expected, _ = plain(model, requests, hp, by_hand)
    assert float((change - expected).abs().max()) < 1e-8
    free, _ = plain(model, requests, hp, as_it_is)
    if name == "ft-l" or projection:
        assert float((change - free).abs().max()) > 1e-3
    if name == "ft-l" and not projection:
        assert float(change.abs().max()) == pytest.approx(0.025)


def test_padding_side_and_narrow_weights() -> None:
    found = []
    for side in ("left", "right"):
        model = tiny_model("llama", tiny_tokenizer(padding_side=side), dtype=torch.bfloat16)
        requests = prepare(model, FACTS, (), LAYER)
        change, traces, _ = fine_tune(model, requests, LAYER, as_it_is, HP, BatchPlan(64), quiet())
        assert change.dtype == torch.float32
        found.append((change, [trace.nll for trace in traces]))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


def test_cancel_leaves_no_hook() -> None:
    model = tiny_model("llama")
    requests = prepare(model, FACTS, (), LAYER)
    event = threading.Event()
    event.set()
    with pytest.raises(Canceled):
        fine_tune(model, requests, LAYER, as_it_is, HP, BatchPlan(64), Monitor(None, event))
    assert not model.architecture.down_projections[LAYER]._forward_hooks
