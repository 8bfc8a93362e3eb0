"""What the tests of evaluations share: shorter texts."""

from __future__ import annotations

import pytest


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny models have room for 64 tokens."""
    monkeypatch.setattr("alphaedit_core.evaluation.metrics.prompt_sets.LENGTH", 50)
