"""Curves are drawn as an image whose text says what they are."""

from __future__ import annotations

import base64
import re

import pytest

from alphaedit_core.display.line_chart import curves_html
from alphaedit_core.errors import InputError


def svg(html: str) -> str:
    found = re.search(r"base64,([^\"]+)\"", html)
    assert found
    return base64.b64decode(found[1]).decode()


def test_every_curve_is_drawn_named_and_said() -> None:
    html = curves_html(
        {"text": ([0.01, 0.1], [0.2, 0.4]), "facts <n>": ([0.01, 0.1], [0.5, 0.9])},
        "threshold", "share", "What an edit does.", log="x", mark=(0.02, "the paper's"),
    )  # fmt: skip
    assert html.startswith('<img alt="What an edit does. share against threshold. ')
    assert "text: 0.2 at 0.01, 0.4 at 0.1; facts &lt;n&gt;: 0.5 at 0.01, 0.9 at 0.1." in html
    picture = svg(html)
    for words in (">text<", ">facts &lt;n&gt;<", ">threshold<", ">share<", "the paper's"):
        assert words in picture.replace("&#x27;", "'").replace("&apos;", "'")


def test_equal_curves_give_equal_bytes_and_others_do_not() -> None:
    def drawn(last: float, log: str = "") -> str:
        return curves_html({"a": ([1, 2, 3], [1.0, 2.0, last])}, "x", "y", "It.", log=log)

    assert drawn(3.0) == drawn(3.0)
    assert len({svg(drawn(3.0)), svg(drawn(9.0)), svg(drawn(3.0, "y"))}) == 3


def test_what_has_no_place_on_a_logarithmic_axis_is_left_out() -> None:
    assert "nan" not in svg(curves_html({"a": ([1, 2, 3], [0.0, 1.0, 2.0])}, "x", "y", "", log="y"))


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        ({}, "0 curves cannot be drawn; give 1 to 6"),
        ({str(n): ([1.0], [1.0]) for n in range(7)}, "7 curves cannot be drawn"),
        ({"a": ([1.0, 2.0], [1.0])}, 'curve "a" has 2 x values and 1 y values'),
        ({"a": ([], [])}, 'curve "a" has 0 x values and 0 y values'),
    ],
)
def test_curves_that_cannot_be_drawn_are_refused(
    curves: dict[str, tuple[list[float], list[float]]], words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        curves_html(curves, "x", "y", "")
