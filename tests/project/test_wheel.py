"""Build the wheel, install it outside the project, and check that it is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from alphaedit_core import __version__

ROOT = Path(__file__).parents[2]
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-cache-dir")


def run(*command: object, folder: Path) -> str:
    """Return the output of a command in a folder, without this checkout on PYTHONPATH."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


class Installed:
    """The wheel in a fresh environment; its dependencies come from the current environment."""

    def __init__(self, home: Path) -> None:
        self.empty = home / "empty"
        self.empty.mkdir()
        # Copied without build leftovers, which would go into the wheel.
        source = shutil.copytree(
            ROOT,
            home / "source",
            ignore=lambda folder, names: (
                {*names} - {"alphaedit_core", "alphaedit_widgets", "pyproject.toml", "README.md",
                            "LICENSE"}
                if Path(folder) == ROOT
                else {"__pycache__", ".ipynb_checkpoints"}
            ),
        )  # fmt: skip
        options = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")
        run(sys.executable, *PIP, "wheel", *options, "--wheel-dir", home, source, folder=home)
        [self.wheel] = home.glob("*.whl")
        venv.create(home / "venv", symlinks=True)
        self.programs = home / "venv" / "bin"
        base = {"base": str(home / "venv"), "platbase": str(home / "venv")}
        self.packages = Path(sysconfig.get_path("purelib", vars=base))
        into = ("--python", self.programs / "python", "install", "--no-deps", "--no-index")
        run(sys.executable, *PIP, *into, "--quiet", self.wheel, folder=home)
        # Added after the installation, so that pip sees no other one. Editable installations there
        # have no effect, because .pth files in a folder added by a .pth file are not read.
        needed = sysconfig.get_path("purelib")
        (self.packages / "dependencies.pth").write_text(f"{needed}\n", encoding="utf-8")

    def output_of(self, *command: object) -> str:
        """Return the output of its Python, run in an empty folder."""
        return run(self.programs / "python", *command, folder=self.empty)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_only_the_two_packages_are_installed(installed: Installed) -> None:
    found = {path.name for path in installed.packages.iterdir()}
    assert found == {
        "alphaedit_core",
        "alphaedit_widgets",
        f"alphaedit_workbench-{__version__}.dist-info",
        "dependencies.pth",
    }


def test_wheel_has_the_version_of_the_package(installed: Installed) -> None:
    assert installed.wheel.name == f"alphaedit_workbench-{__version__}-py3-none-any.whl"


@pytest.mark.parametrize(
    "pattern",
    [
        "alphaedit_core/py.typed",
        "alphaedit_core/data/examples/*.json",
        "alphaedit_core/data/jupyter/*.json",
        "alphaedit_core/data/jupyter/labconfig/*.json",
        "alphaedit_core/data/notebooks/*.ipynb",
        "alphaedit_core/data/notebooks/README.md",
        "alphaedit_widgets/py.typed",
        "alphaedit_widgets/static/*",
    ],
)
def test_data_files_are_included(installed: Installed, pattern: str) -> None:
    stored = {path.relative_to(ROOT): path.read_bytes() for path in ROOT.glob(pattern)}
    shipped = {
        path.relative_to(installed.packages): path.read_bytes()
        for path in installed.packages.glob(pattern)
    }
    assert stored
    assert shipped == stored


def test_project_files_are_excluded(installed: Installed) -> None:
    suffixes = {path.suffix for path in installed.packages.rglob("*.*") if path.is_file()}
    assert suffixes <= {
        ".py",
        ".pyc",
        ".pth",
        ".typed",
        ".json",
        ".ipynb",
        ".md",
        ".js",
        ".css",
        ".txt",
    }


def test_every_public_name_can_be_imported(installed: Installed) -> None:
    script = """
import alphaedit_core
import alphaedit_widgets

for package in (alphaedit_core, alphaedit_widgets):
    print(package.__file__)
    for name in package.__all__:
        getattr(package, name)
print(len(alphaedit_core.example_facts()))
"""
    core, widgets, facts = installed.output_of("-c", script).splitlines()
    assert Path(core) == installed.packages / "alphaedit_core" / "__init__.py"
    assert Path(widgets) == installed.packages / "alphaedit_widgets" / "__init__.py"
    assert int(facts) == 65


def test_command_runs_in_an_empty_folder(installed: Installed) -> None:
    program = installed.programs / "alphaedit"
    assert run(program, "--version", folder=installed.empty) == f"alphaedit {__version__}\n"
    assert "AlphaEdit" in run(program, "editors", folder=installed.empty)
    assert list(installed.empty.iterdir()) == []


def test_notebooks_are_copied_from_the_wheel(installed: Installed, tmp_path: Path) -> None:
    script = (
        "import os, sys; from alphaedit_core.cli import main; "
        "os.execve = lambda *_: None; sys.exit(main(['tutorials', sys.argv[1]]))"
    )
    installed.output_of("-c", script, tmp_path)
    stored = {path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {path.name for path in tmp_path.glob("*.ipynb")} == stored
