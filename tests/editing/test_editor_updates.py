"""Updates of single editors: per layer, masked by RECT, pruned by PRUNE."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from editor_sessions import changes_of, new_session
from examples import FACTS, quiet

from alphaedit_core.editing.subject_keys import SubjectStates
from alphaedit_core.editing.weight_updates import Dense, LowRank, Pruned, Sparse, dense
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.session.session import EditSession


@pytest.mark.parametrize("name", ["alphaedit", "memit"])
def test_previous_keys_decay_by_batch(place: Path, name: str, tmp_path: Path) -> None:
    """The third edit is the first one affected by a decay; undo and redo give the same bits."""
    digests: dict[float, list[str]] = {}
    for decay in (1.0, 0.5):
        session = new_session(place, name, previous_keys=True, previous_keys_decay=decay)
        digests[decay] = []
        for fact in FACTS:
            session.edit([fact], monitor=quiet())
            digests[decay].append(session.weights_digest())
    same = [a == b for a, b in zip(digests[1.0], digests[0.5], strict=True)]
    assert same == [True, True, False, False]
    session.restore(2)
    session.save(tmp_path / "kept")
    session.close()
    loaded = EditSession.load(tmp_path / "kept", session.model)
    for fact in FACTS[2:]:
        loaded.edit([fact], monitor=quiet())
    assert loaded.weights_digest() == digests[0.5][-1]


@pytest.mark.parametrize("name", ["alphaedit", "memit", "emmet", "pmet", "rect", "prune"])
def test_layer_uses_its_own_lambda(place: Path, name: str) -> None:
    """A layer is solved before later ones, so its update shows its own lambda alone."""
    common = {"ridge": 2.0, "covariance_weight": 0.5}
    plain = changes_of(place, name, **common)
    stronger = changes_of(place, name, ridge=8.0, covariance_weight=2.0)
    own = [1.0, 4.0] if len(plain) == 2 else [4.0]
    mixed = changes_of(place, name, **common, layer_lambda_factors=own)
    if len(plain) == 2:
        assert torch.equal(mixed[0], plain[0]) and not torch.equal(mixed[1], plain[1])
        mixed = changes_of(place, name, **common, layer_lambda_factors=[4.0, 1.0])
    assert torch.equal(mixed[0], stronger[0]) and not torch.equal(stronger[0], plain[0])


@pytest.mark.parametrize("name", ["alphaedit", "memit", "ft"])
def test_layer_uses_its_own_threshold(place: Path, name: str) -> None:
    layers = [1] if name == "ft" else [0, 1]
    ranks = [f"rank:{30 - 10 * layer}" for layer in layers]
    session = new_session(place, name, projection=True, layers=layers, layer_thresholds=ranks)
    matrices = {n: session.model.architecture.matrix(n).clone() for n in layers}
    session.edit(FACTS, monitor=quiet())
    for layer, rank in zip(layers, ranks, strict=True):
        spectrum = session.spectra()[layer]
        change = (session.model.architecture.matrix(layer) - matrices[layer]).double()
        for where, inside in ((rank, True), ("rank:10", False)):
            dropped = spectrum.vectors(0, spectrum.size - spectrum.rank(where)).double()
            assert (float((change @ dropped).norm()) < 1e-4 * float(change.norm())) is inside
    [write, *_] = session.history[0].result.writes[0]
    assert write.kept and session.hyperparameters.threshold_words == ",".join(ranks)


def test_update_types(place: Path) -> None:
    for name, projection, kind in (
        ("memit", False, LowRank),
        ("rome", False, LowRank),
        ("prune", False, Pruned),
        ("rect", False, Sparse),
        ("rect-by-layer", False, Sparse),
        ("rect-rome", False, Sparse),
        ("rect", True, Dense),  # projected after the mask, it is nothing less
        ("ft", False, Dense),
        ("ft-l", False, Dense),
    ):
        session = new_session(place, name, projection=projection)
        session.edit(FACTS[:1], monitor=quiet())
        [batch] = session.history[0].batches
        assert all(type(change) is kind for change in batch.changes.values())


@pytest.mark.parametrize("projection", [False, True])
def test_rect_masks_after_all_layers_are_solved(place: Path, projection: bool) -> None:
    """As released, each layer's update is MEMIT's, then masked."""
    whole = changes_of(place, "memit", projection=projection)
    found = changes_of(place, "rect", projection=projection)
    by_layer = changes_of(place, "rect-by-layer", projection=projection)
    assert torch.equal(found[0], by_layer[0]) and not torch.equal(found[1], by_layer[1])
    session = new_session(place, "rect", projection=projection)
    for layer, (change, update) in enumerate(zip(found, whole, strict=True)):
        weight = session.model.architecture.matrix(layer)
        relative = (update / weight).abs().flatten()
        count = round(session.hyperparameters.rect_fraction * relative.numel())
        mask = torch.zeros_like(relative)
        mask[relative.topk(count).indices] = 1.0
        kept = update * mask.view_as(update)
        if projection:
            threshold = session.hyperparameters.threshold
            kept = session.spectra()[layer].projector(threshold)(kept.T).T
        assert float((change - kept).norm()) < 1e-5 * float(kept.norm())


def test_rect_results_are_measured_on_masked_weights(place: Path) -> None:
    session = new_session(place, "rect", rect_fraction=0.05)
    result = session.edit(FACTS, monitor=quiet())
    [batch] = session.history[0].batches
    requests = prepare(session.model, FACTS, session.contexts, 1)
    states = SubjectStates(session.model, requests, (0, 1), plan_batches(session.model), quiet())
    for layer, keys in batch.keys.items():
        assert torch.allclose(keys, states.read(layer).keys, rtol=1e-5, atol=1e-6)
    for write in result.writes[0]:
        assert write.update_norm == pytest.approx(batch.changes[write.layer].norm)
    # A twentieth of the entries leaves most of what was wanted undone; MEMIT's own leaves less.
    whole = new_session(place, "memit").edit(FACTS, monitor=quiet())
    for masked, free in zip(result.outcomes, whole.outcomes, strict=True):
        assert masked.residual_left is not None and free.residual_left is not None
        assert masked.residual_left > free.residual_left


def test_one_fact_at_a_time(place: Path) -> None:
    session = new_session(place, "rome")
    session.edit(FACTS, monitor=quiet())
    assert [len(batch.facts) for batch in session.history[0].batches] == [1] * len(FACTS)


def test_prune_continues_from_unpruned_sum(place: Path) -> None:
    """W = W0 + pruned(sum of all updates), whatever the edits were split into."""
    session = new_session(place, "prune", covariance_weight=1e-4, ridge=1e-3)
    original = {n: session.model.architecture.matrix(n).clone() for n in (0, 1)}
    for fact in FACTS:
        session.edit([fact], monitor=quiet())
    pruned_any = False
    for layer, matrix in original.items():
        updates = [b.changes[layer] for entry in session.history for b in entry.batches]
        total = sum(dense(update).double() for update in updates)
        most = float(torch.linalg.matrix_norm(matrix.double(), 2))
        left, sigma, right = torch.linalg.svd(total, full_matrices=False)
        less = torch.where(sigma > most, sigma.log() - torch.tensor(most).log() + most, sigma)
        pruned_any |= bool((sigma > most).any())
        wanted = matrix.double() + left @ less.diag() @ right
        gap = session.model.architecture.matrix(layer).double() - wanted
        assert float(gap.norm()) < 1e-4 * float(wanted.norm())
    assert pruned_any, "the edits of this test are meant to be strong"
    alike = new_session(place, "prune", covariance_weight=1e-4, ridge=1e-3)
    alike.edit(FACTS, batch_size=1, monitor=quiet())
    assert alike.weights_digest() == session.weights_digest()
