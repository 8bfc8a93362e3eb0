"""JupyterLab and a headless Chromium, both started once for all browser tests.

Where no Chromium is found the tests are skipped, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pages import ARGS, CHROMIUM, Lab, Page
from workbench_page import SETUP


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One server for all tests."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install it, or name one in CHROMIUM")
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def browser(lab: Lab) -> Iterator[Any]:
    """One browser for all tests."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=list(ARGS)
        )
        sync_api.expect.set_options(timeout=20_000)  # two browsers share the machine's cores
        yield started
        started.close()


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Any) -> Iterator[Page]:
    """A page that the tests of one file share."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    yield Page(context.new_page(), lab)
    context.close()


@pytest.fixture(scope="module")
def wb(notebook: Page, request: pytest.FixtureRequest) -> Page:
    """The workbench, shown in a notebook of the file's name, and so in a kernel of its own."""
    name = f"{request.path.stem}.ipynb"
    notebook.write(name, SETUP, "wb")
    notebook.open(name)
    notebook.command("application:toggle-left-area")
    notebook.run_all()
    notebook.page.get_by_label("Subject 1", exact=True).first.wait_for(timeout=120_000)
    return notebook
