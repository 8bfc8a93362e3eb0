"""The threshold of the spectrum explorer: slider, number box, line, rules and layers."""

from __future__ import annotations

import numpy as np
import pytest
from examples import FACTS
from spectrum_panels import agree, descending, html_of, made_up_state, opened_panel, shape, text_of

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.nullspace.spectrum import Spectrum
from alphaedit_core.nullspace.thresholds import Threshold
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.spectrum.panel import SpectrumPanel
from alphaedit_widgets.spectrum.scales import converted

made_up = pytest.fixture(made_up_state)
shown_panel = pytest.fixture(opened_panel)


def test_slider_and_number_box_agree_and_reach_the_session(shown_panel: SpectrumPanel) -> None:
    controls, state = shown_panel.controls, shown_panel.state
    agree(shown_panel)
    ranks = []
    for place in (-4.0, -2.51, -1.0, 0.5, 1.3):
        before = state.threshold_changes
        controls.slider.value = place
        assert state.threshold_changes == before + 1  # no echo
        agree(shown_panel)
        assert controls.slider.value == place  # the knob stays where the hand has it
        assert shown_panel.session.hyperparameters.threshold.value == pytest.approx(10**place)
        ranks.append(shown_panel.rank)
    assert ranks == sorted(ranks) and len(set(ranks)) == 5
    before = state.threshold_changes
    controls.number.value = 0.3
    assert state.threshold_changes == before + 1 and shown_panel.threshold == 0.3
    agree(shown_panel)
    # One step of the slider changes the rank of a full spectrum at once.
    controls.slider.value += 30 * controls.slider.step
    agree(shown_panel)
    assert shown_panel.threshold > 0.3


def test_the_default_lies_on_the_sliders_grid(shown_panel: SpectrumPanel) -> None:
    slider = shown_panel.controls.slider
    steps = (np.log10(0.02) - slider.min) / slider.step
    assert steps == pytest.approx(round(steps), abs=1e-6)


def test_a_wrong_number_changes_nothing_and_is_named(shown_panel: SpectrumPanel) -> None:
    shown_panel.controls.number.value = -1.0
    assert shown_panel.threshold == 0.02 and shown_panel.controls.number.value == 0.02
    assert "-1" in shown_panel.state.notice
    shown_panel.rule = "rank"
    shown_panel.controls.number.value = 49
    assert "49" in shown_panel.state.notice
    agree(shown_panel)
    with pytest.raises(InputError):
        shown_panel.threshold = "rank:49"  # type: ignore[assignment]
    with pytest.raises(InputError):
        shown_panel.threshold = "much"  # type: ignore[assignment]
    agree(shown_panel)


@pytest.mark.parametrize("ends", [{"y0", "y1"}, {"y0"}, {"y1"}])
def test_dragging_the_line(shown_panel: SpectrumPanel, ends: set[str]) -> None:
    assert shown_panel.figure is not None
    figure, before = shown_panel.figure.figure, shown_panel.state.threshold_changes
    assert shape(shown_panel).editable
    moved = {f"shapes[0].{end}": -0.75 for end in ends}
    figure.plotly_relayout(moved | {"shapes[0].x0": 0.1})
    assert shown_panel.state.threshold_changes == before + 1
    assert shown_panel.threshold == pytest.approx(10**-0.75, rel=1e-5)
    assert (shape(shown_panel).x0, shape(shown_panel).x1) == (0, 1)
    agree(shown_panel)


def test_pushing_the_line_along_itself_changes_nothing(shown_panel: SpectrumPanel) -> None:
    assert shown_panel.figure is not None
    shown_panel.figure.figure.plotly_relayout({"shapes[0].x0": 0.2, "shapes[0].x1": 1.2})
    assert (shape(shown_panel).x0, shape(shown_panel).x1) == (0, 1)
    assert shown_panel.state.threshold_changes == 0


def test_dragging_in_the_other_views(shown_panel: SpectrumPanel) -> None:
    assert shown_panel.figure is not None
    figure = shown_panel.figure.figure
    shown_panel.view = "cumulative energy"
    assert shape(shown_panel).x0 == 48 - shown_panel.rank + 0.5  # type: ignore[operator]
    figure.plotly_relayout({"shapes[0].x0": 20.4, "shapes[0].x1": 20.4})
    assert shown_panel.rank == 28 and shown_panel.rule == "absolute"
    assert shape(shown_panel).x0 == 20.5
    shown_panel.index = "log"
    assert shape(shown_panel).x0 == pytest.approx(np.log10(20.5))
    figure.plotly_relayout({"shapes[0].x0": np.log10(10.5), "shapes[0].x1": np.log10(10.5)})
    assert shown_panel.rank == 38
    shown_panel.view = "histogram"
    assert figure.data[3].visible and not figure.data[0].visible
    assert sum(figure.data[3].y) == 48
    assert shape(shown_panel).x0 == pytest.approx(np.log10(shown_panel.threshold))
    figure.plotly_relayout({"shapes[0].x0": -2.0, "shapes[0].x1": -2.0})
    assert shown_panel.threshold == pytest.approx(0.01)
    shown_panel.view, shown_panel.index = "eigenvalues", "linear"
    agree(shown_panel)


def test_the_kept_part_is_shaded_and_the_default_is_named(shown_panel: SpectrumPanel) -> None:
    assert shown_panel.figure is not None
    layout = shown_panel.figure.figure.layout
    shown_panel.threshold = 1.0
    assert shown_panel.rank is not None
    assert (shape(shown_panel, 1).x0, shape(shown_panel, 1).x1) == (
        48 - shown_panel.rank + 0.5,
        48.5,
    )
    words = [note.text for note in layout.annotations]
    assert "AlphaEdit's default 0.02" in words and "threshold 1.0" in words
    assert f"kept: {shown_panel.rank}" in words
    assert shape(shown_panel, 2).y0 == pytest.approx(np.log10(0.02))
    shown_panel.controls.reset.click()
    assert str(shown_panel.state.threshold) == "0.02"
    agree(shown_panel)
    assert "0.02" in shown_panel.controls.reset.description
    assert "AlphaEdit's default" in shown_panel.controls.reset.description


def test_the_rules_turn_into_each_other(shown_panel: SpectrumPanel) -> None:
    shown_panel.threshold = 0.3
    rank = shown_panel.rank
    for rule in ("rank", "energy", "absolute", "energy", "rank", "absolute"):
        shown_panel.controls.rule.value = rule
        assert shown_panel.rule == rule and shown_panel.rank == rank
        assert shown_panel.state.threshold.rule == rule
        agree(shown_panel)
    shown_panel.rule = "energy"
    shown_panel.controls.slider.value = 0.25
    assert str(shown_panel.state.threshold) == "energy:0.25" and shown_panel.leakage <= 0.25  # type: ignore[operator]
    agree(shown_panel)
    shown_panel.rule = "rank"
    shown_panel.controls.slider.value = 17.0
    assert str(shown_panel.state.threshold) == "rank:17" and shown_panel.rank == 17
    assert shape(shown_panel, 1).x0 == (48 - 17 + 0.5)
    agree(shown_panel)


def test_a_converted_threshold_has_few_digits_and_the_same_rank() -> None:
    spectrum = Spectrum(0, descending(1000), 1)
    for rank in (0, 1, 333, 999, 1000):
        for rule in ("absolute", "energy"):
            found = converted(spectrum, Threshold("rank", rank), rule)  # type: ignore[arg-type]
            assert spectrum.rank(found) == rank
    assert len(str(converted(spectrum, Threshold("rank", 333), "absolute"))) <= 7


def test_another_layer_keeps_the_threshold(shown_panel: SpectrumPanel) -> None:
    assert shown_panel.figure is not None
    shown_panel.threshold = 0.5
    shown_panel._layer.value = 0
    assert (shown_panel.layer, shown_panel.state.layer, shown_panel.threshold) == (0, 0, 0.5)
    assert shown_panel.figure.figure.layout.title.text.startswith("Layer 0: ")
    shown_panel.state.layer = 1
    assert shown_panel._layer.value == 1
    assert shown_panel.figure.figure.layout.title.text.startswith("Layer 1: ")
    # What a page that is loaded again is sent.
    assert "Layer 1: " in str(shown_panel.figure.figure._widget_layout["title"])
    assert shown_panel.figure.figure._widget_layout["shapes"][0]["y0"] == shape(shown_panel).y0
    agree(shown_panel)
    with pytest.raises(SessionError, match=r"\[0, 1\]"):
        shown_panel.layer = 2


def test_two_panels_of_one_state_stay_in_step(shown_panel: SpectrumPanel) -> None:
    other = SpectrumPanel(shown_panel.state)
    other.on_first_show()
    other.controls.slider.value = -0.5
    agree(shown_panel)
    agree(other)
    assert shape(shown_panel).y0 == pytest.approx(-0.5)


def test_all_and_nothing_are_warned_of(shown_panel: SpectrumPanel) -> None:
    run = EditPanel(shown_panel.state)
    shown_panel.state.facts = list(FACTS)  # type: ignore[assignment]
    assert not run.run_button.disabled and text_of(shown_panel, "warning") == ""
    shown_panel.threshold = 1e-9
    assert "nothing can be written" in text_of(shown_panel, "warning")
    assert shown_panel.rank == 0 and run.run_button.disabled
    shown_panel.threshold = 1e9
    assert "nothing is protected" in text_of(shown_panel, "warning")
    assert shown_panel.rank == 48 and run.run_button.disabled
    assert "ae-warning" in html_of(shown_panel)
    # At both ends of the slider too.
    for end, rank in ((shown_panel.controls.slider.min, 0), (shown_panel.controls.slider.max, 48)):
        shown_panel.reset()
        shown_panel.controls.slider.value = end
        assert shown_panel.rank == rank
    # A layer that is not shown counts as well.
    shown_panel.layer, shown_panel.threshold = 0, 5e-4
    assert shown_panel.rank is not None and shown_panel.rank > 0
    assert text_of(shown_panel, "warning").startswith("layer 1: no direction is under")


def test_every_layer_has_its_own_threshold_where_it_was_given_one(
    shown_panel: SpectrumPanel,
) -> None:
    hp = shown_panel.session.hyperparameters
    shown_panel.session.hyperparameters = hp.replace(layer_thresholds=("0.5", "rank:7"))
    shown_panel.state.threshold_changes += 1
    spectra = shown_panel.session.spectra()
    for layer, threshold in ((0, "0.5"), (1, "rank:7")):
        shown_panel.layer = layer
        assert shown_panel.rank == spectra[layer].rank(threshold)
        assert f"rank {shown_panel.rank} / 48" in text_of(shown_panel, "layers")
        assert f"null-space rank {shown_panel.rank} / 48" == text_of(shown_panel, "rank")
    assert "at threshold 0.5, rank:7" in shown_panel.static_html()
    shown_panel.threshold = 0.02  # from here on all alike
    assert shown_panel.session.hyperparameters.layer_thresholds == ()
    assert shown_panel.rank == spectra[1].rank(0.02)
