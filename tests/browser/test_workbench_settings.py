"""Facts, threshold and editor chosen in the workbench, up to an edit that is canceled.

The tests share one page and go on where the one before ended. The numbers in brackets name the
criteria of the screens.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from pages import Page, expect
from workbench_page import digest_of, eventually, ready


@pytest.fixture(scope="module", autouse=True)
def unbroken(wb: Page) -> Iterator[None]:
    """In the end nothing has left the machine, and nothing broke: [S0.5]."""
    yield
    assert wb.outside == []
    assert wb.errors == []


def test_the_header(wb: Page) -> None:
    """[S0.1]"""
    session_text = wb.by_testid("session").text_content()
    assert (
        "smollm2-135m · float32 · cpu · alphaedit +projection +previous-keys · edits: 0"
        in session_text
    )
    ready(wb)
    assert "GB free" in wb.by_testid("memory").text_content()


def test_a_fact_is_typed(wb: Page) -> None:
    """[S1.1, S1.2, S1.3, S1.6]"""
    page = wb.page
    page.get_by_label("Subject 1", exact=True).fill("Eiffel Tower")
    page.get_by_label("Prompt 1", exact=True).fill("Eiffel Tower is located in the city of")
    page.get_by_label("Target 1", exact=True).fill("Dnipro")
    page.locator("button.ae-add").click()
    expect(wb.by_testid("fact-status")).to_contain_text("needs: {} in the prompt")
    assert wb.python("print(len(wb.facts))") == "0"
    page.get_by_label("Prompt 1", exact=True).fill("{} is located in the city of")
    page.locator("button.ae-add").click()  # typing and then at once a click
    expect(wb.by_testid("fact-status")).to_have_text("ready")
    assert wb.python("print(len(wb.facts), wb.facts[0].target)") == "1 Dnipro"
    assert wb.by_testid("fact-tokens").text_content().count("·") >= 1
    expect(wb.by_testid("selected")).to_have_text("selected: Eiffel Tower")
    wb.tab("Compare")
    expect(wb.by_testid("selected")).to_have_text("selected: Eiffel Tower")
    wb.tab("Spectrum")
    expect(wb.by_testid("selected")).to_have_text("selected: Eiffel Tower")


def test_lines_are_pasted(wb: Page) -> None:
    """[S1.5]"""
    wb.tab("Facts")
    page = wb.page
    page.locator("button.ae-paste").click()
    lines = ["A\t{} is a\tb", "B\tno slot\tb", "C\t{} is a\tb"]
    page.get_by_label("Rows to add").fill("\n".join(lines))
    page.locator("button.ae-add-pasted").click()
    expect(wb.by_testid("facts-message")).to_contain_text("line 2")
    assert wb.python("print(len(wb.state.drafts))") == "1"
    good = "\n".join([lines[0], lines[2], "D\t{} is a\tb"])
    page.get_by_label("Rows to add").fill(good)
    # ipywidgets holds a value back while it awaits an earlier answer.
    eventually(wb, f"wb.facts_panel.paste_area.value == {good!r}")
    page.locator("button.ae-add-pasted").click()
    print(
        wb.by_testid("facts-message").text_content(),
        wb.python("print(wb.state.drafts, repr(wb.facts_panel.paste_area.value))"),
    )
    expect(page.locator('[data-testid="fact-row"]:visible')).to_have_count(5)
    assert wb.python("print(len(wb.facts))") == "4"


def test_the_spectrum_is_the_sessions(wb: Page) -> None:
    """[S2.1, S2.3, S2.6, S2.9]"""
    wb.python("wb.facts = example_facts()[:2]")
    wb.tab("Spectrum")
    expect(wb.by_testid("source")).to_contain_text("from cache", timeout=60_000)
    for layer in (5, 7):
        wb.page.get_by_label("Layer", exact=True).select_option(label=f"layer {layer}")
        rank = wb.python(
            f"s = session.spectra()[{layer}]; print((s.eigenvalues < 0.02).sum(), s.size)"
        )
        expect(wb.by_testid("rank")).to_have_text("null-space rank {} / {}".format(*rank.split()))
        leak = wb.python(f"print(f'{{session.spectra()[{layer}].leakage(0.02):.4f}}')")
        expect(wb.by_testid("leakage")).to_contain_text(leak)
        expect(wb.page.locator(".ae-spectrum .gtitle").first).to_contain_text(f"Layer {layer}")
    expect(wb.by_testid("survival")).to_contain_text("Eiffel Tower", timeout=60_000)


def test_the_threshold_moves_by_box_slider_reset_and_cell(wb: Page) -> None:
    """[S2.2, S2.3, S2.4, S2.5]"""
    page = wb.page
    box = page.get_by_label("Threshold", exact=True)
    slider = page.get_by_label("Threshold slider")
    ranks = []
    for value in ("0.005", "0.01", "0.02", "0.05", "0.2"):
        box.fill(value)
        box.press("Enter")
        rank = wb.python(f"print((session.spectra()[7].eigenvalues < {value}).sum())")
        start = time.monotonic()
        expect(wb.by_testid("rank")).to_contain_text(f"rank {rank} /")
        assert time.monotonic() - start < 3
        ranks.append(int(rank))
        assert wb.python("print(session.hyperparameters.threshold)") == value
    assert ranks == sorted(ranks) and ranks[0] < ranks[-1]
    box.fill("0.02")
    box.press("Enter")
    expect(wb.by_testid("rank")).to_contain_text(f"rank {ranks[2]} /")
    before = wb.by_testid("rank").text_content()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    expect(wb.by_testid("rank")).not_to_have_text(before)
    same = wb.python(
        "import math; p = wb.spectrum; "
        "print(abs(p.figure.figure.layout.shapes[0].y0 - p.controls.slider.value) < 1e-9, "
        "abs(math.log10(p.threshold) - p.controls.slider.value) < 1e-5)"
    )
    assert same == "True True"
    page.locator("button.ae-reset").click()
    expect(box).to_have_value("0.02")
    wb.python("wb.spectrum.threshold = 0.01")
    expect(box).to_have_value("0.01")
    wb.python("wb.spectrum.threshold = 0.02")
    expect(box).to_have_value("0.02")


def test_a_threshold_that_keeps_nothing_disables_the_edit(wb: Page) -> None:
    """[S2.7]"""
    wb.python("wb.state.threshold = 'rank:0'")
    expect(wb.by_testid("warning")).to_contain_text("nothing can be written")
    wb.tab("Edit")
    expect(wb.page.locator("button.ae-run")).to_be_disabled()
    wb.python("wb.spectrum.threshold = 0.02")
    expect(wb.page.locator("button.ae-run")).to_be_enabled()


def test_an_editor_is_chosen_with_its_switches(wb: Page) -> None:
    page = wb.page
    wb.tab("Edit")
    page.get_by_label("Editor", exact=True).select_option("memit")
    expect(wb.by_testid("method")).to_contain_text("as published: memit -projection -previous-keys")
    expect(wb.by_testid("session")).to_contain_text("memit -projection -previous-keys")
    page.get_by_label("Projection: keep the update in the null space").first.check()
    expect(wb.by_testid("method")).to_contain_text("not as published: memit +projection")
    assert wb.python("print(session.hyperparameters.method)") == "memit +projection -previous-keys"
    wb.python("wb.state.set_method('editor', 'alphaedit')")
    expect(wb.by_testid("method")).to_contain_text("as published: alphaedit")


def test_cancel_leaves_the_weights(wb: Page) -> None:
    """[S3.1, S3.2, S3.4, S3.6, S0.2]"""
    page = wb.page
    digest = digest_of(wb)
    page.locator("button.ae-run").click()
    expect(wb.by_testid("status")).to_have_text("running: edit", timeout=5_000)
    expect(page.locator("button.ae-run")).to_be_disabled()
    expect(wb.by_testid("run-state")).to_contain_text(
        re.compile(r"step [2-9] / 25"), timeout=60_000
    )
    start = time.monotonic()
    assert wb.python("print(1)") == "1"
    assert time.monotonic() - start < 5
    page.locator("button.ae-cancel-run").click()
    expect(wb.by_testid("run-state")).to_contain_text("canceled at step", timeout=10_000)
    ready(wb)
    assert digest_of(wb) == digest and wb.python("print(session.applied)") == "0"
    expect(page.locator("button.ae-run")).to_be_enabled()
