"""The commands workbench and tutorials."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from alphaedit_core.cli import main, notebooks

ROOT = Path(__file__).parents[2]
STORED = ROOT / "notebooks"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    """Command lines and environments of the processes that would have started."""
    processes: list[tuple[list[str], dict[str, str]]] = []

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        assert program == command[0] == sys.executable
        processes.append((command, environment))

    monkeypatch.setattr(notebooks.os, "execve", execve)
    return processes


def test_the_workbench_is_copied_and_served_locally(
    started: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "/mine")
    assert main(["workbench", "--port", "9001", "--no-browser"]) == 0
    [copied] = tmp_path.iterdir()
    assert copied.read_bytes() == (STORED / "workbench.ipynb").read_bytes()
    assert capsys.readouterr().out == f"{copied}\n"
    [(command, environment)] = started
    assert {
        f"--ServerApp.root_dir={tmp_path}", "--LabApp.default_url=/lab/tree/workbench.ipynb",
        "--ServerApp.ip=127.0.0.1", "--ServerApp.port=9001", "--no-browser",
    } <= set(command)  # fmt: skip
    assert not [word for word in command if "token" in word or "password" in word]
    settings, own = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)
    assert (Path(settings) / "jupyter_server_config.json").is_file()
    assert (Path(settings) / "labconfig" / "default_setting_overrides.json").is_file()
    assert own == "/mine"


def test_an_existing_notebook_is_not_overwritten(
    started: list[tuple[list[str], dict[str, str]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = tmp_path / "workbench.ipynb"
    mine.write_text("mine")
    assert main(["workbench", str(tmp_path)]) == 0
    assert mine.read_text() == "mine"
    assert "left unchanged" in capsys.readouterr().out
    [(command, _)] = started
    assert "--no-browser" not in command


def test_the_tutorials_come_with_all_linked_files(
    started: list[tuple[list[str], dict[str, str]]], tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["tutorials", str(folder)]) == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in STORED.glob("*.ipynb")} | {"README.md"}
    for path in folder.glob("*.ipynb"):
        linked = re.findall(r"\]\(([\w.]+)\)", path.read_text("utf-8"))
        assert set(linked) <= names, path.name
    [(command, _)] = started
    assert "--LabApp.default_url=/lab/tree/01_first_edit.ipynb" in command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["workbench", "--port", "70000"], "give 1 to 65535"),
        (["tutorials", "--port", "x"], "not a whole number"),
        (["workbench", __file__], "is not writable"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_copied(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["workbench", "tutorials"])
@pytest.mark.parametrize("package", ["jupyterlab", "anywidget"])
def test_a_missing_package_names_the_extra(
    command: str,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main([command, str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"alphaedit: JupyterLab with the workbench needs {package}; "
        'install it: pip install "alphaedit-workbench[lab]"\n'
    )
    assert list(tmp_path.iterdir()) == []


def test_jupyterlab_starts_with_a_token_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    homes = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    process = subprocess.Popen(
        [sys.executable, "-m", "alphaedit_core", "workbench", str(tmp_path / "my books"),
         "--no-browser"],
        cwd=ROOT,
        env=os.environ | homes,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A test run in the background inherits an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        matches = (re.search(r"http://127.0.0.1:\S+", line) for line in process.stdout)
        address = next(match[0] for match in matches if match)
        page, token = address.split("?token=")
        assert page.endswith("/lab/tree/workbench.ipynb") and len(token) >= 32
        contents = page.replace("/lab/tree/", "/api/contents/")
        assert status(f"{contents}?content=0&token={token}") == 200
        assert status(contents) == 403
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    finally:
        process.kill()


def status(address: str) -> int:
    """Return the HTTP status of a server that may not listen yet."""
    for _ in range(100):
        try:
            with urllib.request.urlopen(address, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError(f"{address} does not answer")
