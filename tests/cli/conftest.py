"""What the tests of the command share: a tiny model in a folder, and one that must not load."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Workplace


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """A tiny model, with a cache of its own."""
    return Workplace(tmp_path / "place", capsys)


@pytest.fixture
def unloadable(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The same, with a model that says so if anyone comes to load it."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr("alphaedit_core.model.loading.load_model", load)
    monkeypatch.setattr("alphaedit_core.session.model_check.load_model", load)
    return place
