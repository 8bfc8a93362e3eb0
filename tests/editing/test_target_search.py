"""Target search compared with a reference, over models, plans and padding."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, NARROW_ATTENTION, outputs, quiet, requests_of, small
from tiny import LAYOUTS, tiny_model, tiny_tokenizer
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing import target_search as targets_module
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.editing.target_rows import Place
from alphaedit_core.editing.target_search import Targets, find_targets
from alphaedit_core.errors import Canceled, SessionError
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.packed_rows import PackedRows
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from benchmarks.textbook import PlainTarget, plain_target

HP = AlphaEditConfig(layers=(0,), target_steps=6, target_learning_rate=0.3, loss_stop=0.0)
PLAN = BatchPlan(4096)


def double(layout: str, **options: Any) -> EditableModel:
    return tiny_model(layout, dtype=torch.float64, **options)


def worst_gap(found: Targets, plain: list[PlainTarget]) -> float:
    """Return the largest difference of all losses at all steps, and of z."""
    gap = float((found.z - torch.stack([one.z for one in plain])).abs().max())
    for trace, one in zip(found.traces, plain, strict=True):
        ours = torch.tensor(list(zip(trace.nll, trace.kl, trace.decay, strict=True)))
        gap = max(gap, float((ours - torch.tensor(one.losses)).abs().max()))
    return gap


@pytest.fixture
def wide_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make eager attention's float32 softmax use the dtype of the rest."""
    softmax = F.softmax

    def wide(values: Tensor, dim: int = -1, dtype: torch.dtype | None = None) -> Tensor:
        return softmax(
            values, dim=dim, dtype=torch.float64 if values.dtype == torch.float64 else dtype
        )

    monkeypatch.setattr(F, "softmax", wide)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_steps_match_reference(layout: str, wide_softmax: None) -> None:
    """All facts at once, in several micro-batches, some converging early: 1e-8 in float64."""
    model = double(layout)
    requests = requests_of(model)
    assert len({len(row.ids) for request in requests for row in request.rows}) > 3
    assert {len(request.target) for request in requests} > {1}
    # A loss that the fact which comes lowest passes halfway.
    losses = [[sum(terms) for terms in plain_target(model, r, HP).losses] for r in requests]
    lowest = min(losses, key=min)
    hp = HP.replace(loss_stop=(lowest[2] + lowest[4]) / 2)
    plain = [plain_target(model, request, hp) for request in requests]
    steps = [len(one.losses) for one in plain]
    assert min(steps) < HP.target_steps == max(steps)

    found = find_targets(model, requests, hp, BatchPlan(32), quiet())

    assert [len(trace.loss) for trace in found.traces] == steps
    under = [sum(one.losses[-1]) < hp.loss_stop for one in plain]
    assert [trace.converged for trace in found.traces] == under
    assert worst_gap(found, plain) < (1e-5 if layout in NARROW_ATTENTION else 1e-8)


@cache
def _targets_in_block(layout: str, hp: AlphaEditConfig) -> list[Tensor]:
    """The plain way's target values where delta is added to the block's own output."""
    model = double(layout)
    return [plain_target(model, request, hp).z for request in requests_of(model, last_layer=1)]


@pytest.mark.parametrize("place", ["mlp", "attention and mlp"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_places_match_reference(layout: str, place: Place, wide_softmax: None) -> None:
    """delta measured by the MLP's output (ROME), and one each for attention and MLP (PMET)."""
    model = double(layout)
    requests = requests_of(model, last_layer=1)
    # So that the clamp is met, and the decay of an MLP that puts out little is not all there is.
    hp = HP.replace(layers=(1,), weight_decay=0.01, clamp_norm_factor=0.3)
    plain = [plain_target(model, request, hp, place=place) for request in requests]
    found = find_targets(model, requests, hp, BatchPlan(32), quiet(), place)
    assert any(trace.clamped for trace in found.traces)
    assert worst_gap(found, plain) < (1e-5 if layout in NARROW_ATTENTION else 1e-8)
    pairs = zip(plain, _targets_in_block(layout, hp), strict=True)
    gaps = [float((one.z - in_block).norm()) for one, in_block in pairs]
    assert min(gaps) > 1e-3, "the place makes a difference"
    assert not any(block._forward_hooks for block in model.architecture.blocks)


@pytest.mark.parametrize("layout", ["gpt2", "gemma3"])
@pytest.mark.parametrize("contexts", [(), CONTEXTS])
def test_single_fact(layout: str, contexts: tuple[str, ...]) -> None:
    model = double(layout)
    fact = Fact("The Louvre in Paris", "{} is", "Rome")
    [request] = prepare(model, [fact], contexts, 0)
    found = find_targets(model, [request], HP, PLAN, quiet())
    assert worst_gap(found, [plain_target(model, request, HP)]) < 1e-8


@pytest.mark.parametrize("layout", ["gpt2", "llama", "mistral"])
def test_plan_does_not_change_result(layout: str) -> None:
    model = double(layout)
    requests = requests_of(model)
    first, *others = (
        find_targets(model, requests, HP, BatchPlan(tokens), quiet())
        for tokens in (4096, 64, 17, 1)
    )
    for other in others:
        assert float((first.z - other.z).abs().max()) < 1e-8
        for one, same in zip(first.traces, other.traces, strict=True):
            assert one.loss == pytest.approx(same.loss, abs=1e-8)
            assert one.probability == pytest.approx(same.probability, abs=1e-8)


@pytest.mark.parametrize("bos", [False, True])
def test_padding_side_does_not_change_result(bos: bool) -> None:
    right, left = (
        find_targets(model, requests_of(model), HP, PLAN, quiet())
        for side in ("right", "left")
        for model in [double("llama", tokenizer=tiny_tokenizer(bos=bos, padding_side=side))]
    )
    assert torch.equal(right.z, left.z)
    assert right.traces == left.traces


def test_loss_terms() -> None:
    """Each term is computed from logits, independently of the search and the reference."""
    model = double("llama")
    request = requests_of(model)[0]
    hp = HP.replace(target_steps=2, kl_factor=0.7, weight_decay=3.0, clamp_norm_factor=0.2)
    found = find_targets(model, [request], hp, PLAN, quiet())
    trace, h0 = found.traces[0], found.h0[0]
    block = model.architecture.blocks[0]
    delta = found.z[0] - h0  # the one that the last evaluation saw

    def log_probabilities(ids: tuple[int, ...], place: int, change: Tensor) -> Tensor:
        def add(_module: object, _args: object, out: Any) -> Any:
            hidden = (out[0] if isinstance(out, tuple) else out).clone()
            hidden[0, place] += change
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        hook = block.register_forward_hook(add)
        try:
            return model.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(dim=-1)
        finally:
            hook.remove()

    assert torch.allclose(h0, outputs(model, 0, request.rows[0].ids)[request.rows[0].subject])
    row_nll = []
    for row in request.rows:
        given = log_probabilities(row.ids + request.target, row.subject, delta)
        at = len(row.ids) - 1
        row_nll.append(-sum(given[at + t, token] for t, token in enumerate(request.target)))
    per_token = torch.stack(row_nll) / len(request.target)
    assert trace.nll[-1] == pytest.approx(float(per_token.mean()), abs=1e-10)
    assert trace.probability[-1] == pytest.approx(float((-per_token).exp().mean()), abs=1e-10)

    ids, place = request.essence.ids, request.essence.subject
    before, now = (
        torch.distributions.Categorical(logits=log_probabilities(ids, place, d)[place])
        for d in (torch.zeros_like(delta), delta)
    )
    divergence = torch.distributions.kl_divergence(now, before)
    assert trace.kl == pytest.approx([0.0, 0.7 * float(divergence)], abs=1e-10)
    assert float(divergence) > 1e-6

    decay = 3.0 * delta.norm() / h0.norm() ** 2
    assert trace.decay == pytest.approx([0.0, float(decay)], abs=1e-12)
    assert trace.delta == pytest.approx([0.0, 0.2], abs=1e-12)
    assert trace.clamped
    assert trace.loss[-1] == pytest.approx(trace.nll[-1] + trace.kl[-1] + trace.decay[-1])


def test_last_evaluation_makes_no_step() -> None:
    model = double("gpt2")
    found = find_targets(model, requests_of(model), HP.replace(target_steps=1), PLAN, quiet())
    assert torch.equal(found.z, found.h0)
    assert all(len(trace.loss) == 1 and not trace.clamped for trace in found.traces)


def test_known_fact_keeps_its_state() -> None:
    """The loss of this fact is below the limit at the start; the others continue."""
    model = double("gpt2")
    requests = requests_of(model)
    start = find_targets(model, requests, HP.replace(target_steps=1), PLAN, quiet())
    losses = [trace.loss[0] for trace in start.traces]
    best = losses.index(min(losses))
    hp = HP.replace(loss_stop=min(losses) + 1e-6)
    found = find_targets(model, requests, hp, PLAN, quiet())
    assert found.traces[best].converged
    assert torch.equal(found.z[best], found.h0[best])
    others = [i for i in range(len(requests)) if i != best]
    assert all(not torch.equal(found.z[i], found.h0[i]) for i in others)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_are_searched_in_float32(dtype: torch.dtype) -> None:
    model = tiny_model("llama", dtype=dtype)
    found = find_targets(model, requests_of(model), HP, PLAN, quiet())
    assert found.z.dtype == found.h0.dtype == torch.float32
    assert not torch.equal(found.z, found.z.to(dtype).float())  # delta is not rounded
    for trace in found.traces:
        assert min(trace.nll) < trace.nll[0]


@pytest.mark.parametrize("layout", ["llama", "gptj"])
@pytest.mark.parametrize("call", [1, 5])
def test_out_of_memory_restarts_with_half(
    layout: str, call: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = double(layout)
    requests = requests_of(model)
    expected = find_targets(model, requests, HP, BatchPlan(64), quiet())
    run, calls = PackedRows.run, 0

    def scarce(self: PackedRows, *args: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            raise torch.OutOfMemoryError("no memory left")
        return run(self, *args)

    monkeypatch.setattr(PackedRows, "run", scarce)
    found = find_targets(model, requests, HP, BatchPlan(128), quiet())
    assert found.plan == BatchPlan(64)
    assert "128 tokens" in caplog.text
    assert torch.equal(found.z, expected.z)
    assert found.traces == expected.traces


def test_out_of_memory_with_the_smallest_plan_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(self: PackedRows, *_: Any) -> Tensor:
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(PackedRows, "run", none_left)
    model = double("gpt2")
    with pytest.raises(torch.OutOfMemoryError):
        find_targets(model, requests_of(model), HP, PLAN, quiet())


def test_non_finite_target_is_refused() -> None:
    model = tiny_model("gpt2")
    requests = requests_of(model)
    with torch.no_grad():
        model.architecture.norm.weight[0] = torch.inf
    with pytest.raises(SessionError, match=r'fact "Eiffel Tower is in.*float32'):
        find_targets(model, requests, HP, PLAN, quiet())


def test_can_be_canceled_between_blocks() -> None:
    model = tiny_model("llama")
    requests = requests_of(model)
    asked = 0

    def after(limit: int) -> Monitor:
        def cancel() -> bool:
            nonlocal asked
            asked += 1
            return asked > limit

        return Monitor(None, cancel)

    find_targets(model, requests, HP, PLAN, after(10**6))
    in_all, asked = asked, 0
    assert in_all >= HP.target_steps * (model.layers - 1)
    for limit in (0, 1, in_all // 2, in_all - 1):
        asked = 0
        with pytest.raises(Canceled, match="target values"):
            find_targets(model, requests, HP, PLAN, after(limit))


@pytest.mark.parametrize("editor", ["alphaedit", "ft"])
def test_an_edit_inside_no_grad_or_inference_mode(editor: str, tmp_path: Path, cache: Path) -> None:
    """The caller's gradient mode changes no bit of this edit or a later one."""
    layers = (0,) if editor == "ft" else (0, 1)
    hp = small(tmp_path, editor=editor, layers=layers, previous_keys=editor != "ft")
    digests = []
    for around in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        session = EditSession(tiny_model("llama"), hyperparameters=hp)
        with around():
            session.spectra(monitor=quiet())
            session.edit(FACTS[:2], monitor=quiet())
        session.edit(FACTS[2:], monitor=quiet())
        digests.append(session.weights_digest())
        session.close()
        for file in cache.rglob("*.safetensors"):
            file.unlink()
    assert len(set(digests)) == 1


def test_model_is_unchanged() -> None:
    model = double("gemma3")
    weights = {name: p.clone() for name, p in model.model.named_parameters()}
    find_targets(model, requests_of(model), HP, PLAN, quiet())
    for name, parameter in model.model.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert parameter.grad is None
        assert not parameter.requires_grad


@pytest.mark.model
def test_loss_and_gradient_of_the_default_model(default_model: EditableModel) -> None:
    """From the same delta in float32, within 1e-4 of their magnitude."""
    hp = AlphaEditConfig(layers=(5, 6, 7, 8, 9), target_steps=4, loss_stop=0.0)
    facts = [replace(fact, paraphrases=()) for fact in FACTS[:2]]
    contexts = ("The city of Rome is old", "Therefore I went home")
    requests = prepare(default_model, facts, contexts, 9)
    plain = [plain_target(default_model, request, hp) for request in requests]
    with torch.no_grad():
        rows = targets_module._micro_batches(
            default_model, requests, 9, "block", BatchPlan(64), quiet()
        )
        h0 = targets_module._first_states(rows, len(requests))
    search = targets_module._Search(h0, hp)
    for step in range(hp.target_steps - 1):
        with torch.no_grad():
            search.delta.copy_(torch.stack([one.deltas[step] for one in plain])[:, None])
        search.evaluate(rows, quiet(), learn=True)
        assert search.delta.grad is not None
        for index, one in enumerate(plain):
            assert search.traces[index].loss[step] == pytest.approx(sum(one.losses[step]), rel=1e-4)
            gap = search.delta.grad[index, 0] - one.gradients[step]
            assert float(gap.norm() / one.gradients[step].norm()) < 1e-4
