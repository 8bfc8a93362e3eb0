"""Fixtures of the command's tests: a tiny model in a folder, and one that must not be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Workplace


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """A tiny model with its own cache."""
    return Workplace(tmp_path / "place", capsys)


@pytest.fixture
def unloadable(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The same, but loading the model fails the test."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr("alphaedit_core.model.loading.load_model", load)
    monkeypatch.setattr("alphaedit_core.session.model_check.load_model", load)
    return place
