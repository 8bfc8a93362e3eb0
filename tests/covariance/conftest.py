"""Fixtures of the covariance tests: a text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import prose


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Three documents of about 1,700 tokens each."""
    file = tmp_path / "text.txt"
    file.write_text("\f".join(prose(700, seed) for seed in range(3)), encoding="utf-8")
    return file
