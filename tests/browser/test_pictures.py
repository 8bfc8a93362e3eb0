"""The pictures of the README, taken from the real workbench: ``make screenshots``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pages import Lab, Page

pytestmark = pytest.mark.skipif(
    not os.environ.get("SHOTS"), reason="takes pictures only where SHOTS names a folder"
)

CELL = """from alphaedit_core import EditSession, example_facts, load_model
from widgets import Workbench

wb = Workbench(EditSession(load_model()))
wb.facts = example_facts()[:3]
wb"""
BUSY = 180_000


@pytest.fixture
def page(lab: Lab, browser: Any) -> Any:
    """A window as wide as a README shows it."""
    context = browser.new_context(viewport={"width": 1040, "height": 1700})
    yield Page(context.new_page(), lab)
    context.close()


def test_pictures(page: Page) -> None:
    page.write("pictures.ipynb", CELL)
    page.open("pictures.ipynb")
    page.command("application:toggle-left-area")
    page.run_all()
    browser = page.page
    browser.get_by_label("Subject 1", exact=True).wait_for(timeout=BUSY)
    shown = browser.locator(".ae-workbench").first

    def wait(what: str) -> None:
        page.said(what).wait_for(timeout=BUSY)
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
    assert page.outside == [] and page.errors == []
