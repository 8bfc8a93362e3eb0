"""The lowest versions that are tried are those of pyproject.toml."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.lowest_versions import lowest_versions, main

ROOT = Path(__file__).parents[2]


def test_every_direct_dependency_is_tried_at_its_lower_bound() -> None:
    project = ROOT / "pyproject.toml"
    lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    versions = lowest_versions(project)
    assert len(versions) == len(lines)
    for requirement in map(Requirement, lines):
        version = versions[requirement.name]
        assert f">={version}" in str(requirement.specifier).split(",")


def test_a_version_can_be_that_of_the_running_environment() -> None:
    found = lowest_versions(ROOT / "pyproject.toml", ["torch"])
    assert found == lowest_versions(ROOT / "pyproject.toml") | {"torch": metadata.version("torch")}


def test_a_dependency_without_a_lower_bound_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch<3"]\n')
    with pytest.raises(ValueError, match='"torch<3" has no lower bound'):
        lowest_versions(tmp_path / "pyproject.toml")


def test_a_name_that_is_no_dependency_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--installed", "pytorch"])
    assert "pytorch: not among accelerate, " in capsys.readouterr().err
