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
opened = pytest.fixture(opened_panel)


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
        assert opened.session.hyperparameters.threshold.value == pytest.approx(10**place)
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
    assert str(opened.state.threshold) == "0.02"
    agree(opened)
    assert "0.02" in opened.controls.reset.description
    assert "AlphaEdit's default" in opened.controls.reset.description


def test_the_rules_turn_into_each_other(opened: SpectrumPanel) -> None:
    opened.threshold = 0.3
    rank = opened.rank
    for rule in ("rank", "energy", "absolute", "energy", "rank", "absolute"):
        opened.controls.rule.value = rule
        assert opened.rule == rule and opened.rank == rank
        assert opened.state.threshold.rule == rule
        agree(opened)
    opened.rule = "energy"
    opened.controls.slider.value = 0.25
    assert str(opened.state.threshold) == "energy:0.25" and opened.leakage <= 0.25  # type: ignore[operator]
    agree(opened)
    opened.rule = "rank"
    opened.controls.slider.value = 17.0
    assert str(opened.state.threshold) == "rank:17" and opened.rank == 17
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
    other.on_first_show()
    other.controls.slider.value = -0.5
    agree(opened)
    agree(other)
    assert shape(opened).y0 == pytest.approx(-0.5)


def test_all_and_nothing_are_warned_of(opened: SpectrumPanel) -> None:
    run = EditPanel(opened.state)
    opened.state.facts = list(FACTS)  # type: ignore[assignment]
    assert not run.run_button.disabled and text_of(opened, "warning") == ""
    opened.threshold = 1e-9
    assert "nothing can be written" in text_of(opened, "warning")
    assert opened.rank == 0 and run.run_button.disabled
    opened.threshold = 1e9
    assert "nothing is protected" in text_of(opened, "warning")
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
    assert text_of(opened, "warning").startswith("layer 1: no direction is under")


def test_every_layer_has_its_own_threshold_where_it_was_given_one(opened: SpectrumPanel) -> None:
    hp = opened.session.hyperparameters
    opened.session.hyperparameters = hp.replace(layer_thresholds=("0.5", "rank:7"))
    opened.state.threshold_changes += 1
    spectra = opened.session.spectra()
    for layer, threshold in ((0, "0.5"), (1, "rank:7")):
        opened.layer = layer
        assert opened.rank == spectra[layer].rank(threshold)
        assert f"rank {opened.rank} / 48" in text_of(opened, "layers")
        assert f"null-space rank {opened.rank} / 48" == text_of(opened, "rank")
    assert "at threshold 0.5, rank:7" in opened.static_html()
    opened.threshold = 0.02  # from here on all alike
    assert opened.session.hyperparameters.layer_thresholds == ()
    assert opened.rank == spectra[1].rank(0.02)
