"""What the tests of models share: a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import prose


@pytest.fixture
def text(cache: Path, tmp_path: Path) -> Path:
    """Six documents of a hundred words."""
    file = tmp_path / "text.txt"
    file.write_text("\f".join(prose(100, seed) for seed in range(6)), encoding="utf-8")
    return file
