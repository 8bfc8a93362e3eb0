"""The site that ``make docs`` builds has a page for every package, and finds what it is made of."""

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


def test_the_contents_name_every_package_and_nothing_else() -> None:
    contents = (API / "packages.rst").read_text(encoding="utf-8")
    named = re.findall(r"^   (\w+)$", contents, re.MULTILINE)
    assert sorted(named) == sorted(["basics", *PACKAGES])


def test_the_modules_beside_the_packages_are_on_a_page() -> None:
    page = (API / "basics.rst").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. automodule:: alphaedit_core\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(path.stem for path in CORE.glob("[!_]*.py"))
