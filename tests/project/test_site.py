"""The site of ``make docs`` has a page for every package and module."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "site" / "api"
CORE = ROOT / "alphaedit_core"
PACKAGES = sorted(path.parent.name for path in CORE.glob("*/__init__.py"))


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_has_a_page(name: str) -> None:
    page = (API / f"{name}.rst").read_text(encoding="utf-8")
    assert page == f"{name}\n{'=' * len(name)}\n\n.. package:: alphaedit_core.{name}\n"


def test_contents_list_exactly_the_packages() -> None:
    contents = (API / "packages.rst").read_text(encoding="utf-8")
    named = re.findall(r"^   (\w+)$", contents, re.MULTILINE)
    assert sorted(named) == sorted(["basics", *PACKAGES])


def test_top_level_modules_are_on_a_page() -> None:
    page = (API / "basics.rst").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. automodule:: alphaedit_core\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(path.stem for path in CORE.glob("[!_]*.py"))
