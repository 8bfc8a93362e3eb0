"""CITATION.cff can be read, and cites this version and the paper that the README names."""

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


def test_it_cites_the_version_and_license_of_the_distribution(citation: dict[str, Any]) -> None:
    about = metadata.metadata("alphaedit-workbench")
    assert citation["version"] == about["Version"] == __version__
    assert citation["license"] == about["License-Expression"]


def test_it_has_what_version_1_2_of_the_format_requires(citation: dict[str, Any]) -> None:
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    for reference in citation["references"]:
        assert all(reference[key] for key in ("type", "title", "authors"))


def test_it_refers_to_the_paper_as_the_readme_does(citation: dict[str, Any]) -> None:
    [paper] = citation["references"]
    families = ", ".join(author["family-names"] for author in paper["authors"])
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"{families}. *{paper['title']}.* ICLR {paper['year']}." in readme
    assert paper["url"] in readme
