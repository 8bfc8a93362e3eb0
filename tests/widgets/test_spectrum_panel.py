"""The spectrum explorer: its numbers, its three ways to move a threshold, its work, its words."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import AlphaEditError, Cancelled, InputError, SessionError
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.panel import RunPanel
from alphaedit_widgets.spectrum.key_table import facts_table, verdict
from alphaedit_widgets.spectrum.panel import SpectrumPanel
from alphaedit_widgets.spectrum.scales import converted, decimated, log_eigenvalues, visible_range
from alphaedit_widgets.state import State

EVIL = "<img src=x onerror=alert(1)>"


class _Found(HTMLParser):
    def __init__(self, testid: str) -> None:
        super().__init__()
        self.testid, self.depth, self.text, self.seen = testid, 0, "", 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.depth:
            self.depth += tag not in {"img", "br"}
        elif not self.depth and dict(attrs).get("data-testid") == self.testid:
            self.depth, self.seen = 1, self.seen + 1

    def handle_endtag(self, tag: str) -> None:
        self.depth = max(0, self.depth - 1)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text += data


def html_of(widget: W.Widget) -> str:
    own = widget.value if isinstance(widget, W.HTML) else ""
    return own + "".join(html_of(child) for child in getattr(widget, "children", ()))


def said(panel: SpectrumPanel, testid: str) -> str:
    """Text of the one element of this id; "" if there is none."""
    found = _Found(testid)
    found.feed(html_of(panel))
    return found.text


def descending(size: int, high: float = 1e2, low: float = 1e-5) -> np.ndarray:
    return np.geomspace(high, low, size)


def with_spectra(eigenvalues: dict[int, np.ndarray], threshold: str = "0.02") -> State:
    """A state whose session has made-up spectra for layers 0 and 1 (no eigenvectors)."""
    session = EditSession(tiny_model("llama"), contexts=[])
    layers = tuple(eigenvalues)
    session.hyperparameters = session.hyperparameters.replace(layers=layers, threshold=threshold)
    session._spectra = {n: Spectrum(n, v, 12_345, None, 2e-7) for n, v in eigenvalues.items()}
    return State(session)


@pytest.fixture
def made_up() -> State:
    return with_spectra({0: descending(48), 1: descending(48, 30.0, 1e-3)})


@pytest.fixture
def opened(made_up: State) -> SpectrumPanel:
    panel = SpectrumPanel(made_up)
    panel.opened()
    return panel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that the tests with a real tiny model share."""
    place = tmp_path_factory.mktemp("spectrum")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(place / "cache"))
        yield place


def real(folder: Path, **changes: Any) -> State:
    model = tiny_model("llama")
    settings = small(folder, **changes)
    return State(EditSession(model, hyperparameters=settings, contexts=CONTEXTS[:1]))


def shape(panel: SpectrumPanel, index: int = 0) -> Any:
    assert panel.figure is not None
    return panel.figure.figure.layout.shapes[index]


def wait(state: State) -> None:
    """Until the job that opening started has ended."""
    if state.job is not None:
        assert state.job.wait(20)


# -------------------------------------------------------------------------------------- numbers


def test_rank_and_leakage_are_what_a_cell_computes(opened: SpectrumPanel) -> None:
    for layer in (0, 1):
        opened.layer = layer
        eigenvalues = opened.session.spectra()[layer].eigenvalues
        for threshold in (0.02, 1e-4, 0.5, 7.0):
            opened.threshold = threshold
            rank = int((eigenvalues < threshold).sum())
            leakage = eigenvalues[eigenvalues < threshold].sum() / eigenvalues.sum()
            assert opened.rank == rank and opened.threshold == threshold
            assert said(opened, "rank") == f"null-space rank {rank} / 48"
            assert said(opened, "leakage") == f"leakage {leakage:.4f}"
            assert opened.leakage == pytest.approx(leakage)
    assert said(opened, "effective-rank").startswith("effective rank ")
    assert said(opened, "health") == "‖UᵀU − I‖ 2.0e-07"
    assert "12,345 tokens" in said(opened, "source")


def test_nothing_heavy_is_made_before_it_is_shown(made_up: State) -> None:
    panel = SpectrumPanel(made_up)
    assert panel.figure is None and made_up.job is None
    panel.opened()
    figure = panel.figure
    panel.opened()
    assert panel.figure is figure and figure is not None
    figures = [w for w in everything(panel) if isinstance(w, go.FigureWidget)]
    assert len(figures) == 1
    assert made_up.job is None  # all is known already


def everything(widget: W.Widget) -> list[W.Widget]:
    below = [w for child in getattr(widget, "children", ()) for w in everything(child)]
    return [widget, *below]


def test_every_control_has_a_name(opened: SpectrumPanel) -> None:
    kinds = (W.Dropdown, W.FloatText, W.Button)
    named = [w.description for w in everything(opened) if isinstance(w, kinds)]
    assert len(named) == 9 and all(named)
    assert opened.controls.number.description == "Threshold"
    assert opened.controls.slider.label == "Threshold slider"


def test_the_texts_of_models_and_users_are_escaped(made_up: State) -> None:
    panel = SpectrumPanel(made_up)
    made_up.facts = [Fact(EVIL, "{} is in", "Rome")]  # type: ignore[assignment]
    assert said(panel, "selected") == f"selected: {EVIL}"
    shown = facts_table(made_up.facts, {0: [0.5]}, made_up.fact)
    assert "<img" not in html_of(panel) + shown and "&lt;img" in shown


# ------------------------------------------------------------------------------ the threshold


def agree(panel: SpectrumPanel) -> None:
    """Slider, number box, line, text and session say the same."""
    own = Threshold.parse(panel.state.threshold)
    controls, line = panel.controls, shape(panel)
    assert controls.rule.value == own.rule == panel.rule
    assert controls.number.value == own.value
    wanted = np.log10(own.value) if own.rule == "absolute" else own.value
    assert controls.slider.value == pytest.approx(wanted, abs=2e-6)
    assert controls.slider.min <= controls.slider.value <= controls.slider.max
    assert line.y0 == line.y1
    if own.rule == "absolute":
        assert line.y0 == controls.slider.value
    assert said(panel, "rank").startswith(f"null-space rank {panel.rank} ")


def test_slider_and_number_box_agree_and_reach_the_session(opened: SpectrumPanel) -> None:
    controls, state = opened.controls, opened.state
    agree(opened)
    ranks = []
    for place in (-4.0, -2.51, -1.0, 0.5, 1.3):
        before = state.threshold_changes
        controls.slider.value = place
        assert state.threshold_changes == before + 1  # no echo
        agree(opened)
        assert controls.slider.value == place  # the knob stays where the hand has it
        assert float(opened.session.hyperparameters.threshold) == pytest.approx(10**place)
        ranks.append(opened.rank)
    assert ranks == sorted(ranks) and len(set(ranks)) == 5
    before = state.threshold_changes
    controls.number.value = 0.3
    assert state.threshold_changes == before + 1 and opened.threshold == 0.3
    agree(opened)
    # One step of the slider changes the rank of a full spectrum at once.
    controls.slider.value += 30 * controls.slider.step
    agree(opened)
    assert opened.threshold > 0.3


def test_the_default_lies_on_the_sliders_grid(opened: SpectrumPanel) -> None:
    slider = opened.controls.slider
    steps = (np.log10(0.02) - slider.min) / slider.step
    assert steps == pytest.approx(round(steps), abs=1e-6)


def test_a_wrong_number_changes_nothing_and_is_named(opened: SpectrumPanel) -> None:
    opened.controls.number.value = -1.0
    assert opened.threshold == 0.02 and opened.controls.number.value == 0.02
    assert "-1" in opened.state.notice
    opened.rule = "rank"
    opened.controls.number.value = 49
    assert "49" in opened.state.notice
    agree(opened)
    with pytest.raises(InputError):
        opened.threshold = "rank:49"  # type: ignore[assignment]
    with pytest.raises(InputError):
        opened.threshold = "much"  # type: ignore[assignment]
    agree(opened)


@pytest.mark.parametrize("ends", [{"y0", "y1"}, {"y0"}, {"y1"}])
def test_dragging_the_line(opened: SpectrumPanel, ends: set[str]) -> None:
    assert opened.figure is not None
    figure, before = opened.figure.figure, opened.state.threshold_changes
    assert shape(opened).editable
    moved = {f"shapes[0].{end}": -0.75 for end in ends}
    figure.plotly_relayout(moved | {"shapes[0].x0": 0.1})
    assert opened.state.threshold_changes == before + 1
    assert opened.threshold == pytest.approx(10**-0.75, rel=1e-5)
    assert (shape(opened).x0, shape(opened).x1) == (0, 1)
    agree(opened)


def test_pushing_the_line_along_itself_changes_nothing(opened: SpectrumPanel) -> None:
    assert opened.figure is not None
    opened.figure.figure.plotly_relayout({"shapes[0].x0": 0.2, "shapes[0].x1": 1.2})
    assert (shape(opened).x0, shape(opened).x1) == (0, 1)
    assert opened.state.threshold_changes == 0


def test_dragging_in_the_other_views(opened: SpectrumPanel) -> None:
    assert opened.figure is not None
    figure = opened.figure.figure
    opened.view = "cumulative energy"
    assert shape(opened).x0 == 48 - opened.rank + 0.5  # type: ignore[operator]
    figure.plotly_relayout({"shapes[0].x0": 20.4, "shapes[0].x1": 20.4})
    assert opened.rank == 28 and opened.rule == "absolute"
    assert shape(opened).x0 == 20.5
    opened.index = "log"
    assert shape(opened).x0 == pytest.approx(np.log10(20.5))
    figure.plotly_relayout({"shapes[0].x0": np.log10(10.5), "shapes[0].x1": np.log10(10.5)})
    assert opened.rank == 38
    opened.view = "histogram"
    assert figure.data[3].visible and not figure.data[0].visible
    assert sum(figure.data[3].y) == 48
    assert shape(opened).x0 == pytest.approx(np.log10(opened.threshold))
    figure.plotly_relayout({"shapes[0].x0": -2.0, "shapes[0].x1": -2.0})
    assert opened.threshold == pytest.approx(0.01)
    opened.view, opened.index = "eigenvalues", "linear"
    agree(opened)


def test_the_kept_part_is_shaded_and_the_default_is_named(opened: SpectrumPanel) -> None:
    assert opened.figure is not None
    layout = opened.figure.figure.layout
    opened.threshold = 1.0
    assert opened.rank is not None
    assert (shape(opened, 1).x0, shape(opened, 1).x1) == (48 - opened.rank + 0.5, 48.5)
    words = [note.text for note in layout.annotations]
    assert "AlphaEdit's default 0.02" in words and "threshold 1.0" in words
    assert f"kept: {opened.rank}" in words
    assert shape(opened, 2).y0 == pytest.approx(np.log10(0.02))
    opened.controls.reset.click()
    assert opened.state.threshold == "0.02"
    agree(opened)
    assert "0.02" in opened.controls.reset.description
    assert "AlphaEdit's default" in opened.controls.reset.description


def test_the_rules_turn_into_each_other(opened: SpectrumPanel) -> None:
    opened.threshold = 0.3
    rank = opened.rank
    for rule in ("rank", "energy", "absolute", "energy", "rank", "absolute"):
        opened.controls.rule.value = rule
        assert opened.rule == rule and opened.rank == rank
        assert opened.state.threshold.startswith(rule) or rule == "absolute"
        agree(opened)
    opened.rule = "energy"
    opened.controls.slider.value = 0.25
    assert opened.state.threshold == "energy:0.25" and opened.leakage <= 0.25  # type: ignore[operator]
    agree(opened)
    opened.rule = "rank"
    opened.controls.slider.value = 17.0
    assert opened.state.threshold == "rank:17" and opened.rank == 17
    assert shape(opened, 1).x0 == (48 - 17 + 0.5)
    agree(opened)


def test_a_converted_threshold_has_few_digits_and_the_same_rank() -> None:
    spectrum = Spectrum(0, descending(1000), 1)
    for rank in (0, 1, 333, 999, 1000):
        for rule in ("absolute", "energy"):
            found = converted(spectrum, Threshold("rank", rank), rule)  # type: ignore[arg-type]
            assert spectrum.rank(found) == rank
    assert len(str(converted(spectrum, Threshold("rank", 333), "absolute"))) <= 7


def test_another_layer_keeps_the_threshold(opened: SpectrumPanel) -> None:
    assert opened.figure is not None
    opened.threshold = 0.5
    opened._layer.value = 0
    assert (opened.layer, opened.state.layer, opened.threshold) == (0, 0, 0.5)
    assert opened.figure.figure.layout.title.text.startswith("Layer 0: ")
    opened.state.layer = 1
    assert opened._layer.value == 1
    assert opened.figure.figure.layout.title.text.startswith("Layer 1: ")
    # What a page that is loaded again is sent.
    assert "Layer 1: " in str(opened.figure.figure._widget_layout["title"])
    assert opened.figure.figure._widget_layout["shapes"][0]["y0"] == shape(opened).y0
    agree(opened)
    with pytest.raises(SessionError, match=r"\[0, 1\]"):
        opened.layer = 2


def test_two_panels_of_one_state_stay_in_step(opened: SpectrumPanel) -> None:
    other = SpectrumPanel(opened.state)
    other.opened()
    other.controls.slider.value = -0.5
    agree(opened)
    agree(other)
    assert shape(opened).y0 == pytest.approx(-0.5)


def test_all_and_nothing_are_warned_of(opened: SpectrumPanel) -> None:
    run = RunPanel(opened.state)
    opened.state.facts = list(FACTS)  # type: ignore[assignment]
    assert not run.run_button.disabled and said(opened, "warning") == ""
    opened.threshold = 1e-9
    assert "nothing can be written" in said(opened, "warning")
    assert opened.rank == 0 and run.run_button.disabled
    opened.threshold = 1e9
    assert "nothing is protected" in said(opened, "warning")
    assert opened.rank == 48 and run.run_button.disabled
    assert "ae-warning" in html_of(opened)
    # At both ends of the slider too.
    for end, rank in ((opened.controls.slider.min, 0), (opened.controls.slider.max, 48)):
        opened.reset()
        opened.controls.slider.value = end
        assert opened.rank == rank
    # A layer that is not shown counts as well.
    opened.layer, opened.threshold = 0, 5e-4
    assert opened.rank is not None and opened.rank > 0
    assert said(opened, "warning").startswith("layer 1: no direction is under")


# ---------------------------------------------------------------------------- large and massive


def test_a_wide_layer_reaches_the_browser_thinned_and_is_counted_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 14_336
    values = descending(size)
    state = with_spectra({0: values, 1: values * 2})
    monkeypatch.setattr(torch.linalg, "eigh", lambda *_: pytest.fail("decomposed again"))
    panel = SpectrumPanel(state)
    panel.opened()
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
    assert f"/ {size}" in said(panel, "rank")


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
    panel.opened()
    assert panel.figure is not None
    figure = panel.figure.figure
    panel.layer = 1
    assert not figure.data[2].visible and "no massive direction" in said(panel, "massive")
    panel.layer = 0
    low, high = figure.layout.yaxis.range
    assert high < np.log10(values[1]) + 1.0
    assert figure.data[2].visible and all(low < y < high for y in figure.data[2].y)
    assert any("1 massive direction" in (n.text or "") for n in figure.layout.annotations)
    assert "The first direction is massive" in said(panel, "massive")
    assert "1 massive" in said(panel, "layers")
    panel.view = "cumulative energy"
    assert figure.data[1].y[0] == 0 and figure.data[1].y[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    "values", [np.zeros(8), np.ones(8), np.array([3.0]), np.array([4.0, 2.0, 1.0, 0.0, -1e-18])]
)
def test_odd_spectra_can_be_drawn(values: np.ndarray) -> None:
    state = with_spectra({0: values})
    panel = SpectrumPanel(state)
    panel.opened()
    for view in ("eigenvalues", "cumulative energy", "histogram"):
        panel.view = view
        for threshold in (0.0, 0.02, 1.0, 1e6, "rank:1", "energy:1.0"):
            panel.threshold = threshold  # type: ignore[assignment]
            assert panel.rank == state.session.spectra()[0].rank(threshold)
    spectrum = state.session.spectra()[0]
    assert (
        np.isfinite(log_eigenvalues(spectrum)).all() and np.isfinite(visible_range(spectrum)).all()
    )


def test_every_layer_has_its_own_threshold_where_it_was_given_one(opened: SpectrumPanel) -> None:
    hp = opened.session.hyperparameters
    opened.session.hyperparameters = hp.replace(layer_thresholds=("0.5", "rank:7"))
    opened.state.threshold_changes += 1
    spectra = opened.session.spectra()
    for layer, threshold in ((0, "0.5"), (1, "rank:7")):
        opened.layer = layer
        assert opened.rank == spectra[layer].rank(threshold)
        assert f"rank {opened.rank} / 48" in said(opened, "layers")
        assert f"null-space rank {opened.rank} / 48" == said(opened, "rank")
    assert "at threshold 0.5, rank:7" in opened.static_html()
    opened.threshold = 0.02  # from here on all alike
    assert opened.session.hyperparameters.layer_thresholds == ()
    assert opened.rank == spectra[1].rank(0.02)


def test_all_layers_are_shown_small(opened: SpectrumPanel) -> None:
    shown = html_of(opened)
    assert shown.count('<figure class="ae-mini"') == 2 and shown.count("aria-current=true") == 1
    for layer, spectrum in opened.session.spectra().items():
        assert f"rank {spectrum.rank(0.02)} / 48" in said(opened, "layers"), layer


# ------------------------------------------------------------------------------------- the work


def test_collecting_shows_progress_and_the_next_session_reads_the_cache(folder: Path) -> None:
    state = real(folder)
    panel = SpectrumPanel(state)
    seen: list[str] = []
    panel._progress.observe(lambda change: seen.append(change["new"]), "value")
    panel.opened()
    wait(state)
    assert panel.spectrum is None and state.failure is None  # nothing was collected unasked
    assert not panel.collect_button.disabled and panel.collect_button.layout.display == ""
    assert panel.summary() == "SpectrumPanel(layer 1, threshold rank:30: not collected)"
    assert panel.rank is None and panel.leakage is None and panel.shares == {}
    panel.collect(block=True)
    assert any(re.search(r"token [\d,]+ / 1,024, [\d,]+ tokens/s", text) for text in seen)
    assert said(panel, "source").startswith("collected now, ")
    assert panel.rank == 30 and panel.collect_button.layout.display == "none"
    tokens = panel.spectrum.tokens  # type: ignore[union-attr]

    again = SpectrumPanel(real(folder))
    again.opened()
    wait(again.state)
    assert said(again, "source") == f"from cache, {tokens:,} tokens"
    assert again.rank == 30 and again.figure is not None
    assert again.figure.figure.layout.title.text.startswith("Layer 1: null-space rank 30 / 48")


def test_cancel_keeps_everything_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = real(folder, tokens=2048)
    panel = SpectrumPanel(state)

    def cancelling(text: str) -> None:
        if "statistics" in text and not panel.cancel_button.disabled:
            panel.cancel_button.click()

    panel._progress.observe(lambda change: cancelling(change["new"]), "value")
    with pytest.raises(Cancelled):
        panel.collect(block=True)
    assert panel.spectrum is None and "cancelled at token" in state.notice
    assert not panel.collect_button.disabled and panel.cancel_button.disabled


def test_a_failure_is_said_and_the_button_works_again(folder: Path) -> None:
    state = real(folder, text=str(folder / "none.txt"))
    panel = SpectrumPanel(state)
    panel.opened()
    wait(state)
    assert state.failure is None
    with pytest.raises(AlphaEditError):
        panel.collect(block=True)
    assert "none.txt" in said(panel, "failed") and not panel.collect_button.disabled


def test_shares_of_the_facts_keys_follow_the_threshold(folder: Path) -> None:
    state = real(folder)
    state.session.spectra(quiet())
    state.facts = list(FACTS)  # type: ignore[assignment]
    state.selected = 1
    panel = SpectrumPanel(state)
    assert panel.shares == {} and "not read yet" in html_of(panel)
    panel.opened()
    wait(state)
    assert panel.survival is not None and panel.survival.facts == FACTS
    before = panel.shares
    assert sorted(before) == [0, 1] and len(before[0]) == len(FACTS)
    table = said(panel, "survival")
    assert f"{before[0][0]:.1%}" in table and "Newton" in table
    assert said(panel, "selected") == "selected: Newton"
    panel.threshold = "rank:47"  # type: ignore[assignment]
    more = panel.shares
    assert all(m >= b for layer in before for m, b in zip(more[layer], before[layer], strict=True))
    assert f"{more[0][0]:.1%}" in said(panel, "survival")
    hp = state.session.hyperparameters
    state.session.hyperparameters = hp.replace(layer_thresholds=("rank:30", "rank:47"))
    assert panel.shares == {0: before[0], 1: more[1]}
    panel.threshold = "rank:1"  # type: ignore[assignment]
    least = panel.shares
    hopeless = [i for i in range(len(FACTS)) if max(least[0][i], least[1][i]) < 0.05]
    assert hopeless and said(panel, "survival").count("cannot be written") == len(hopeless)


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
    state.touch()
    assert said(panel, "stale") and panel.keys_button.layout.display == ""
    panel.read_keys(block=True)
    assert not said(panel, "stale") and panel.shares[1] != pytest.approx(foretold)
    state.session.undo()
    state.touch()
    assert said(panel, "stale")
    state.session.reset()
    state.facts = list(FACTS[:1])  # type: ignore[assignment]
    panel.keys_button.click()
    wait(state)
    assert panel.survival is not None and panel.survival.facts == FACTS[:1]
    state.facts = []  # type: ignore[assignment]
    assert "No fact is entered yet" in html_of(panel)


def test_words_for_what_cannot_be_written() -> None:
    assert verdict({4: 0.5, 5: 0.06}) == "can be written"
    assert verdict({4: 0.5, 5: 0.04}).startswith("hardly in layer 5")
    assert verdict({4: 0.049, 5: 0.0}).startswith("cannot be written: ")


def test_the_threshold_waits_for_the_model(folder: Path) -> None:
    """While another job has the model nothing is lost, and all controls show what is true."""
    state = real(folder)
    panel = SpectrumPanel(state)
    panel.collect(block=True)
    panel.opened()
    held: list[float] = []

    def work(_: Any) -> None:
        with state.session.model.in_use():
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
    with pytest.raises(SessionError, match="collect the statistics first"):
        panel.rule = "energy"
