"""What the tests of the command share: a folder with a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Workplace


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """A tiny model, with a cache of its own."""
    return Workplace(tmp_path / "place", capsys)
