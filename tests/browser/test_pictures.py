"""The pictures of the README, taken from the real workbench: ``make screenshots``."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import Lab, Page

pytestmark = pytest.mark.skipif(
    not os.environ.get("SHOTS"), reason="takes pictures only where SHOTS names a folder"
)

CELL = """from alphaedit_core import EditSession, example_facts, load_model
from alphaedit_widgets import Workbench

wb = Workbench(EditSession(load_model()))
wb.facts = example_facts()[:3]
wb"""
BUSY = 180_000
STORED = Path(__file__).resolve().parents[2] / "benchmarks" / "sequence-300"


@pytest.fixture
def page(lab: Lab, browser: Any) -> Any:
    """A window as wide as a README shows it."""
    context = browser.new_context(viewport={"width": 1040, "height": 1700})
    yield Page(context.new_page(), lab)
    context.close()


def test_pictures(page: Page, lab: Lab) -> None:
    shutil.copytree(STORED, lab.root / STORED.name)
    page.write("pictures.ipynb", CELL)
    page.open("pictures.ipynb")
    page.command("application:toggle-left-area")
    page.run_all()
    browser = page.page
    browser.get_by_label("Subject 1", exact=True).wait_for(timeout=BUSY)
    shown = browser.locator(".ae-workbench").first

    def wait(what: str) -> None:
        page.by_testid(what).wait_for(timeout=BUSY)
        browser.wait_for_timeout(1_500)
        browser.locator('[data-testid="status"]:text-is("ready"):visible').wait_for(timeout=BUSY)

    def take(name: str) -> None:
        folder = Path(os.environ["SHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        shown.screenshot(path=str(folder / f"{name}.png"))

    page.tab("Spectrum")
    wait("survival")
    take("spectrum")
    page.tab("Compare")
    page.tab("Edit")
    browser.locator("button.ae-run").click()
    wait("run-summary")
    take("edit")
    page.tab("Compare")
    wait("delta-new")
    take("compare")
    page.tab("Experiment")
    browser.get_by_label("Output folder").fill(STORED.name)
    browser.get_by_label("Output folder").press("Tab")
    button = browser.locator("button.ae-open-experiment")
    button.click()
    wait("experiment-table")
    # What was found is longer than the window: from the buttons on, as far as it reaches.
    button.evaluate("button => button.scrollIntoView({block: 'start'})")
    browser.wait_for_timeout(500)
    left, top = shown.bounding_box(), button.bounding_box()
    clip = {"x": left["x"], "y": top["y"] - 4, "width": left["width"], "height": 1_144}
    browser.screenshot(path=str(Path(os.environ["SHOTS"]) / "experiment.png"), clip=clip)
    assert page.outside == [] and page.errors == []
