"""The work of the spectrum explorer: collecting, and the shares of the facts' keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from examples import FACTS, quiet
from spectrum_panels import agree, html_of, own_cache, real, text_of, wait

from alphaedit_core.errors import AlphaEditError, Canceled
from alphaedit_widgets.spectrum.key_table import verdict
from alphaedit_widgets.spectrum.panel import SpectrumPanel

folder = pytest.fixture(own_cache, scope="module")


def test_collecting_shows_progress_and_the_next_session_reads_the_cache(folder: Path) -> None:
    state = real(folder)
    panel = SpectrumPanel(state)
    seen: list[str] = []
    panel._progress.observe(lambda change: seen.append(change["new"]), "value")
    panel.on_first_show()
    wait(state)
    assert panel.spectrum is None and state.failure is None  # nothing was collected unasked
    assert not panel.collect_button.disabled and panel.collect_button.layout.display == ""
    assert panel.summary() == "SpectrumPanel(layer 1, threshold rank:30: not collected)"
    assert panel.rank is None and panel.leakage is None and panel.shares == {}
    panel.collect(block=True)
    assert any(re.search(r"token [\d,]+ / 1,024, [\d,]+ tokens/s", text) for text in seen)
    assert text_of(panel, "source").startswith("collected now, ")
    assert panel.rank == 30 and panel.collect_button.layout.display == "none"
    tokens = panel.spectrum.tokens  # type: ignore[union-attr]

    again = SpectrumPanel(real(folder))
    again.on_first_show()
    wait(again.state)
    assert text_of(again, "source") == f"from cache, {tokens:,} tokens"
    assert again.rank == 30 and again.figure is not None
    assert again.figure.figure.layout.title.text.startswith("Layer 1: null-space rank 30 / 48")


def test_cancel_keeps_everything_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = real(folder, tokens=2048)
    panel = SpectrumPanel(state)

    def canceling(text: str) -> None:
        if "statistics" in text and not panel.cancel_button.disabled:
            panel.cancel_button.click()

    panel._progress.observe(lambda change: canceling(change["new"]), "value")
    with pytest.raises(Canceled):
        panel.collect(block=True)
    assert panel.spectrum is None and "canceled at token" in state.notice
    assert not panel.collect_button.disabled and panel.cancel_button.disabled


def test_a_failure_is_said_and_the_button_works_again(folder: Path) -> None:
    state = real(folder, text=str(folder / "none.txt"))
    panel = SpectrumPanel(state)
    panel.on_first_show()
    wait(state)
    assert state.failure is None
    with pytest.raises(AlphaEditError):
        panel.collect(block=True)
    assert "none.txt" in text_of(panel, "failed") and not panel.collect_button.disabled


def test_shares_of_the_facts_keys_follow_the_threshold(folder: Path) -> None:
    state = real(folder)
    state.session.spectra(quiet())
    state.facts = list(FACTS)  # type: ignore[assignment]
    state.selected = 1
    panel = SpectrumPanel(state)
    assert panel.shares == {} and "not been read yet" in html_of(panel)
    panel.on_first_show()
    wait(state)
    assert panel.key_projection is not None and panel.key_projection.facts == FACTS
    before = panel.shares
    assert sorted(before) == [0, 1] and len(before[0]) == len(FACTS)
    table = text_of(panel, "survival")
    assert f"{before[0][0]:.1%}" in table and "Newton" in table
    assert text_of(panel, "selected") == "selected: Newton"
    panel.threshold = "rank:47"  # type: ignore[assignment]
    more = panel.shares
    assert all(m >= b for layer in before for m, b in zip(more[layer], before[layer], strict=True))
    assert f"{more[0][0]:.1%}" in text_of(panel, "survival")
    hp = state.session.hyperparameters
    state.session.hyperparameters = hp.replace(layer_thresholds=("rank:30", "rank:47"))
    assert panel.shares == {0: before[0], 1: more[1]}
    panel.threshold = "rank:1"  # type: ignore[assignment]
    least = panel.shares
    hopeless = [i for i in range(len(FACTS)) if max(least[0][i], least[1][i]) < 0.05]
    assert hopeless and text_of(panel, "survival").count("cannot be written") == len(hopeless)


def test_shares_are_those_that_the_edit_then_has(folder: Path) -> None:
    state = real(folder)
    state.facts = list(FACTS)  # type: ignore[assignment]
    panel = SpectrumPanel(state)
    panel.collect(block=True)
    assert panel.keys_button.layout.display == "none"
    foretold = panel.shares[0]
    result = state.session.edit(FACTS, monitor=quiet())
    assert foretold == pytest.approx(result.writes[0][0].kept, abs=1e-4)
    # The model is another one now: the shares are those of the old one, and it says so.
    state.notify_weights_changed()
    assert text_of(panel, "stale") and panel.keys_button.layout.display == ""
    panel.read_keys(block=True)
    assert not text_of(panel, "stale") and panel.shares[1] != pytest.approx(foretold)
    state.session.undo()
    state.notify_weights_changed()
    assert text_of(panel, "stale")
    state.session.reset()
    state.facts = list(FACTS[:1])  # type: ignore[assignment]
    panel.keys_button.click()
    wait(state)
    assert panel.key_projection is not None and panel.key_projection.facts == FACTS[:1]
    state.facts = []  # type: ignore[assignment]
    assert "No facts yet" in html_of(panel)


def test_words_for_what_cannot_be_written() -> None:
    assert verdict({4: 0.5, 5: 0.06}) == "can be written"
    assert verdict({4: 0.5, 5: 0.04}).startswith("hardly in layer 5")
    assert verdict({4: 0.049, 5: 0.0}).startswith("cannot be written: ")


def test_the_threshold_waits_for_the_model(folder: Path) -> None:
    """While another job has the model nothing is lost, and all controls show what is true."""
    state = real(folder)
    panel = SpectrumPanel(state)
    panel.collect(block=True)
    panel.on_first_show()
    held: list[float] = []

    def work(_: Any) -> None:
        with state.session.model.exclusive():
            entered.set()
            assert leave.wait(10)

    import threading

    entered, leave = threading.Event(), threading.Event()
    job = state.start("other", work)
    assert entered.wait(10)
    try:
        assert panel.controls.number.disabled and panel.controls.reset.disabled
        panel.controls.slider.value = 12.0
        held.append(panel.controls.slider.value)
        assert "busy" in state.notice and panel.rank == 30
    finally:
        leave.set()
        assert job.wait(10)
    assert held == [30.0] and not panel.controls.number.disabled
    agree(panel)
