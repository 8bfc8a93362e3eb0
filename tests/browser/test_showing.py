"""First paint, the same workbench in two cells, and the workbench as a page of its own (Voila)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import Page, expect, free_port

ROOT = Path(__file__).parents[2]
SETUP = """
from alphaedit_core import EditSession, load_model
from alphaedit_widgets import Workbench

session = EditSession(load_model())
"""


def test_first_paint(notebook: Page) -> None:
    """[S9.8, S9.7] The cell of a loaded session; then a second view that stays in step."""
    notebook.write("paint.ipynb", SETUP, "wb = Workbench(session)\nwb", "wb")
    notebook.open("paint.ipynb")
    page = notebook.page
    for _ in range(2):
        start = time.monotonic()
        notebook.command("notebook:run-cell-and-select-next")
    page.get_by_label("Subject 1", exact=True).first.wait_for()
    assert time.monotonic() - start < 40
    notebook.command("notebook:run-cell-and-select-next")
    both = page.get_by_label("Threshold", exact=True)
    for place in (0, 1):
        page.get_by_role("tab", name="Spectrum", exact=True).nth(place).click()
    expect(both).to_have_count(2, timeout=60_000)
    expect(both.nth(0)).to_be_visible()
    both.nth(0).fill("0.03")
    both.nth(0).press("Enter")
    expect(both.nth(1)).to_have_value("0.03")
    assert notebook.errors == [] and notebook.outside == []


@pytest.fixture
def app() -> Iterator[str]:
    """The address of the workbench as an app, served as ``make app`` does."""
    port = free_port()
    command = [
        sys.executable, "-m", "voila", "notebooks/workbench.ipynb", "--template=offline",
        "--Voila.ip=127.0.0.1", "--no-browser", f"--port={port}", "--token",
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"JUPYTER_PATH": "tools/jupyter"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if found := re.search(r"http://127\S+token=\S+", line):
                yield found[0]
                break
        else:
            pytest.fail("Voila did not start")
    finally:
        process.terminate()
        process.wait(20)


def test_the_app(app: str, browser: Any) -> None:
    """[S9.6]"""
    page = browser.new_page(viewport={"width": 900, "height": 1000})
    outside: list[str] = []
    ours = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on(
        "request",
        lambda request: None if request.url.startswith(ours) else outside.append(request.url),
    )
    page.goto(app, wait_until="commit")
    page.get_by_label("Subject 1", exact=True).wait_for(timeout=120_000)
    titles = page.get_by_role("tab").all_text_contents()
    assert titles == [
        "Facts", "Spectrum", "Edit", "Compare", "Probes", "Drift", "History", "Editors",
        "Experiment", "Export",
    ]  # fmt: skip
    page.get_by_role("tab", name="Edit", exact=True).click()
    page.locator("button.ae-run").click()
    status = page.locator('[data-testid="status"]')
    expect(status).to_have_text("running: edit", timeout=10_000)
    page.locator("button.ae-cancel-run").click()
    expect(page.locator('[data-testid="run-state"]')).to_contain_text("canceled", timeout=20_000)
    assert outside == []
    page.close()
