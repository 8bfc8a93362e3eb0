"""The tested lowest versions are those of pyproject.toml."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tools.lowest_versions import lowest_versions, main

ROOT = Path(__file__).parents[2]


def test_every_direct_dependency_has_its_lower_bound() -> None:
    project = ROOT / "pyproject.toml"
    lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    versions = lowest_versions(project)
    assert len(versions) == len(lines)
    for requirement in map(Requirement, lines):
        version = versions[requirement.name]
        assert f">={version}" in str(requirement.specifier).split(",")


def test_installed_version_can_be_used() -> None:
    found = lowest_versions(ROOT / "pyproject.toml", ["torch"])
    assert found == lowest_versions(ROOT / "pyproject.toml") | {"torch": metadata.version("torch")}


def test_dependency_without_lower_bound_raises(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["torch<3"]\n')
    with pytest.raises(ValueError, match='"torch<3" has no lower bound'):
        lowest_versions(tmp_path / "pyproject.toml")


def test_unknown_dependency_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--installed", "pytorch"])
    assert "pytorch: not among accelerate, " in capsys.readouterr().err
