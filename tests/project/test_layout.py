"""Layout of the source: short files, and packages without re-exports."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted((ROOT / "alphaedit_core").rglob("__init__.py")) + sorted(
    (ROOT / "widgets").rglob("__init__.py")
)
#: The public packages, and the command, whose package holds its parser.
PUBLIC = {"alphaedit_core/__init__.py", "alphaedit_core/cli/__init__.py", "widgets/__init__.py"}


def test_no_file_is_longer_than_450_lines() -> None:
    folders = ("alphaedit_core", "widgets", "tests", "benchmarks", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 400
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for path in files
        if (count := len(path.read_text("utf-8").splitlines())) > 450
    ]
    assert long == []


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_package_has_a_docstring_and_no_re_exports(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    if str(path.relative_to(ROOT)) not in PUBLIC:
        assert len(tree.body) == 1
