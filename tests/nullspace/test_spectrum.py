"""Definitions of the spectrum on handmade eigenvalues, and projectors against dense matrices."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphaedit_core.covariance.files import KeyStatistics, LayerStatistics, StatisticsSpec
from alphaedit_core.errors import CorruptFileError, InputError
from alphaedit_core.model.identity import Identity
from alphaedit_core.nullspace import eigendecomposition
from alphaedit_core.nullspace.eigendecomposition import eigendecompose, eigendecompose_layer
from alphaedit_core.nullspace.files import save_spectrum
from alphaedit_core.nullspace.projectors import Projector
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.tensor_files import load_tensors


def by_hand(*eigenvalues: float) -> Spectrum:
    return Spectrum(7, np.array(eigenvalues, dtype=np.float64), tokens=1000)


# ---------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    ("eigenvalues", "massive"),
    [
        ([4.0, 3.0, 2.0, 1.0], 0),
        ([30.0, 3.0, 2.0, 1.0], 1),  # a tenfold drop is enough
        ([29.9, 3.0, 2.0, 1.0], 0),
        ([900.0, 800.0, 3.0, 2.0, 1.0], 2),
        ([900.0, 80.0, 3.0, 2.0, 1.0], 2),  # the largest drop counts, not the first
        ([900.0, 20.0, 2.0, 1.0, 0.5], 1),
        ([9e5, 9e4, 9e3, 9e2, 9e1, 1.0, 0.5], 5),
        ([6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.01, 0.001], 0),  # a drop behind the first five
        ([3.0, 0.0, 0.0], 0),  # nothing below to be massive against
        ([5.0], 0),
        ([0.0, 0.0], 0),
    ],
)
def test_massive_directions(eigenvalues: list[float], massive: int) -> None:
    assert by_hand(*eigenvalues).num_massive_directions == massive


def test_trace_leakage_and_effective_rank_exclude_massive_directions() -> None:
    s = by_hand(1000.0, 4.0, 3.0, 2.0, 1.0)
    assert (s.size, s.num_massive_directions, s.trace) == (5, 1, 10.0)
    assert [s.rank(t) for t in (0.5, 1.0, 1.5, 2.0, 4.0, 4.5, 1000.0, 2000.0)] == [
        *(0, 0, 1, 1, 3, 4, 4, 5)  # under the threshold, not at it
    ]
    assert [s.leakage(f"rank:{r}") for r in range(5)] == pytest.approx([0, 0.1, 0.3, 0.6, 1.0])
    assert s.leakage("rank:5") == pytest.approx(101.0)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    assert s.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert by_hand(3.0, 3.0, 3.0, 0.0).effective_rank == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("energy", "rank"), [(0.0, 0), (0.05, 0), (0.1, 1), (0.2, 1), (0.3, 2), (0.99, 3), (1.0, 4)]
)
def test_energy_rule_matches_leakage(energy: float, rank: int) -> None:
    assert by_hand(4.0, 3.0, 2.0, 1.0).rank(f"energy:{energy}") == rank
    assert by_hand(1000.0, 4.0, 3.0, 2.0, 1.0).rank(f"energy:{energy}") == rank


def test_zero_and_negative_eigenvalues() -> None:
    nothing = by_hand(0.0, 0.0, 0.0)
    assert (nothing.trace, nothing.effective_rank, nothing.leakage(0.02)) == (0.0, 0.0, 0.0)
    assert nothing.rank(0.02) == 3
    noisy = by_hand(6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 1e-17, -1e-17)
    assert noisy.rank(0.5) == 2 and noisy.leakage("rank:2") == pytest.approx(0.0, abs=1e-15)
    assert noisy.rank(0.0) == 0 and noisy.convert("rank:1", "absolute").value == 1e-17


def test_rank_larger_than_space() -> None:
    with pytest.raises(InputError, match="keeps more than the 3 directions of layer 7; use a"):
        by_hand(3.0, 2.0, 1.0).rank("rank:4")


eigenvalues = st.lists(
    st.floats(1e-6, 1e4, allow_nan=False), min_size=2, max_size=40, unique=True
).map(lambda values: sorted(values, reverse=True))
fractions = st.floats(0.0, 1.0)


@given(eigenvalues, fractions, fractions)
def test_rank_is_monotonic_in_threshold(values: list[float], a: float, b: float) -> None:
    s, (low, high) = by_hand(*values), sorted((a, b))
    assert s.rank(f"energy:{low}") <= s.rank(f"energy:{high}")
    assert s.leakage(f"energy:{high}") <= high
    top = values[0] * 1.1
    assert s.rank(low * top) <= s.rank(high * top)
    assert s.leakage(low * top) <= s.leakage(high * top)
    leakages = [s.leakage(f"rank:{rank}") for rank in range(s.size + 1)]
    assert leakages == sorted(leakages) and leakages[0] == 0.0
    assert 1.0 <= s.effective_rank <= s.size - s.num_massive_directions + 1e-9


@given(eigenvalues, st.data())
def test_convert_between_rules(values: list[float], data: st.DataObject) -> None:
    s = by_hand(*values)
    rank = data.draw(st.integers(0, s.size - s.num_massive_directions))
    given_rank = Threshold("rank", rank)
    absolute = s.convert(given_rank, "absolute")
    assert s.rank(absolute) == rank and s.convert(absolute, "rank") == given_rank
    energy = s.convert(given_rank, "energy")
    assert s.rank(energy) >= rank  # more only where the next eigenvalues are nothing to the sum
    assert s.leakage(energy) == pytest.approx(s.leakage(given_rank), rel=1e-12, abs=1e-15)
    assert s.rank(Threshold.parse(str(absolute))) == rank
    assert Threshold.parse(str(energy)) == energy


def test_convert_at_full_and_empty_space() -> None:
    s = by_hand(1000.0, 3.0, 2.0, 1.0)
    assert s.rank(s.convert("rank:4", "absolute")) == 4
    assert s.rank(s.convert("rank:0", "absolute")) == 0
    assert s.convert("rank:0", "energy") == Threshold("energy", 0.0)
    assert s.convert("rank:4", "energy") == Threshold("energy", 1.0)


# ----------------------------------------------------------------------------------- thresholds


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        (0.02, "absolute", 0.02),
        ("0.02", "absolute", 0.02),
        ("absolute:2e-2", "absolute", 0.02),
        ("energy:0.1", "energy", 0.1),
        ("rank:1000", "rank", 1000.0),
        (3, "absolute", 3.0),
    ],
)
def test_parse_threshold(text: str | float, rule: str, value: float) -> None:
    threshold = Threshold.parse(text)
    assert (threshold.rule, threshold.value) == (rule, value)
    assert Threshold.parse(threshold) is threshold
    assert Threshold.parse(str(threshold)) == threshold


@pytest.mark.parametrize(
    "text",
    [
        *("", "half", "nan", -0.02, "share:0.1"),
        *("energy:1.5", "energy:-0.1", "energy:nan", "energy:"),
        *("rank:2.5", "rank:-1", "rank:inf", "rank:1:2"),
    ],
)
def test_invalid_threshold(text: str | float) -> None:
    with pytest.raises(InputError, match=r"cannot be parsed; use a number such as 0\.02"):
        Threshold.parse(text)


def test_warning_for_empty_and_full_space() -> None:
    s = by_hand(3.0, 2.0, 1.0)
    assert s.threshold_warning(0.5) == (
        "layer 7: no direction is under the threshold 0.5, so nothing can be written; raise it"
    )
    assert s.threshold_warning("rank:3") == (
        "layer 7: all 3 directions are under the threshold rank:3, so nothing is protected; lower "
        "it"
    )
    assert s.threshold_warning(1.5) == s.threshold_warning("energy:0.3") == ""


def test_the_summary_is_one_line() -> None:
    line = "layer 7: kept 2 of 4 at 2.5, leakage 50.0%, effective rank 3, 1 massive"
    assert by_hand(1000.0, 3.0, 2.0, 1.0).summary(2.5) == line
    assert "massive" not in by_hand(3.0, 2.0, 1.0).summary(2.5)
    assert repr(by_hand(3.0, 2.0, 1.0)).startswith("Spectrum(layer 7: kept 0 of 3 at 0.02, ")


# ------------------------------------------------------------------- eigenvectors and projectors

SIZE = 24


def statistics(seed: int = 0, layers: tuple[int, ...] = (3,)) -> KeyStatistics:
    """Return second moments of keys with scales from 10 down to 0.01."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for layer in layers:
        basis = torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator).double()).Q
        moment = (basis * torch.logspace(1, -2, SIZE, dtype=torch.float64)) @ basis.T
        found[layer] = LayerStatistics(layer, moment.float(), 5000)
    return KeyStatistics(StatisticsSpec(Identity("f", "float32"), "t", "name", 5000, 50), found)


def dense(projector: Projector) -> torch.Tensor:
    return projector(torch.eye(projector.size, dtype=torch.float64))


def expected_projector(stats: KeyStatistics, rank: int) -> torch.Tensor:
    vectors = torch.linalg.eigh(stats[3].moment.double()).eigenvectors[:, :rank]
    return vectors @ vectors.T


@pytest.mark.parametrize("rank", range(SIZE + 1))
def test_projector_matches_dense_with_smaller_basis(cache: Path, rank: int) -> None:
    stats = statistics()
    projector = eigendecompose_layer(stats, 3).projector(f"rank:{rank}")
    assert projector.rank == rank and projector.size == SIZE
    assert projector.basis.shape[1] == min(rank, SIZE - rank) <= SIZE // 2
    assert projector.kept == (rank <= SIZE - rank)
    found = dense(projector)
    torch.testing.assert_close(found, expected_projector(stats, rank), rtol=0, atol=1e-5)
    torch.testing.assert_close(projector(found), found, rtol=0, atol=1e-5)  # P P = P
    assert projector(torch.ones(SIZE, 2)).dtype == torch.float32


def test_identity_projector() -> None:
    identity, vectors = Projector.identity(5), torch.randn(5, 3)
    assert torch.equal(identity(vectors), vectors)
    assert (identity.rank, identity.size, identity.basis.numel()) == (5, 5, 0)


def test_eigenvalues_and_vectors_match_moment(cache: Path) -> None:
    stats = statistics()
    s = eigendecompose_layer(stats, 3)
    exact = torch.linalg.eigvalsh(stats[3].moment.double()).flip(0).numpy()
    np.testing.assert_allclose(s.eigenvalues, exact, rtol=1e-10)
    assert s.eigenvalues.dtype == np.float64
    assert list(s.eigenvalues) == sorted(s.eigenvalues, reverse=True)
    assert (s.layer, s.tokens) == (3, 5000) and 0 <= s.orthogonality_error < 1e-5
    vectors = s.vectors(0, SIZE).double()
    moment = stats[3].moment.double()
    torch.testing.assert_close(moment @ vectors, vectors * torch.tensor(exact), rtol=0, atol=1e-5)
    assert torch.equal(s.vectors(4, 9), s.vectors(0, SIZE)[:, 4:9])


def test_spectrum_is_cached(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = statistics()
    first = eigendecompose_layer(stats, 3)
    monkeypatch.setattr(torch.linalg, "eigh", lambda _: pytest.fail("computed without need"))
    again = eigendecompose_layer(stats, 3)
    assert np.array_equal(again.eigenvalues, first.eigenvalues)
    assert (again.orthogonality_error, again.tokens) == (first.orthogonality_error, 5000)
    assert torch.equal(again.vectors(0, SIZE), first.vectors(0, SIZE))
    monkeypatch.undo()


def test_other_statistics_have_own_spectra(cache: Path) -> None:
    one, other = eigendecompose_layer(statistics(0), 3), eigendecompose_layer(statistics(1), 3)
    assert one.vectors_file != other.vectors_file
    assert not torch.equal(one.vectors(0, SIZE), other.vectors(0, SIZE))


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "something else"])
def test_damaged_file_is_replaced(
    cache: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stats = statistics()
    first = eigendecompose_layer(stats, 3)
    file = first.vectors_file
    assert file is not None
    whole, vectors = file.read_bytes(), first.vectors(0, SIZE)
    contents = {
        "cut": whole[:-100],
        "changed": whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:],
        "empty": b"",
        "something else": b"not a tensor in sight",
    }
    file.write_bytes(contents[damage])
    with caplog.at_level(logging.WARNING, eigendecomposition.__name__):
        again = eigendecompose_layer(stats, 3)
    assert "computing it again" in caplog.text and str(file) in caplog.text
    assert np.array_equal(again.eigenvalues, first.eigenvalues)
    assert torch.equal(again.vectors(0, SIZE), vectors)
    load_tensors(file)  # is whole again


def test_vectors_of_damaged_file(cache: Path) -> None:
    s = eigendecompose_layer(statistics(), 3)
    assert s.vectors_file is not None
    s.vectors_file.write_bytes(b"")
    with pytest.raises(CorruptFileError, match="damaged"):
        s.projector("rank:5")


def test_only_required_vectors_are_read(cache: Path) -> None:
    """A small projector reads only part of the file."""
    s = eigendecompose_layer(statistics(), 3)
    projector = s.projector("rank:2")
    assert projector.basis.untyped_storage().nbytes() == 2 * SIZE * 4


def test_spectra_of_all_layers(cache: Path) -> None:
    stats, monitor = statistics(layers=(3, 5)), Monitor(show=None)
    found = eigendecompose(stats, monitor=monitor)
    assert list(found) == [3, 5] and found[5].layer == 5
    assert not np.array_equal(found[3].vectors(0, 1), found[5].vectors(0, 1))
    assert "null space" in monitor.seconds


@pytest.mark.parametrize("rank", [None, 5, 20])
def test_inverse_of_full_and_restricted_moment(cache: Path, rank: int | None) -> None:
    stats = statistics()
    made = eigendecompose_layer(stats, 3)
    found = made.inverse(None if rank is None else f"rank:{rank}")
    size = made.size
    dense_metric = found.sqrt_matmul_T(found.sqrt_matmul(torch.eye(size, dtype=torch.float64)))
    moment = stats[3].moment.double()
    if rank is None:
        wanted = torch.linalg.inv(moment)
    else:
        kept = made.vectors(size - rank, size).double()
        wanted = kept @ torch.linalg.inv(kept.T @ moment @ kept) @ kept.T
    assert found.width == (size if rank is None else rank)
    assert float((dense_metric - wanted).norm() / wanted.norm()) < 1e-4


def test_inverse_floors_eigenvalues_at_rounding(tmp_path: Path) -> None:
    """Next to a massive direction, small eigenvalues are noise and may be negative."""
    values = np.array([1000.0, 1.0, 1e-9, -1e-9])
    file = tmp_path / "vectors.safetensors"
    save_spectrum(file, torch.from_numpy(values), torch.eye(4), {})
    scale = Spectrum(0, values, 10, file).inverse(None).scale
    least = 1000.0 * float(np.finfo(np.float32).eps)
    assert scale.tolist() == pytest.approx([1000**-0.5, 1.0, least**-0.5, least**-0.5], rel=1e-5)
