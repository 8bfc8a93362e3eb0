"""The figure and the words of the spectrum explorer, with a kernel and without."""

from __future__ import annotations

import re
import time
from pathlib import Path

import ipywidgets as W
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from examples import quiet
from spectrum_panels import (
    descending,
    html_of,
    made_up_state,
    opened_panel,
    own_cache,
    real,
    text_of,
    with_spectra,
)
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import SessionError
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.spectrum.key_table import facts_table
from alphaedit_widgets.spectrum.panel import SpectrumPanel
from alphaedit_widgets.spectrum.scales import decimated, log_eigenvalues, visible_range
from alphaedit_widgets.state import State

made_up = pytest.fixture(made_up_state)
shown_panel = pytest.fixture(opened_panel)
folder = pytest.fixture(own_cache, scope="module")

EVIL = "<img src=x onerror=alert(1)>"


# -------------------------------------------------------------------------------------- numbers


def test_rank_and_leakage_are_what_a_cell_computes(shown_panel: SpectrumPanel) -> None:
    for layer in (0, 1):
        shown_panel.layer = layer
        eigenvalues = shown_panel.session.spectra()[layer].eigenvalues
        for threshold in (0.02, 1e-4, 0.5, 7.0):
            shown_panel.threshold = threshold
            rank = int((eigenvalues < threshold).sum())
            leakage = eigenvalues[eigenvalues < threshold].sum() / eigenvalues.sum()
            assert shown_panel.rank == rank and shown_panel.threshold == threshold
            assert text_of(shown_panel, "rank") == f"null-space rank {rank} / 48"
            assert text_of(shown_panel, "leakage") == f"leakage {leakage:.4f}"
            assert shown_panel.leakage == pytest.approx(leakage)
    assert text_of(shown_panel, "effective-rank").startswith("effective rank ")
    assert text_of(shown_panel, "health") == "‖UᵀU − I‖ 2.0e-07"
    assert "12,345 tokens" in text_of(shown_panel, "source")


def test_nothing_heavy_is_made_before_it_is_shown(made_up: State) -> None:
    panel = SpectrumPanel(made_up)
    assert panel.figure is None and made_up.job is None
    panel.on_first_show()
    figure = panel.figure
    panel.on_first_show()
    assert panel.figure is figure and figure is not None
    figures = [w for w in everything(panel) if isinstance(w, go.FigureWidget)]
    assert len(figures) == 1
    assert made_up.job is None  # all is known already


def everything(widget: W.Widget) -> list[W.Widget]:
    below = [w for child in getattr(widget, "children", ()) for w in everything(child)]
    return [widget, *below]


def test_every_control_has_a_name(shown_panel: SpectrumPanel) -> None:
    kinds = (W.Dropdown, W.FloatText, W.Button)
    named = [w.description for w in everything(shown_panel) if isinstance(w, kinds)]
    assert len(named) == 9 and all(named)
    assert shown_panel.controls.number.description == "Threshold"
    assert shown_panel.controls.slider.label == "Threshold slider"


def test_the_texts_of_models_and_users_are_escaped(made_up: State) -> None:
    panel = SpectrumPanel(made_up)
    made_up.facts = [Fact(EVIL, "{} is in", "Rome")]  # type: ignore[assignment]
    assert text_of(panel, "selected") == f"selected: {EVIL}"
    shown = facts_table(made_up.facts, {0: [0.5]}, made_up.fact)
    assert "<img" not in html_of(panel) + shown and "&lt;img" in shown


# ---------------------------------------------------------------------------- large and massive


def test_a_wide_layer_reaches_the_browser_thinned_and_is_counted_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 14_336
    values = descending(size)
    state = with_spectra({0: values, 1: values * 2})
    monkeypatch.setattr(torch.linalg, "eigh", lambda *_: pytest.fail("decomposed again"))
    panel = SpectrumPanel(state)
    panel.on_first_show()
    assert panel.figure is not None
    panel.index = "log"
    for trace in panel.figure.figure.data:
        assert len(trace.y) <= 2000
    moves = 8
    start = time.perf_counter()
    for threshold in np.geomspace(1e-3, 1, moves):
        panel.controls.slider.value = float(np.log10(threshold))
    assert (time.perf_counter() - start) / moves < 1.0
    assert panel.rank == int((panel.session.spectra()[1].eigenvalues < panel.threshold).sum())
    assert f"/ {size}" in text_of(panel, "rank")


@pytest.mark.parametrize("size", [1, 2, 1999, 2000, 2001, 6400, 14_336])
def test_thinning_keeps_the_ends_and_every_step(size: int) -> None:
    index = decimated(size)
    assert len(index) <= 2000 and index[0] == 0 and index[-1] == size - 1
    assert (np.diff(index) > 0).all()
    if size > 2000:
        # Of a step anywhere, both sides are drawn, as far apart as a bin at most.
        assert np.diff(index).max() <= size / 400
        assert (index[:5] == np.arange(5)).all()


def test_a_massive_direction_is_marked_and_does_not_flatten_the_rest() -> None:
    values = descending(48)
    values[0] = 1e7
    state = with_spectra({0: values, 1: descending(48)})
    panel = SpectrumPanel(state)
    panel.on_first_show()
    assert panel.figure is not None
    figure = panel.figure.figure
    panel.layer = 1
    assert not figure.data[2].visible and "no massive direction" in text_of(panel, "massive")
    panel.layer = 0
    low, high = figure.layout.yaxis.range
    assert high < np.log10(values[1]) + 1.0
    assert figure.data[2].visible and all(low < y < high for y in figure.data[2].y)
    assert any("1 massive direction" in (n.text or "") for n in figure.layout.annotations)
    assert "The first direction is massive" in text_of(panel, "massive")
    assert "1 massive" in text_of(panel, "layers")
    panel.view = "cumulative energy"
    assert figure.data[1].y[0] == 0 and figure.data[1].y[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    "values", [np.zeros(8), np.ones(8), np.array([3.0]), np.array([4.0, 2.0, 1.0, 0.0, -1e-18])]
)
def test_odd_spectra_can_be_drawn(values: np.ndarray) -> None:
    state = with_spectra({0: values})
    panel = SpectrumPanel(state)
    panel.on_first_show()
    for view in ("eigenvalues", "cumulative energy", "histogram"):
        panel.view = view
        for threshold in (0.0, 0.02, 1.0, 1e6, "rank:1", "energy:1.0"):
            panel.threshold = threshold  # type: ignore[assignment]
            assert panel.rank == state.session.spectra()[0].rank(threshold)
    spectrum = state.session.spectra()[0]
    assert (
        np.isfinite(log_eigenvalues(spectrum)).all() and np.isfinite(visible_range(spectrum)).all()
    )


def test_all_layers_are_shown_small(shown_panel: SpectrumPanel) -> None:
    shown = html_of(shown_panel)
    assert shown.count('<figure class="ae-mini"') == 2 and shown.count("aria-current=true") == 1
    for layer, spectrum in shown_panel.session.spectra().items():
        assert f"rank {spectrum.rank(0.02)} / 48" in text_of(shown_panel, "layers"), layer


# --------------------------------------------------------------------------------- without a kernel


def test_static_output_has_a_picture_in_words(folder: Path) -> None:
    state = real(folder)
    state.session.spectra(quiet())
    panel = SpectrumPanel(state)
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel)
    assert re.fullmatch(
        r"SpectrumPanel\(layer 1: kept 30 of 48 at rank:30, leakage [\d.]+%, .*\)", repr(panel)
    )
    alt = re.search(r'<img alt="([^"]*)"', bundle["text/html"])
    assert alt is not None
    assert all(word in alt.group(1) for word in ("layer 1", "rank:30", "smallest 30"))
    assert bundle["text/html"].count("<tr>") >= 4  # a row for every layer


def test_shown_alone_it_waits_for_the_cache(folder: Path) -> None:
    real(folder).session.spectra(quiet())
    panel = SpectrumPanel(real(folder).session)
    bundle = panel._repr_mimebundle_()
    assert "kept 30 of 48" in bundle["text/plain"] and "<img" in bundle["text/html"]
    assert not panel.state.busy


def test_before_anything_is_known_the_static_output_says_so() -> None:
    panel = SpectrumPanel(EditSession(tiny_model("llama")))
    assert "not collected" in panel.static_html() and np.isfinite(panel.threshold)
    with pytest.raises(SessionError, match="collect statistics first"):
        panel.rule = "energy"
