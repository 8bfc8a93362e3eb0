"""CITATION.cff is valid YAML and cites this version and the paper of the README."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from alphaedit_core import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture
def citation() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_version_and_license_of_the_distribution(citation: dict[str, Any]) -> None:
    about = metadata.metadata("alphaedit-workbench")
    assert citation["version"] == about["Version"] == __version__
    assert citation["license"] == about["License-Expression"]


def test_required_fields_of_format_1_2(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    for reference in citation["references"]:
        assert all(reference[key] for key in ("type", "title", "authors"))


def test_paper_equals_that_of_the_readme(citation: dict[str, Any]) -> None:
    [paper] = citation["references"]
    families = ", ".join(author["family-names"] for author in paper["authors"])
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{families}. *{paper['title']}.* ICLR {paper['year']}." in readme
    assert paper["url"] in readme
