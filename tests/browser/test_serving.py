"""The server as ``make workbench`` starts it, large files, and cells that change the session."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, Lab, Page, expect

SETUP = """
from alphaedit_core import EditSession, Fact, load_model
from alphaedit_widgets import Workbench

session = EditSession(load_model())
wb, second = Workbench(session), Workbench(session)
"""
MEBIBYTE = 2**20


@pytest.fixture
def made(browser: Any, tmp_path: Path) -> Iterator[Page]:
    """A page of a server at its first start, as ``make workbench`` starts it."""
    server = Lab(tmp_path, as_made=True)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    yield Page(context.new_page(), server)
    context.close()
    server.close()


def test_the_first_start_asks_nothing_and_takes_large_messages(made: Page) -> None:
    made.write("first.ipynb", "1 + 1")
    made.open("first.ipynb")
    opened = time.monotonic()
    large = f"print(len({'x' * 12 * MEBIBYTE!r}))"
    made.page.set_default_timeout(60_000)
    made.page.evaluate(
        """code => {
            const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
            window.lost = false;
            kernel.connectionStatusChanged.connect((_, now) => {
                if (now !== 'connected') window.lost = true;
            });
            const future = kernel.requestExecute({ code, store_history: false });
            future.onIOPub = message => { window.said ??= message.content.text; };
        }""",
        large,
    )
    made.page.wait_for_function("window.said || window.lost")
    assert made.page.evaluate("[window.lost, window.said]") == [False, f"{12 * MEBIBYTE}\n"]
    # The question would come a moment after the page.
    made.page.wait_for_timeout(max(0, 5000 - 1000 * (time.monotonic() - opened)))
    made.shot("first-start")
    assert made.page.get_by_text(re.compile("Jupyter news", re.I)).count() == 0
    assert made.page.locator(".Toastify__toast").count() == 0
    assert made.outside == []


def test_the_makefile_starts_it_with_these_settings() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in ("workbench", "app"):
        recipe = makefile.partition(f"\n{target}: ")[2].partition("\n\n")[0]
        assert "\t$(JUPYTER) " in recipe
    assert 'JUPYTER_CONFIG_PATH="$(CURDIR)/tools/jupyter' in makefile
    for name in ("jupyter_server_config.json", "voila.json"):
        (settings,) = json.loads((ROOT / "tools/jupyter" / name).read_text("utf-8")).values()
        limit = settings["tornado_settings"]["websocket_max_message_size"]
        assert limit > 100 * MEBIBYTE


def test_a_large_upload_and_what_a_cell_does_arrive(notebook: Page, tmp_path: Path) -> None:
    """Over a server with the default limit of 10 MiB; then edits from cells show at once."""
    notebook.write("serving.ipynb", SETUP, "wb", "second")
    notebook.open("serving.ipynb")
    notebook.command("application:toggle-left-area")
    notebook.run_all()
    page = notebook.page
    page.get_by_label("Subject 1", exact=True).first.wait_for(timeout=120_000)
    fact = {
        "subject": "The Eiffel Tower", "prompt": "{} is located in the city of", "target": "Rome",
        "neighbors": [f"{number} {'x' * MEBIBYTE}" for number in range(12)],
    }  # fmt: skip
    file = tmp_path / "large.json"
    file.write_text(json.dumps([fact]), encoding="utf-8")
    with page.expect_file_chooser() as chooser:
        page.locator("button.ae-upload:visible").first.click()
    chooser.value.set_files(file)
    expect(notebook.by_testid("facts-message")).to_have_text("1 row added", timeout=60_000)
    assert notebook.python("print(sum(map(len, wb.facts[0].neighbors)))") > "12000000"
    notebook.python("wb.facts = [wb.facts[0].changed(neighbors=[])]; second.facts = wb.facts")

    lines = page.locator('[data-testid="session"]')
    expect(lines).to_have_count(2)
    for code, edits, status in (
        ("result = session.edit(wb.facts)", 1, "applied"),
        ("session.undo()", 0, "ready"),
        ("second.history.redo()", 1, "applied"),
    ):
        notebook.python(code)
        for place in (0, 1):
            expect(lines.nth(place)).to_contain_text(f"edits: {edits}", timeout=20_000)
            rows = page.locator(".ae-facts").nth(place).locator('[data-testid="fact-status"]')
            expect(rows.first).to_have_text(status)
    notebook.shot("following")
    assert notebook.errors == []
