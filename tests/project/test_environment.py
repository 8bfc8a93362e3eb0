"""The setup files agree: pyproject, constraints, environment.yml, Makefile and CI."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from nbval.plugin import get_sanitize_patterns
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# torch requires these on Linux, in the versions that it was built with.
CUDA = re.compile(r"nvidia-|cuda-|triton$")
#: Extras that neither dev nor constraints.txt includes.
SEPARATE = {"harness"}


@cache
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extras: frozenset[str]) -> dict[str, Requirement]:
    """Return the requirements of ``pip install .[extras]`` by name, with nested extras."""
    lines = list(project()["dependencies"])
    for extra in extras:
        lines += project()["optional-dependencies"][extra]
    result = {}
    for requirement in map(Requirement, lines):
        if requirement.name == project()["name"]:
            result |= requirements(frozenset(requirement.extras))
        else:
            result[canonicalize_name(requirement.name)] = requirement
    return result


def everything() -> dict[str, Requirement]:
    return requirements(frozenset(project()["optional-dependencies"].keys() - SEPARATE))


def constraint_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    return {canonicalize_name(n): v for n, v in (line.split("==") for line in constraint_lines())}


def conda() -> tuple[list[str], list[str]]:
    """Return the conda packages and the pip lines of environment.yml."""
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = yaml.safe_load(text)["dependencies"]
    packages = [entry for entry in listed if isinstance(entry, str)]
    (pip_lines,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    return packages, pip_lines


def test_every_constraint_is_a_unique_exact_public_version() -> None:
    lines = constraint_lines()
    odd = [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line)]
    assert odd == []
    assert len(pins()) == len(lines)
    assert [line for line in lines if CUDA.match(line)] == []


def test_every_dependency_has_a_pin_within_its_range() -> None:
    missing = everything().keys() - pins().keys()
    assert missing == set()
    outside = [str(r) for name, r in everything().items() if not r.specifier.contains(pins()[name])]
    assert outside == []


def test_dependencies_are_ranges_not_pins() -> None:
    exact = [str(r) for r in everything().values() if any(s.operator == "==" for s in r.specifier)]
    unbounded = [str(r) for r in everything().values() if not r.specifier]
    assert (exact, unbounded) == ([], [])


def test_transitive_dependencies_are_pinned() -> None:
    waiting = list(everything().items())
    seen: dict[str, frozenset[str]] = {}
    while waiting:
        name, requirement = waiting.pop()
        extras = frozenset(requirement.extras)
        if name in seen and extras <= seen[name]:
            continue
        seen[name] = seen.get(name, frozenset()) | extras
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            wanted = [{"extra": extra} for extra in ("", *extras)]
            if needed.marker is None or any(needed.marker.evaluate(e) for e in wanted):
                waiting.append((canonicalize_name(needed.name), needed))
    unpinned = {name for name in seen.keys() - pins().keys() if not CUDA.match(name)}
    assert unpinned == set()


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("alphaedit_core", {"datasets", "eval", "pandas"}),
        ("widgets", {"widgets"}),
        ("benchmarks", set()),
        ("tools", set()),
        ("tests", {"dev", "harness"}),
    ],
)
def test_imported_packages_are_declared(folder: str, extras: set[str]) -> None:
    distributions = metadata.packages_distributions()
    imported = {
        canonicalize_name(distributions[name][0] if name in distributions else name)
        if name in distributions
        else canonicalize_name(name)
        for name in imported_names(ROOT / folder)
    }
    assert imported - requirements(frozenset(extras)).keys() == set()


def imported_names(folder: Path) -> set[str]:
    """Return the top-level names that the modules below a folder import from other projects."""
    found, modules = set(), {path.stem for path in folder.rglob("*.py")}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return {
        name
        for name in found - sys.stdlib_module_names
        if not (ROOT / name).exists() and name not in modules
    }


def test_named_extras_contain_the_missing_package() -> None:
    pattern = re.compile(r'not_installed\(.*?"(\w+)", "(\w+)"\)', re.DOTALL)
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "alphaedit_core").rglob("*.py")]
    pairs = {pair for text in texts for pair in pattern.findall(text)}
    assert {("nltk", "eval"), ("datasets", "datasets")} <= pairs
    for package, extra in pairs:
        assert package in requirements(frozenset({extra}))


def test_widgets_extra_adds_neither_kernel_nor_server() -> None:
    added = requirements(frozenset({"widgets"})).keys() - requirements(frozenset()).keys()
    assert added == {"anywidget", "ipywidgets", "plotly", "traitlets"}


def test_dev_includes_all_other_extras() -> None:
    assert requirements(frozenset({"dev"})).keys() == everything().keys()


def test_conda_and_pyproject_agree_on_dependencies() -> None:
    packages, pip_lines = conda()
    assert "--constraint constraints.txt" in pip_lines
    covered = {Requirement(p).name for p in packages}
    for line in pip_lines:
        if match := re.fullmatch(r"--editable \.\[([\w,]+)\]", line):
            covered |= requirements(frozenset(match[1].split(","))).keys()
        elif not line.startswith("--"):
            covered.add(canonicalize_name(Requirement(line).name))
    assert everything().keys() - covered == set()
    # A second copy from conda would stand beside the pinned one.
    assert {Requirement(p).name for p in packages} == {"python", "pip"}


def test_conda_and_pyproject_agree_on_python() -> None:
    (python,) = [Requirement(p) for p in conda()[0] if p.startswith("python")]
    declared = SpecifierSet(project()["requires-python"])
    named = {
        match[1]
        for line in project()["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (\d\.\d+)", line))
    }
    allowed = {version for minor in range(8, 20) if (version := f"3.{minor}") in python.specifier}
    assert allowed == named
    assert {version for version in named if version not in declared} == set()
    assert "3.10" not in declared


def rules() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][a-z-]*):(?!=)", makefile, flags=re.MULTILINE))


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@needs_make
def test_help_is_the_default_and_shows_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^make ([a-z-]+) ", shown, flags=re.MULTILINE)) == rules()


@needs_make
def test_old_python_is_refused_with_a_remedy(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\n[ "$1" != -c ]\n')
    old.chmod(0o755)
    for python, reason in (("./python3.9", "is Python 3.9.2"), ("python3.x", "not found")):
        command = ["make", "install", f"PYTHON={python}"]
        refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert refused.returncode != 0
        assert f"{python} {reason}" in refused.stderr
        assert "3.11 or newer" in refused.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def installing(tmp_path: Path) -> Callable[..., tuple[list[str], str]]:
    """Return a function that runs ``make install`` with a fake Python that records its arguments.

    It returns the recorded pip lines with an index, and the output of make.
    """
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> recorded\n[ "$1" != -c ] || exit "$ANSWER"\n')
    python.chmod(0o755)

    def run(*settings: str, answers: bool = True, path: str = "") -> tuple[list[str], str]:
        overrides = {"ANSWER": str(int(not answers)), "PATH": path + os.environ["PATH"]}
        command = ["make", "install", f"PYTHON={sys.executable}", *settings]
        environment = {n: v for n, v in os.environ.items() if n != "TORCH_INDEX"} | overrides
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        recorded = (tmp_path / "recorded").read_text().splitlines()
        assert recorded[-1].endswith("--editable .[dev]")
        return [line for line in recorded if "--index-url" in line], ran.stdout

    return run


@needs_make
def test_torch_is_installed_from_the_given_index(
    installing: Callable[..., tuple[list[str], str]],
) -> None:
    [line], _ = installing("TORCH_INDEX=https://example.org/cpu")
    assert "--index-url=https://example.org/cpu " in line
    assert line.endswith(f" torch=={pins()['torch']}")


@needs_make
def test_unavailable_index_is_skipped_with_a_message(
    installing: Callable[..., tuple[list[str], str]],
) -> None:
    lines, output = installing("TORCH_INDEX=https://example.org/cpu", answers=False)
    assert lines == []
    assert "\nno torch at https://example.org/cpu; installing it from the default index" in output


@needs_make
@pytest.mark.parametrize("settings", [(), ("TORCH_INDEX=",)])
def test_with_a_gpu_torch_comes_from_the_default_index(
    installing: Callable[..., tuple[list[str], str]], settings: tuple[str, ...], tmp_path: Path
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    (card / "nvidia-smi").touch(0o755)
    lines, output = installing(*settings, path="" if settings else f"{card}{os.pathsep}")
    assert lines == []
    assert "no torch at" not in output


def test_documented_cpu_index_is_used() -> None:
    for name in ("Makefile", "README.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "https://download.pytorch.org/whl/cpu" in text
    by_hand = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"pip install torch=={pins()['torch']} --index-url" in by_hand


@pytest.mark.parametrize("name", [".ci/run", "README.md", "CHANGELOG.md", "environment.yml"])
def test_documented_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    matches = re.findall(r"(?:`|^ *|&& )(?:make|phase)((?: [a-z-]+)+)", text, re.MULTILINE)
    named = {target for targets in matches for target in targets.split()}
    assert named, f"{name} names no target"
    assert named - rules() == set()


def test_entry_point_is_installed() -> None:
    (command,) = metadata.entry_points(group="console_scripts", name="alphaedit")
    assert command.value == project()["scripts"]["alphaedit"]
    assert callable(command.load())


def sanitized(text: str) -> str:
    config = (ROOT / "tests" / "nbval_sanitize.cfg").read_text(encoding="utf-8")
    for pattern, replacement in get_sanitize_patterns(config):
        text = re.sub(pattern, replacement, text)
    return text


@pytest.mark.parametrize(
    ("stored", "rerun"),
    [
        (
            "uid 3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "uid 936da01f-9abd-4d9d-80c7-02af85c822a8",
        ),
        ("<Thing at 0x7f03a1b2c3d4>", "<Thing at 0x7ffe00112233>"),
        ("weights b179c9523d0e6a0f", "weights bcc81830d10ce7d9"),
        ("saved 2026-01-02T03:04:05", "saved 2027-11-12 13:14:15.25+01:00"),
        (
            "target values:  12%|#2        | 3/25 [00:01<00:09,  2.31step/s]",
            "target values: 100%|##########| 25/25 [00:11<00:00, 2.1step/s, loss 0.3]",
        ),
        ("1,234.5 tokens/s", "980 tokens/s"),
        ("took 1.25 s in all", "took 830 ms in all"),
    ],
)
def test_varying_output_is_not_compared(stored: str, rerun: str) -> None:
    assert sanitized(stored) == sanitized(rerun)
    assert sanitized(stored) != stored


@pytest.mark.parametrize(
    "result",
    [
        "efficacy 97.5 %, rank 1416 of 1536",
        "loss 12.8125 -> 0.0312, 1.25e-10",
        "The Eiffel Tower is located in the city of Rome",
        "layers 5-9, 25 steps, 100000 tokens, 12345678 parameters",
        "defaced facade",
    ],
)
def test_results_are_compared(result: str) -> None:
    assert sanitized(result) == result
