"""Fixtures for the tests of models: a text, and a tiny model in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tiny import prose, tiny_model


@pytest.fixture
def text(cache: Path, tmp_path: Path) -> Path:
    """Six documents of a hundred words."""
    file = tmp_path / "text.txt"
    file.write_text("\f".join(prose(100, seed) for seed in range(6)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as ``save_pretrained`` writes it, with its tokenizer."""
    folder = tmp_path_factory.mktemp("saved")
    model = tiny_model("llama")
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A copy of ``saved`` that a test may damage."""
    return shutil.copytree(saved, tmp_path / "model")
