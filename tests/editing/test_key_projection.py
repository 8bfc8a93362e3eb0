"""Fractions of keys in the kept space at every threshold, compared with float64 projectors."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import CONTEXTS, FACTS, key, quiet, requests_of, small
from tiny import tiny_model

from alphaedit_core.covariance.collect import cached_checksums, collect_statistics
from alphaedit_core.editing import key_projection as module
from alphaedit_core.editing.key_projection import fact_keys, project_keys, shares_by_rank
from alphaedit_core.errors import Canceled
from alphaedit_core.nullspace.files import save_spectrum
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession


def made_up(folder: Path, size: int, seed: int = 0) -> Spectrum:
    """A spectrum with random eigenvectors in a file, as a session has it."""
    generator = torch.Generator().manual_seed(seed)
    square = torch.randn(size, size, generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(square)
    file = folder / "vectors.safetensors"
    values = np.geomspace(1e3, 1e-6, size)
    save_spectrum(file, torch.from_numpy(values), basis.T.float(), {})
    return Spectrum(3, values, 1000, file, 1e-7)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditSession]:
    folder = tmp_path_factory.mktemp("survival")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        made = EditSession(
            tiny_model("llama"), hyperparameters=small(folder), contexts=list(CONTEXTS)
        )
        made.spectra(quiet())
        yield made


@pytest.mark.parametrize("piece", [7, 512])
def test_fractions_match_projector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK", piece)
    spectrum = made_up(tmp_path, 60)
    keys = torch.randn(60, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    keys[:, 3] *= 1e4
    shares = shares_by_rank(spectrum, keys)
    assert shares.shape == (61, 4) and shares.dtype == np.float64
    assert (shares[0] == 0).all() and shares[60] == pytest.approx(np.ones(4), abs=1e-5)
    assert (np.diff(shares, axis=0) >= 0).all()
    for threshold in (0.0, 1e-5, 0.02, 5.0, 1e4, "rank:1", "rank:29", "rank:31", "energy:0.3"):
        projected = spectrum.projector(threshold)(keys)
        wanted = (projected.norm(dim=0) / keys.norm(dim=0)).square().numpy()
        assert shares[spectrum.rank(threshold)] == pytest.approx(wanted, abs=2e-6), threshold


def test_zero_key_has_zero_fraction(tmp_path: Path) -> None:
    shares = shares_by_rank(made_up(tmp_path, 12), torch.zeros(12, 1))
    assert (shares == 0).all()


def test_eigenvectors_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 16)
    asked: list[tuple[int, int]] = []
    read = Spectrum.vectors

    def noted(self: Spectrum, start: int, stop: int) -> torch.Tensor:
        asked.append((start, stop))
        return read(self, start, stop)

    monkeypatch.setattr(Spectrum, "vectors", noted)
    shares_by_rank(made_up(tmp_path, 40), torch.randn(40, 2))
    assert asked == [(24, 40), (8, 24), (0, 8)]


@pytest.mark.parametrize("layout", ["llama", "gpt2", "opt"])
def test_keys_are_averages_at_subject(layout: str) -> None:
    model = tiny_model(layout)
    keys = fact_keys(model, FACTS, CONTEXTS, (0, 1, 2), quiet())
    for layer, found in keys.items():
        for place, request in enumerate(requests_of(model, 2)):
            bare, *others = (key(model, layer, row) for row in request.rows)
            wanted = (bare + torch.stack(others).mean(dim=0)) / 2
            assert torch.allclose(found[:, place], wanted, rtol=1e-4, atol=1e-5), (layer, place)


def test_matches_first_layer_of_edit(session: EditSession) -> None:
    """Before an edit, the fractions at the first edited layer equal those of the edit."""
    known = session.spectra(quiet())
    hp = session.hyperparameters
    keys = fact_keys(session.model, FACTS, session.contexts, hp.layers, quiet())
    found = project_keys(FACTS, keys, known, quiet())
    assert found.facts == FACTS and sorted(found.by_layer) == list(hp.layers)
    ranks = {layer: spectrum.rank(hp.threshold) for layer, spectrum in known.items()}
    predicted = found.at(ranks)
    try:
        result = session.edit(FACTS, monitor=quiet())
    finally:
        session.reset()
    first = result.writes[0][0]
    assert first.layer == hp.layers[0]
    assert predicted[first.layer] == pytest.approx(first.kept, abs=1e-4)


def test_can_be_canceled(tmp_path: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Canceled):
        shares_by_rank(made_up(tmp_path, 12), torch.ones(12, 1), Monitor(None, cancel))


def test_cached_spectra_are_known_without_reading(
    session: EditSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hp, model = session.hyperparameters, session.model
    session.spectra(quiet())
    stored = collect_statistics(model, hp.text, hp.layers, hp.tokens, monitor=quiet())
    found = cached_checksums(model, hp.text, hp.layers, hp.tokens)
    assert found == {layer: stored[layer].checksum for layer in hp.layers}
    assert cached_checksums(model, hp.text, (*hp.layers, 2), hp.tokens) is None
    assert cached_checksums(model, hp.text, hp.layers, 512) is None
    assert cached_checksums(tiny_model("llama", seed=1), hp.text, hp.layers, hp.tokens) is None
    # The same name, another text.
    text = Path(hp.text)
    before = text.read_text("utf-8")
    text.write_text(before + " more", encoding="utf-8")
    try:
        assert cached_checksums(model, hp.text, hp.layers, hp.tokens) is None
    finally:
        text.write_text(before, encoding="utf-8")
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "empty"))
    # Nothing is fetched to learn that nothing is there.
    monkeypatch.setattr(
        "alphaedit_core.corpora.sources.fetch_packaged", lambda *_, **__: pytest.fail("fetched")
    )
    assert cached_checksums(model, "wikipedia-sample", hp.layers, 1024) is None
