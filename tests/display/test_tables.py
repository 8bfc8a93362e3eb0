"""Tables as plain text."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from alphaedit_core.display.tables import text_table


@pytest.mark.parametrize(
    "text",
    [
        "巴黎是法国的首都",  # Chinese
        "東京タワー",  # Japanese
        "서울",  # Korean
        "e\u0301te\u0301",  # combining marks
        "[bold]x[/bold]",  # no markup
        "plain",
    ],
)
def test_columns_align_in_every_script(text: str) -> None:
    [heading, rule, first, second] = text_table(
        ("prompt", "p"), [(text, "1"), ("Tōkyō", "2")]
    ).splitlines()
    assert first.startswith(text)
    width = max(cell_len(text), len("prompt"))
    assert rule == "─" * width + "  ─"
    for line in (heading, first, second):
        assert cell_len(line) == width + 3


def test_a_long_cell_stays_whole_in_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert "x" * 500 in text_table(("a",), [("x" * 500,)])
