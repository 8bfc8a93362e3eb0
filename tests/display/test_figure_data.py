"""Figure data: limits of axes, and thinning of points."""

from __future__ import annotations

from math import inf, nan

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas

from alphaedit_core.display.figure_data import (
    STROKES,
    Axis,
    Curve,
    Figure,
    Panel,
    Rule,
    coordinates,
    data_limits,
    sample_indices,
    stroke,
)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values",
    [[1.0, 2.0, 30.0], [-4.0, 0.0, 5.0], [2.0], [1.0, 1.0], [0.0, 0.001, 7.0]],
)
def test_limits_equal_those_of_matplotlib(values: list[float], log: bool) -> None:
    axes = Canvas().subplots()
    axes.set_yscale("log" if log else "linear")
    axes.plot(values)
    assert data_limits(values, log=log) == pytest.approx(axes.get_ylim())


def test_values_outside_the_axis_do_not_change_its_limits() -> None:
    assert data_limits([None, nan, inf, 0.0, 10.0]) == (-0.5, 10.5)
    low, high = data_limits([-1.0, 0.0, 1.0, 100.0], log=True, margins=(0.0, 0.5))
    assert (low, high) == (pytest.approx(1.0), pytest.approx(1000.0))
    assert data_limits([0.0, -1.0], log=True) == data_limits([], log=True)
    assert data_limits([0.0, 0.0]) == pytest.approx((-0.055, 0.055))
    assert data_limits([]) == (-0.05, 1.05)
    assert data_limits([0.1 * 3, 0.3]) == pytest.approx((0.2835, 0.3165)), "equal up to rounding"
    low, high = data_limits([5e-324, 1.7e308], log=True)
    assert 0 < low < high < inf


def test_limits_include_the_rules_unless_given() -> None:
    curve = Curve((0, 10), (0, 1), "#777777")
    rules = (Rule(20, "#777777", upright=True), Rule(-1, "#777777"))
    panel = Panel(Axis(margins=(0, 0)), Axis(margins=(0, 0)), curves=(curve,), rules=rules)
    assert (panel.x_limits, panel.y_limits) == ((0, 20), (-1, 1))
    assert Panel(Axis(limits=(5, 0)), curves=(curve,)).x_limits == (5, 0)


def test_points_without_a_value_are_skipped_and_many_are_thinned() -> None:
    assert coordinates([(1, 2.0), (2, None), (3, 4.0)]) == ((1, 3), (2.0, 4.0))
    assert coordinates([]) == ((), ())
    indices = sample_indices(10_000, 100)
    assert len(indices) <= 100 and (indices[0], indices[-1]) == (0, 9999)
    assert np.array_equal(sample_indices(7), range(7))


def test_every_curve_has_a_stroke_and_every_panel_a_row() -> None:
    assert [stroke(index) for index in range(len(STROKES))] == list(STROKES)
    assert len(set(STROKES)) == 6 and stroke(6) == stroke(60) == ("#777777", ())
    assert [Figure(1, 1, (Panel(),) * count, columns=3).rows for count in (1, 3, 4)] == [1, 1, 2]
