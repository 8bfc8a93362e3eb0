"""The workbench as a page shows it: how it is set up, its tabs, and waiting for it."""

from __future__ import annotations

import re
import time

from pages import Page, expect

#: The first cell of the notebook; the second shows ``wb``.
SETUP = """
from alphaedit_core import EditSession, Fact, example_facts, load_model
from alphaedit_widgets import Workbench

session = EditSession(load_model(), targets={})  # one search for each fact
session.spectra()
wb = Workbench(session)
"""
#: The tabs.
TITLES = (
    "Facts", "Spectrum", "Edit", "Compare", "Probes", "Drift", "History", "Editors", "Experiment",
    "Export",
)  # fmt: skip
#: An edit, from the click to its end, on two cores that do other things beside.
EDIT = 300_000


def ready(wb: Page, timeout: float = EDIT) -> None:
    """Wait until no work is running."""
    expect(wb.by_testid("status")).to_have_text("ready", timeout=timeout)


def eventually(wb: Page, condition: str, seconds: float = 60) -> None:
    """Wait until something is true in the kernel."""
    end = time.monotonic() + seconds
    while wb.python(f"print({condition})") != "True":
        assert time.monotonic() < end, f"never: {condition}"
        time.sleep(0.2)


def digest_of(wb: Page, seconds: float = 60) -> str:
    """What the weights are now; waits while work behind the scenes has the model."""
    end = time.monotonic() + seconds
    while not re.fullmatch("[0-9a-f]{32}", output := wb.python("print(session.weights_digest())")):
        assert "busy" in output and time.monotonic() < end, output
        time.sleep(0.2)
    return output
