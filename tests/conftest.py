"""What all tests share: how Hypothesis runs, the default model, a cache of one's own, samples."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.progress import Monitor

# The same examples on every run and every machine, slow ones too.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def default_model() -> EditableModel:
    """The packaged default model, fetched at first use. Leave its weights as they are."""
    return load_model(monitor=Monitor(show=None))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder that is in use while the test runs."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def samples() -> Path:
    """A folder with samples of published data sets, which the project itself does not hold."""
    folder = os.environ.get("ALPHAEDIT_SAMPLES")
    if not folder:
        pytest.skip("no samples of published data sets: name their folder in ALPHAEDIT_SAMPLES")
    return Path(folder)
