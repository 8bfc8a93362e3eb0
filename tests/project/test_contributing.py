"""CONTRIBUTING.md names existing files, and lists the packages in import order."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_named_files_exist() -> None:
    named = re.findall(r"`([\w./-]+/[\w.]*)`", TEXT)
    missing = [name for name in named if name != "build/docs" and not (ROOT / name).exists()]
    assert len(named) > 15
    assert missing == []


def test_packages_are_in_import_order() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    packages = [name for name in layers if (ROOT / "alphaedit_core" / name).is_dir()]
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == packages[::-1]
