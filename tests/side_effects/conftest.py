"""Fixtures for the tests of side effects: a folder of ability tasks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ability_task_files import WRITTEN, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file for every task, 12 items each."""
    place = tmp_path / "tasks"
    place.mkdir()
    for name, written in WRITTEN.items():
        write(place / f"{name}.json", [written(n) for n in range(12)])
    (place / "notes.json").write_text("not a task")
    return place
