"""Line charts as images with alternative text."""

from __future__ import annotations

import base64
import re

import pytest

from alphaedit_core.display.line_chart import curves_html
from alphaedit_core.errors import InputError


def svg(html: str) -> str:
    match = re.search(r"base64,([^\"]+)\"", html)
    assert match
    return base64.b64decode(match[1]).decode()


def test_every_curve_is_in_the_figure_and_its_text() -> None:
    html = curves_html(
        {"text": ([0.01, 0.1], [0.2, 0.4]), "facts <n>": ([0.01, 0.1], [0.5, 0.9])},
        "threshold", "share", "What an edit does.", log="x", mark=(0.02, "the paper's"),
    )  # fmt: skip
    assert html.startswith('<img alt="What an edit does. share against threshold. ')
    assert "text: 0.2 at 0.01, 0.4 at 0.1; facts &lt;n&gt;: 0.5 at 0.01, 0.9 at 0.1." in html
    figure = svg(html)
    for text in (">text<", ">facts &lt;n&gt;<", ">threshold<", ">share<", "the paper's"):
        assert text in figure.replace("&#x27;", "'").replace("&apos;", "'")


def test_equal_curves_give_equal_bytes_and_others_do_not() -> None:
    def chart(last: float, log: str = "") -> str:
        return curves_html({"a": ([1, 2, 3], [1.0, 2.0, last])}, "x", "y", "It.", log=log)

    assert chart(3.0) == chart(3.0)
    assert len({svg(chart(3.0)), svg(chart(9.0)), svg(chart(3.0, "y"))}) == 3


def test_zero_is_left_out_of_a_logarithmic_axis() -> None:
    assert "nan" not in svg(curves_html({"a": ([1, 2, 3], [0.0, 1.0, 2.0])}, "x", "y", "", log="y"))


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({}, "0 curves cannot be drawn; give 1 to 6"),
        ({str(n): ([1.0], [1.0]) for n in range(7)}, "7 curves cannot be drawn"),
        ({"a": ([1.0, 2.0], [1.0])}, 'curve "a" has 2 x values and 1 y values'),
        ({"a": ([], [])}, 'curve "a" has 0 x values and 0 y values'),
    ],
)
def test_invalid_curves_are_refused(
    curves: dict[str, tuple[list[float], list[float]]], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        curves_html(curves, "x", "y", "")
