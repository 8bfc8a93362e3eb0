"""Every editor against its published formula, and what the two switches promise of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_model
from torch import Tensor

from alphaedit_core.editing.closed_form import EarlierKeys
from alphaedit_core.editing.defaults import default_hyperparameters
from alphaedit_core.editing.editors import Tuner, Work, editor_class, editors, register
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.editing.subject_keys import SubjectStates
from alphaedit_core.editing.weight_updates import Dense, LowRank, Pruned, Sparse, dense, pruned_sum
from alphaedit_core.errors import Cancelled, InputError, SessionError
from alphaedit_core.inference.completions import complete
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.tokenization import prepare
from alphaedit_core.nullspace.projectors import InverseMoment, Projector
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession

ALL = list(editors())
SOLVERS = [name for name in ALL if not issubclass(editor_class(name), Tuner)]
SPARING = [name for name in ALL if editor_class(name).previous_keys is not None]

HP = HyperParameters(
    layers=(0,), ridge=2.0, covariance_weight=3.0, emmet_weight=0.4, kept_share=0.3
)


# -- published formulas, in float64 on random matrices ---------------------------------------------


@dataclass
class Problem:
    """Random keys, residuals, moment C = V diag(values) V^T, weight, and what was written before.

    The kept space is spanned by the ``rank`` directions of smallest eigenvalue, as in a spectrum.
    """

    keys: Tensor
    bare: Tensor
    mean: Tensor
    lacking: Tensor
    earlier: Tensor
    weight: Tensor
    values: Tensor
    vectors: Tensor
    rank: int
    layers_left: int

    @property
    def moment(self) -> Tensor:
        return self.vectors @ self.values.diag() @ self.vectors.T

    @property
    def kept(self) -> Tensor:
        return self.vectors[:, len(self.values) - self.rank :]

    def work(self, name: str, projection: bool, previous: bool) -> Work:
        size = len(self.keys)
        projector = Projector(self.kept, kept=True) if projection else Projector.identity(size)
        metric: Any = projector
        if name != "alphaedit":
            start = size - self.rank if projection else 0
            metric = InverseMoment(self.vectors[:, start:], self.values[start:].rsqrt())
        earlier = EarlierKeys.none(metric.width)
        if previous:
            earlier = earlier.joined(metric.half(self.earlier))
        return Work(
            self.keys,
            self.bare,
            self.mean,
            self.lacking,
            self.layers_left,
            self.weight,
            lambda: float(torch.linalg.matrix_norm(self.weight, 2)),
            metric,
            projector,
            earlier,
            HP.replace(editor=name, projection=projection, previous_keys=previous),
        )


@st.composite
def problems(draw: st.DrawFn, facts: int = 12) -> Problem:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 32)))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    size, out = draw(st.integers(3, 20)), draw(st.integers(2, 9))
    n = draw(st.integers(1, facts))
    values = (normal(size).abs() + 0.05).sort(descending=True).values
    return Problem(
        keys=normal(size, n),
        bare=normal(size, n),
        mean=normal(size, n),
        lacking=normal(out, n),
        earlier=normal(size, draw(st.integers(1, 25))),
        weight=normal(out, size),
        values=values,
        vectors=torch.linalg.qr(normal(size, size)).Q,
        rank=draw(st.integers(1, size)),
        layers_left=draw(st.integers(1, 5)),
    )


def solved(name: str, problem: Problem, projection: bool = False, previous: bool = False) -> Tensor:
    editor, work = editor_class(name)(), problem.work(name, projection, previous)
    change = editor.final(work, editor.update(work))
    if isinstance(change, Sparse):
        whole = torch.zeros_like(problem.weight)
        change.add_to(whole)
        return whole
    if isinstance(change, LowRank | Pruned):
        return change.left @ change.right.T
    assert isinstance(change, Dense)
    return change.matrix


def close(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).norm() <= 1e-9 * b.norm().clamp_min(1e-9))


@pytest.mark.parametrize("previous", [False, True])
@given(problem=problems())
def test_memit_is_equation_14(previous: bool, problem: Problem) -> None:
    """``R K^T (lambda C + K K^T)^-1``, with ``K_p K_p^T`` in the sum where it is switched on."""
    k, p = problem.keys, problem.earlier
    system = HP.covariance_weight * problem.moment + k @ k.T + (p @ p.T if previous else 0)
    published = torch.linalg.solve(system, k @ problem.lacking.T / problem.layers_left).T
    assert close(solved("memit", problem, previous=previous), published)
    # PRUNE's own updates are MEMIT's; their sum is pruned later.
    assert close(solved("prune", problem, previous=previous), published)


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("projection", [False, True])
@given(problem=problems())
def test_alphaedit_is_its_equation_14(previous: bool, projection: bool, problem: Problem) -> None:
    """``R K^T P (K_p K_p^T P + K K^T P + lambda I)^-1``, with P = I where it is switched off."""
    k, p, size = problem.keys, problem.earlier, len(problem.keys)
    eye = torch.eye(size, dtype=torch.float64)
    projector = problem.kept @ problem.kept.T if projection else eye
    system = (k @ k.T + (p @ p.T if previous else 0)) @ projector + HP.ridge * eye
    share = problem.lacking / problem.layers_left
    published = torch.linalg.solve(system.T, (share @ k.T @ projector).T).T
    assert close(solved("alphaedit", problem, projection, previous), published)


@given(problem=problems())
def test_pmet_shares_the_residual_by_roots(problem: Problem) -> None:
    k = problem.keys
    system = HP.covariance_weight * problem.moment + k @ k.T
    published = torch.linalg.solve(system, k @ problem.lacking.T / problem.layers_left**0.5).T
    assert close(solved("pmet", problem), published)


@given(problem=problems())
def test_emmet_is_equation_9_and_memit_where_mu_is_lambda(problem: Problem) -> None:
    """``R (K^T C^-1 K + mu I)^-1 K^T C^-1`` with C scaled by MEMIT's weight."""
    k, scaled = problem.keys, HP.covariance_weight * problem.moment
    inverse = torch.linalg.inv(scaled)
    gram = k.T @ inverse @ k + HP.emmet_weight * torch.eye(k.shape[1], dtype=torch.float64)
    published = problem.lacking / problem.layers_left @ torch.linalg.inv(gram) @ k.T @ inverse
    assert close(solved("emmet", problem), published)
    work = problem.work("emmet", False, False)
    same = replace(work, hyperparameters=HP.replace(emmet_weight=1.0))
    change = editor_class("emmet")().update(same)
    assert isinstance(change, LowRank)
    assert close(change.left @ change.right.T, solved("memit", problem))


@given(problem=problems(facts=1))
def test_rome_is_equation_2_with_two_keys(problem: Problem) -> None:
    """``((v* - W k_b) / (k_b^T u)) u^T``, u = C^-1 k; ``lacking`` is v* - W k_b."""
    u = torch.linalg.solve(problem.moment, problem.mean)
    published = problem.lacking / (problem.bare.T @ u) @ u.T
    assert close(solved("rome", problem), published)


@given(problem=problems(facts=1))
def test_r_rome_asks_for_the_value_at_its_one_key(problem: Problem) -> None:
    value = problem.weight @ problem.bare + problem.lacking  # v*
    u = torch.linalg.solve(problem.moment, problem.mean)
    lacks = value - problem.weight @ problem.mean
    change = solved("r-rome", problem)
    assert close(change, lacks / (problem.mean.T @ u) @ u.T)
    assert close((problem.weight + change) @ problem.mean, value)


@pytest.mark.parametrize(
    ("name", "over"), [("rect", "memit"), ("rect-by-layer", "memit"), ("rect-rome", "rome")]
)
@given(problem=problems(facts=1))
def test_rect_keeps_what_changes_most_relative_to_the_weight(
    name: str, over: str, problem: Problem
) -> None:
    whole, found = solved(over, problem), solved(name, problem)
    relative = (whole / problem.weight).abs()
    count = max(1, round(HP.kept_share * whole.numel()))
    least = relative.flatten().sort(descending=True).values[count - 1]
    assert close(found, torch.where(relative >= least, whole, 0.0))
    assert int((found != 0).sum()) == count
    kept = problem.kept
    projected = solved(name, problem, projection=True)
    inside = solved(over, problem, projection=True)
    relative = (inside / problem.weight).abs()
    least = relative.flatten().sort(descending=True).values[count - 1]
    assert close(projected, torch.where(relative >= least, inside, 0.0) @ kept @ kept.T)


@pytest.mark.parametrize("previous", [False, True])
@given(problem=problems())
def test_projected_memit_solves_inside_the_kept_space(previous: bool, problem: Problem) -> None:
    """Of all changes dW = X U^T it is the one that MEMIT's own least squares would choose."""
    u, k, p = problem.kept, problem.keys, problem.earlier
    inner = HP.covariance_weight * u.T @ problem.moment @ u + u.T @ k @ k.T @ u
    inner = inner + (u.T @ p @ p.T @ u if previous else 0)
    x = torch.linalg.solve(inner, u.T @ k @ problem.lacking.T / problem.layers_left).T
    assert close(solved("memit", problem, True, previous), x @ u.T)


@pytest.mark.parametrize("previous", [False, True])
@pytest.mark.parametrize("projection", [False, True])
@given(problem=problems())
def test_emmet_and_pmet_are_memit_but_for_mu_and_share(
    projection: bool, previous: bool, problem: Problem
) -> None:
    """With either switch, too: mu K-and-K_p's identity for EMMET, roots for PMET."""
    u = problem.kept if projection else torch.eye(len(problem.keys), dtype=torch.float64)
    k = torch.cat([problem.earlier, problem.keys], dim=1) if previous else problem.keys
    weight = HP.covariance_weight
    for name, mu, share in (
        ("emmet", HP.emmet_weight * weight, problem.layers_left),
        ("pmet", weight, problem.layers_left**0.5),
    ):
        inner = mu * u.T @ problem.moment @ u + u.T @ k @ k.T @ u
        x = torch.linalg.solve(inner, u.T @ problem.keys @ problem.lacking.T / share).T
        assert close(solved(name, problem, projection, previous), x @ u.T)


@pytest.mark.parametrize("projection", [False, True])
@pytest.mark.parametrize("thin", [False, True])
@given(problem=problems(), share=st.sampled_from([0.1, 0.5, 0.9]))
def test_prune_is_equation_7_on_the_sum(
    projection: bool, thin: bool, problem: Problem, share: float
) -> None:
    """sigma above the weight's largest s becomes log sigma - log s + s; nothing leaves P."""
    some = solved("prune", problem, projection)
    left, right = (some, torch.eye(some.shape[1]).to(some)) if not thin else (
        some @ problem.keys[:, :1], problem.kept[:, :1]
    )  # fmt: skip
    most = share * torch.linalg.matrix_norm(left @ right.T, 2)
    halves = [Pruned(left / 2, right, most) for _ in range(2)]
    u, sigma, v = torch.linalg.svd(left @ right.T, full_matrices=False)
    less = torch.where(sigma > most, sigma.log() - most.log() + most, sigma)
    found = pruned_sum(halves)
    assert close(found, (u * less) @ v) and not close(found, left @ right.T)
    if projection:
        dropped = problem.vectors[:, : len(problem.values) - problem.rank]
        assert float((found @ dropped).norm()) <= 1e-9 * float(found.norm())


@pytest.mark.parametrize("facts", [1, 12])
@pytest.mark.parametrize("name", SOLVERS)
@given(data=st.data())
def test_nothing_is_written_along_a_dropped_direction(
    name: str, facts: int, data: st.DataObject
) -> None:
    """With the projection on, ``dW q = 0`` for every q with ``P q = 0``."""
    problem = data.draw(problems(1 if editor_class(name).at_once == 1 else facts))
    dropped = problem.vectors[:, : len(problem.values) - problem.rank]
    change = solved(name, problem, projection=True, previous=name in SPARING)
    assert float((change @ dropped).norm()) <= 1e-10 * float(change.norm())
    free = solved(name, problem)
    assert problem.rank == len(problem.values) or float((free @ dropped).norm()) > 1e-6


@given(problem=problems(facts=6))
def test_earlier_facts_are_disturbed_less_where_their_keys_are_known(problem: Problem) -> None:
    for name in sorted({"alphaedit", *SPARING} - {"rect", "rect-by-layer", "rect-rome"}):
        with_keys = solved(name, problem, previous=True) @ problem.earlier
        without = solved(name, problem) @ problem.earlier
        assert float(with_keys.norm()) <= float(without.norm()) * (1 + 1e-9)


# -- every editor in a session ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the text and a cache that the tests of this file share."""
    folder = tmp_path_factory.mktemp("editors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "complete", partial(complete, tokens=2))
        yield folder


def settings(place: Path, name: str, **changes: Any) -> HyperParameters:
    editor = editor_class(name)
    own = {
        "editor": name,
        "projection": editor.projection,
        "previous_keys": bool(editor.previous_keys),
        # Strong enough to leave a mark on a tiny model.
        "covariance_weight": 0.5,
        "step_size": 0.05,
        "norm_constraint": 0.02,
        # The MLP of a tiny model puts out little beside what the decay is measured by.
        **({} if editor.place == "block" else {"weight_decay": 0.0, "clamp_factor": 20.0}),
        "layers": (1,) if editor.preset else (0, 1),
    }
    return small(place, **own | changes)


def new_session(place: Path, name: str, layout: str = "llama", **changes: Any) -> EditSession:
    model = tiny_model(layout)
    return EditSession(
        model, hyperparameters=settings(place, name, **changes), contexts=CONTEXTS[:1]
    )


@pytest.mark.parametrize("layout", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ALL)
def test_an_edit_moves_the_targets_and_is_taken_back_bit_for_bit(
    place: Path, name: str, layout: str, tmp_path: Path
) -> None:
    session = new_session(place, name, layout)
    original = session.weights_digest()
    first = session.edit(FACTS[:2], monitor=quiet())
    assert "facts written" in first._repr_html_() and "facts written" in repr(first)
    digests = [original, session.weights_digest()]
    session.edit(FACTS[2:], batch_size=1, monitor=quiet())
    digests.append(session.weights_digest())
    assert len(set(digests)) == 3
    gained = [o.after.new.nll < o.before.new.nll for o in first.outcomes]
    assert any(gained), "the first edit made no target likelier"
    for number in (1, 0, 2, 1, 2):
        session.restore(number)
        assert session.weights_digest() == digests[number]
    session.save(tmp_path / "kept")
    session.close()
    loaded = EditSession.load(tmp_path / "kept", session.model)
    assert loaded.weights_digest() == digests[2]
    assert (loaded.editor, loaded.hyperparameters) == (name, session.hyperparameters)
    loaded.undo()
    assert loaded.weights_digest() == digests[1]
    assert loaded.history[0].result.to_dict() == first.to_dict()


@pytest.mark.parametrize("name", ALL)
def test_a_projected_edit_stays_inside_the_kept_space(place: Path, name: str) -> None:
    session = new_session(place, name, projection=True)
    matrices = {n: session.model.anatomy.matrix(n).clone() for n in session.hyperparameters.layers}
    session.edit(FACTS, monitor=quiet())
    for layer, original in matrices.items():
        change = (session.model.anatomy.matrix(layer) - original).double()
        spectrum = session.spectra()[layer]
        dropped = spectrum.vectors(0, spectrum.size - spectrum.rank("rank:30")).double()
        assert float(change.norm()) > 1e-4
        assert float((change @ dropped).norm()) < 1e-4 * float(change.norm())


@pytest.mark.parametrize("name", ALL)
def test_without_projection_it_does_not(place: Path, name: str) -> None:
    session = new_session(place, name, projection=False)
    layer = session.hyperparameters.layers[-1]
    original = session.model.anatomy.matrix(layer).clone()
    session.edit(FACTS, monitor=quiet())
    change = (session.model.anatomy.matrix(layer) - original).double()
    spectrum = session.spectra()[layer]
    dropped = spectrum.vectors(0, spectrum.size - spectrum.rank("rank:30")).double()
    assert float((change @ dropped).norm()) > 1e-2 * float(change.norm())


@pytest.mark.parametrize("name", ALL)
def test_edit_b_taken_back_leaves_no_trace_in_c(place: Path, name: str) -> None:
    session, other = new_session(place, name), new_session(place, name)
    a, b, c = FACTS[:1], FACTS[1:3], FACTS[3:]
    session.edit(a, monitor=quiet())
    session.edit(b, monitor=quiet())
    session.undo()
    session.edit(c, monitor=quiet())
    other.edit(a, monitor=quiet())
    other.edit(c, monitor=quiet())
    assert session.weights_digest() == other.weights_digest()


@pytest.mark.parametrize("name", ALL)
def test_a_cancelled_edit_leaves_the_weights(place: Path, name: str) -> None:
    session = new_session(place, name)
    session.edit(FACTS[:1], monitor=quiet())
    digest = session.weights_digest()
    before = [parameter.clone() for parameter in session.model.model.parameters()]
    asked: list[bool] = []

    def late() -> bool:
        """Whether something has been written into the model."""
        now = session.model.model.parameters()
        asked.append(not all(map(torch.equal, before, now)))
        return asked[-1]

    with pytest.raises(Cancelled):
        session.edit(FACTS[1:], monitor=Monitor(None, late))
    assert asked[-1] and len(asked) > 1  # it had been written, and not at once
    assert session.weights_digest() == digest and session.applied == 1


@pytest.mark.parametrize("name", SPARING)
def test_previous_keys_make_a_difference_to_the_second_edit(place: Path, name: str) -> None:
    digests = set()
    for previous in (False, True):
        session = new_session(place, name, previous_keys=previous)
        session.edit(FACTS[:2], monitor=quiet())
        session.edit(FACTS[2:], monitor=quiet())
        digests.add(session.weights_digest())
    assert len(digests) == 2


@pytest.mark.parametrize("name", ["alphaedit", "memit"])
def test_the_batch_before_counts_whole_and_earlier_ones_ever_less(
    place: Path, name: str, tmp_path: Path
) -> None:
    """So the third edit is the first that shows a decay; undone and made anew it is the same."""
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


def changes_of(place: Path, name: str, **changes: Any) -> list[Tensor]:
    """What the one edit of a new session changes, by layer."""
    session = new_session(place, name, **changes)
    matrices = {n: session.model.anatomy.matrix(n).clone() for n in session.hyperparameters.layers}
    session.edit(FACTS[:2], monitor=quiet())
    return [session.model.anatomy.matrix(n) - matrix for n, matrix in matrices.items()]


@pytest.mark.parametrize("name", ["alphaedit", "memit", "emmet", "pmet", "rect", "prune"])
def test_a_layer_is_solved_with_its_own_lambda(place: Path, name: str) -> None:
    """What a layer writes is made before later ones, so it shows its own lambda alone."""
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
def test_a_layer_has_its_own_kept_space(place: Path, name: str) -> None:
    layers = [1] if name == "ft" else [0, 1]
    ranks = [f"rank:{30 - 10 * layer}" for layer in layers]
    session = new_session(place, name, projection=True, layers=layers, layer_thresholds=ranks)
    matrices = {n: session.model.anatomy.matrix(n).clone() for n in layers}
    session.edit(FACTS, monitor=quiet())
    for layer, rank in zip(layers, ranks, strict=True):
        spectrum = session.spectra()[layer]
        change = (session.model.anatomy.matrix(layer) - matrices[layer]).double()
        for where, inside in ((rank, True), ("rank:10", False)):
            dropped = spectrum.vectors(0, spectrum.size - spectrum.rank(where)).double()
            assert (float((change @ dropped).norm()) < 1e-4 * float(change.norm())) is inside
    [write, *_] = session.history[0].result.writes[0]
    assert write.kept and session.hyperparameters.threshold_words == ",".join(ranks)


def test_how_each_is_stored(place: Path) -> None:
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
def test_rect_solves_all_layers_before_it_masks_any(place: Path, projection: bool) -> None:
    """As released: each layer's change is MEMIT's own, of which the mask leaves a part."""
    whole = changes_of(place, "memit", projection=projection)
    found = changes_of(place, "rect", projection=projection)
    by_layer = changes_of(place, "rect-by-layer", projection=projection)
    assert torch.equal(found[0], by_layer[0]) and not torch.equal(found[1], by_layer[1])
    session = new_session(place, "rect", projection=projection)
    for layer, (change, update) in enumerate(zip(found, whole, strict=True)):
        weight = session.model.anatomy.matrix(layer)
        relative = (update / weight).abs().flatten()
        count = round(session.hyperparameters.kept_share * relative.numel())
        mask = torch.zeros_like(relative)
        mask[relative.topk(count).indices] = 1.0
        kept = update * mask.view_as(update)
        if projection:
            threshold = session.hyperparameters.threshold
            kept = session.spectra()[layer].projector(threshold)(kept.T).T
        assert float((change - kept).norm()) < 1e-5 * float(kept.norm())


def test_what_rect_says_of_an_edit_is_measured_on_the_masked_weights(place: Path) -> None:
    session = new_session(place, "rect", kept_share=0.05)
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


def test_the_cards_say_where_an_editor_departs_from_what_was_released() -> None:
    said = {name: " ".join(editor.departures) for name, editor in editors().items()}
    for name, words in {
        "ft": ("64 facts", "last position"),
        "ft-l": ("64 facts", "last position"),
        "pmet": ("a tenth", "KL term is at most 0.01"),
        "emmet": ("weight on C", "10,000 and 100,000", "a single fact"),
        "rome": ("Llama-3", "20"),
        "r-rome": ("Llama-3", "20"),
        "rect": ("0.4",),
        "rect-by-layer": ("at the end",),
    }.items():
        assert all(word in said[name] for word in words), (name, said[name])


def test_one_fact_at_a_time(place: Path) -> None:
    session = new_session(place, "rome")
    session.edit(FACTS, monitor=quiet())
    assert [len(batch.facts) for batch in session.history[0].batches] == [1] * len(FACTS)


def test_prune_prunes_the_sum_and_goes_on_from_what_was_not_pruned(place: Path) -> None:
    """W = W0 + pruned(sum of all updates), whatever the edits were split into."""
    session = new_session(place, "prune", covariance_weight=1e-4, ridge=1e-3)
    original = {n: session.model.anatomy.matrix(n).clone() for n in (0, 1)}
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
        gap = session.model.anatomy.matrix(layer).double() - wanted
        assert float(gap.norm()) < 1e-4 * float(wanted.norm())
    assert pruned_any, "the edits of this test are meant to be strong"
    alike = new_session(place, "prune", covariance_weight=1e-4, ridge=1e-3)
    alike.edit(FACTS, batch_size=1, monitor=quiet())
    assert alike.weights_digest() == session.weights_digest()


def test_what_is_not_finite_is_refused_and_nothing_is_written(place: Path) -> None:
    hp = settings(place, "ft", step_size=1e5, steps=4)
    session = EditSession(tiny_model("llama", dtype=torch.float16), hyperparameters=hp,
                          contexts=CONTEXTS[:1])  # fmt: skip
    digest = session.weights_digest()
    with pytest.raises(SessionError, match="layer 1: the change that ft made is not finite; lower"):
        session.edit(FACTS, monitor=quiet())
    assert session.weights_digest() == digest and session.applied == 0


def test_two_editors_search_once_for_the_same_facts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alphaedit_core.editing import batch as editing

    searches: list[str] = []
    kept = editing.find_targets

    def counting(*args: Any) -> Any:
        searches.append(args[-1])
        return kept(*args)

    monkeypatch.setattr(editing, "find_targets", counting)
    shared: dict[str, Any] = {}
    digests = {}
    for name in ("alphaedit", "memit", "pmet", "prune"):
        for targets in (shared, None):
            hp = settings(place, name)
            session = EditSession(tiny_model("llama"), None, hp, CONTEXTS[:1], targets)
            session.edit(FACTS, monitor=quiet())
            digests.setdefault(name, set()).add(session.weights_digest())
    assert all(len(found) == 1 for found in digests.values()), "shared or not, the same bits"
    assert searches.count("block") == 1 + 3 and searches.count("attention and mlp") == 2


# -- names, switches and defaults ------------------------------------------------------------------


def test_all_editors_of_the_paper_are_there() -> None:
    assert ALL == [
        "alphaedit", "memit", "pmet", "emmet", "rome", "r-rome", "rect", "rect-by-layer",
        "rect-rome", "prune", "ft", "ft-l",
    ]  # fmt: skip
    for editor in editors().values():
        assert len(editor.about) > 20 and editor.about.endswith(".") and editor.source
    assert [n for n, e in editors().items() if e.projection] == ["alphaedit"]
    assert [n for n, e in editors().items() if e.previous_keys] == ["alphaedit"]


@pytest.mark.parametrize("name", ALL)
def test_the_published_method_is_the_default(name: str) -> None:
    model = tiny_model("llama")
    hp = default_hyperparameters(model, name)
    editor = editor_class(name)
    assert hp.editor == EditSession(model, name).editor == name
    assert hp.projection is editor.projection and hp.previous_keys is bool(editor.previous_keys)
    assert len(hp.layers) == 1 or not editor.preset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"editor": "nope"}, 'editor "nope" does not exist; give one of alphaedit, memit'),
        ({"editor": "rome", "previous_keys": True}, "previous_keys means nothing for the editor"),
        ({"editor": "rome", "previous_keys": False}, "rome writes into one layer, not [0, 1]"),
        (
            {"editor": "rome", "previous_keys": False, "layers": [1], "layer_lambda_factors": [2]},
            "layer_lambda_factors mean nothing for the editor rome, which has no lambda",
        ),
        (
            {"editor": "ft", "previous_keys": False},
            "ft writes into one layer, not [0, 1]; give one",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    place: Path, change: dict[str, Any], message: str
) -> None:
    hp = small(place).replace(**change)
    for make in (
        lambda: EditSession(tiny_model("llama"), hyperparameters=hp),
        lambda: setattr(EditSession(tiny_model("llama")), "hyperparameters", hp),
    ):
        with pytest.raises(InputError) as refused:
            make()
        assert message in str(refused.value)


def test_an_editor_that_contradicts_the_hyperparameters_is_refused(place: Path) -> None:
    with pytest.raises(InputError, match='editor "memit" is not the hyperparameters'):
        EditSession(tiny_model("llama"), "memit", small(place))


def test_another_editor_in_the_same_session(place: Path) -> None:
    session = new_session(place, "alphaedit")
    session.edit(FACTS[:1], monitor=quiet())
    session.hyperparameters = settings(place, "memit", projection=True, previous_keys=True)
    session.edit(FACTS[1:2], monitor=quiet())
    methods = [entry.hyperparameters.method for entry in session.history]
    assert methods == [
        "alphaedit +projection +previous-keys", "memit +projection +previous-keys",
    ]  # fmt: skip
    session.undo()
    session.redo()
    assert session.weights_digest() == session.history[1].digest


def test_two_editors_of_one_name_are_refused() -> None:
    class Other(editor_class("memit")):  # type: ignore[misc]
        name = "memit"

    with pytest.raises(InputError, match="exists already"):
        register(Other)

    class Nameless(editor_class("memit")):  # type: ignore[misc]
        name = None

    with pytest.raises(InputError, match="has no name"):
        register(Nameless)
