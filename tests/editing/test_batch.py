"""Writing of one batch, compared with a reference with dense matrices."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from examples import CONTEXTS, FACTS, key, outputs, quiet
from tiny import tiny_model
from torch import Tensor

from alphaedit_core.editing.batch import BatchWrite, LayerSpace, shares_left, write_batch
from alphaedit_core.editing.closed_form import PreviousKeys
from alphaedit_core.editing.edited_weights import EditedWeights
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.editing.editors.registry import editor_class
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact, prepare
from alphaedit_core.nullspace.projectors import Projector
from benchmarks.textbook import dense, plain_target, plain_update

HP = AlphaEditConfig(
    layers=(0, 1), target_steps=4, target_learning_rate=0.3, loss_stop=0.0, ridge=0.5
)
INNER = 48
LAYOUTS = ("gpt2", "llama", "gemma3", "opt")  # Conv1D; Linear; norms after the MLP; flat keys


def orthonormal(columns: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(INNER, columns, generator=generator)).Q


@dataclass
class Case:
    model: EditableModel
    requests: list[TokenizedFact]
    projectors: dict[int, Projector]
    previous: dict[int, Tensor]

    def write(self) -> BatchWrite:
        keys = {
            layer: PreviousKeys.none(INNER).append(projector(self.previous[layer]))
            for layer, projector in self.projectors.items()
        }
        weights = EditedWeights(self.model, HP.layers)
        editor = editor_class("alphaedit")()
        plan = BatchPlan(4096)
        spaces = {
            layer: LayerSpace(projector, projector, Projector.identity(INNER))
            for layer, projector in self.projectors.items()
        }
        return write_batch(
            self.model, weights, editor, self.requests, keys, spaces, HP, plan, quiet()
        )


def case(layout: str, earlier: int, dtype: torch.dtype = torch.float64) -> Case:
    model = tiny_model(layout, dtype=dtype)
    requests = prepare(model, FACTS[:3], CONTEXTS, HP.layers[-1])
    projectors = {
        0: Projector(orthonormal(20, 0), kept=True),
        1: Projector(orthonormal(15, 1), kept=False),
    }
    generator = torch.Generator().manual_seed(2)
    keys = {
        layer: torch.randn(INNER, earlier, generator=generator, dtype=torch.float64).to(dtype)
        for layer in HP.layers
    }
    return Case(model, requests, projectors, keys)


def plain_key(model: EditableModel, layer: int, request: TokenizedFact) -> Tensor:
    """Half the bare prompt's key plus half the mean of those with a context."""
    bare, *others = (key(model, layer, row) for row in request.rows)
    return 0.5 * bare + 0.5 * torch.stack(others).mean(dim=0)


def plain_state(model: EditableModel, request: TokenizedFact) -> Tensor:
    row = request.rows[0]
    return outputs(model, HP.layers[-1], row.ids)[row.subject]


def plain_batch(one: Case) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Write the batch into the case's model by the reference: dW and K by layer."""
    model = one.model
    z = torch.stack([plain_target(model, request, HP).z for request in one.requests])
    changes, all_keys = {}, {}
    for index, layer in enumerate(HP.layers):
        keys = torch.stack([plain_key(model, layer, r) for r in one.requests], dim=1)
        state = torch.stack([plain_state(model, request) for request in one.requests])
        residual = (z - state).T / (len(HP.layers) - index)
        before = one.previous[layer]
        changes[layer] = plain_update(
            keys, residual, dense(one.projectors[layer]).double(), HP.ridge, before @ before.T
        )
        all_keys[layer] = keys
        model.architecture.matrix(layer).add_(changes[layer])
    return changes, all_keys


@pytest.mark.parametrize("earlier", [0, 7, 60])  # none, few, more than d_in
@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_match_dense_reference(layout: str, earlier: int) -> None:
    fast, plain = case(layout, earlier), case(layout, earlier)
    # The basis is float32; made exact, so that P P = P to the last digit of float64.
    for one in (fast, plain):
        one.projectors = {
            layer: Projector(torch.linalg.qr(p.basis.double()).Q, p.kept)
            for layer, p in one.projectors.items()
        }
    changes, keys = plain_batch(plain)
    written = fast.write()
    for layer in HP.layers:
        change = written.changes[layer].left @ written.changes[layer].right.T
        assert float((change - changes[layer]).abs().max()) < 1e-8
        assert float((written.keys[layer] - keys[layer]).abs().max()) < 1e-8
        gap = fast.model.architecture.matrix(layer) - plain.model.architecture.matrix(layer)
        assert float(gap.abs().max()) < 1e-8
        assert float(change.norm()) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_update_stays_in_kept_space(dtype: torch.dtype) -> None:
    """``dW P = dW``: for every direction q that P drops, ``dW q`` is 0 up to rounding."""
    one = case("llama", 5, dtype)
    written = one.write()
    for layer, projector in one.projectors.items():
        change = written.changes[layer].left @ written.changes[layer].right.T
        p = dense(projector).to(dtype)
        assert torch.allclose(change @ p, change, atol=1e-5 * float(change.norm()))
        values, vectors = torch.linalg.eigh(p)
        dropped = vectors[:, values < 0.5]
        assert dropped.shape[1] == INNER - projector.rank
        assert float((change @ dropped).norm()) < 1e-5 * float(change.norm())


def test_only_the_edited_layers_change() -> None:
    one = case("gpt2", 0)
    before = {name: p.clone() for name, p in one.model.model.named_parameters()}
    one.write()
    changed = {
        name
        for name, parameter in one.model.model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed == {one.model.architecture.weight_name(layer) for layer in HP.layers}


def test_keys_match_edited_model() -> None:
    """Keys added to K_p are read on the model after the batch."""
    one = case("llama", 3)
    written = one.write()
    for layer in HP.layers:
        for index, request in enumerate(one.requests):
            assert torch.allclose(
                written.keys[layer][:, index], plain_key(one.model, layer, request)
            )


def test_layer_write_norms() -> None:
    one, unedited = case("llama", 4), case("llama", 4).model
    written = one.write()
    z = torch.stack([plain_target(unedited, request, HP).z for request in one.requests])
    for layer, write in zip(HP.layers, written.writes, strict=True):
        keys = written.keys[layer]
        change = written.changes[layer].left @ written.changes[layer].right.T
        kept = dense(one.projectors[layer]).double() @ keys
        assert write.layer == layer
        assert write.update_norm == pytest.approx(float(change.norm()))
        assert write.weight_norm == pytest.approx(float(unedited.architecture.matrix(layer).norm()))
        assert write.key_norm == pytest.approx(keys.norm(dim=0).tolist())
        share = (kept.norm(dim=0) / keys.norm(dim=0)) ** 2
        assert write.kept == pytest.approx(share.tolist(), rel=1e-5)
        free = plain_update(
            keys,
            written.changes[layer].left,
            torch.eye(INNER, dtype=torch.float64),
            HP.ridge,
            torch.zeros(INNER, INNER, dtype=torch.float64),
        )
        assert write.unprojected_norm == pytest.approx(float(free.norm()))
        assert write.surviving_norm == pytest.approx(
            float((free @ dense(one.projectors[layer]).double()).norm()), rel=1e-5
        )
        partly = tiny_model("llama", dtype=torch.float64)
        for earlier in range(layer):
            done = written.changes[earlier]
            partly.architecture.matrix(earlier).add_(done.left @ done.right.T)
        lacking = z - torch.stack([plain_state(partly, request) for request in one.requests])
        assert write.residual == pytest.approx(lacking.norm(dim=1).tolist())
    h0 = torch.stack([plain_state(unedited, request) for request in one.requests])
    end = torch.stack([plain_state(one.model, request) for request in one.requests])
    left = (z - end).norm(dim=1) / (z - h0).norm(dim=1)
    assert written.residual_left == pytest.approx(left.tolist())
    assert max(written.residual_left) < 1.0
    assert written.plan == BatchPlan(4096)
    assert [len(trace.loss) for trace in written.traces] == [HP.target_steps] * 3


def test_residual_left_is_none_without_change() -> None:
    """The search of a known fact ends with z = h0, so the fraction is undefined."""
    h0 = torch.tensor([150.0, 150.0, 150.0, 0.0])
    left, wanted = torch.tensor([0.5, 0.5, 0.0, 5.0]), torch.tensor([1.0, 0.0, 0.0, 1e-5])
    assert shares_left(left, wanted, h0) == [0.5, None, None, pytest.approx(5e5)]


def test_low_rank_layout_matches_loaded_tensors() -> None:
    """The last bits of a product can depend on the layout of its factors."""
    for earlier in (0, 60):
        written = case("llama", earlier, torch.float32).write()
        for layer in HP.layers:
            for tensor in (*written.changes[layer], written.keys[layer]):
                assert tensor.is_contiguous()
