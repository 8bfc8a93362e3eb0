"""``alphaedit workbench`` and ``tutorials``: open the packaged notebooks in JupyterLab."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from alphaedit_core.errors import InputError
from alphaedit_core.messages import not_installed
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.files import write_atomic

from . import options

_WORKBENCH = "workbench.ipynb"
_LAB_PACKAGES = ("jupyterlab", "ipykernel", "ipywidgets", "anywidget", "plotly", "traitlets")
_MAX_PORT = 65_535


def add(commands: options.Commands) -> None:
    """Declare the subcommands."""
    parser = commands.add_parser(
        "workbench",
        help="open the workbench in JupyterLab",
        description=f"Copy {_WORKBENCH} to a folder and open it in JupyterLab, on this machine "
        "only (127.0.0.1, with a token). An existing file of that name is opened unchanged.",
    )
    _add_arguments(parser, ".", "current folder", workbench)
    parser = commands.add_parser(
        "tutorials",
        help="open the tutorials in JupyterLab",
        description="Copy the tutorials to a folder and open the first in JupyterLab, on this "
        "machine only (127.0.0.1, with a token). Existing files are not overwritten.",
    )
    _add_arguments(parser, "alphaedit-tutorials", "alphaedit-tutorials", tutorials)


def _add_arguments(
    parser: argparse.ArgumentParser,
    folder: str,
    default: str,
    run: Callable[[argparse.Namespace, Monitor], None],
) -> None:
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        default=folder,
        help=f"folder of the copies ({default})",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address without opening a browser"
    )
    parser.add_argument(
        "--port",
        metavar="N",
        type=options.positive_int,
        default=8888,
        help="port, or the next free one (8888)",
    )
    parser.set_defaults(run=run)


def workbench(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Copy the workbench and become JupyterLab."""
    folder = _checked_folder(arguments)
    _copy([_WORKBENCH], folder)
    _open(folder, _WORKBENCH, arguments)


def tutorials(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Copy all notebooks, which link to each other, and become JupyterLab."""
    folder = _checked_folder(arguments)
    suffixes = (".ipynb", ".md")
    names = sorted(file.name for file in _packaged().iterdir() if file.name.endswith(suffixes))
    _copy(names, folder)
    _open(folder, names[0], arguments)


def _checked_folder(arguments: argparse.Namespace) -> Path:
    """Check the arguments and the installation; return the folder."""
    for package in _LAB_PACKAGES:
        if find_spec(package) is None:
            raise InputError(not_installed("JupyterLab with the workbench", package, "lab"))
    if arguments.port > _MAX_PORT:
        raise InputError(f"--port {arguments.port} is out of range; give 1 to {_MAX_PORT}")
    folder = Path(arguments.folder).expanduser()
    options.check_writable("folder", folder)
    return folder.resolve()


def _packaged() -> resources.abc.Traversable:
    return resources.files("alphaedit_core.data") / "notebooks"


def _copy(names: list[str], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = folder / name
        if os.path.lexists(file):
            print(f"{file}: exists already, left unchanged")
        else:
            write_atomic(file, (_packaged() / name).read_bytes())
            print(file)


def _open(folder: Path, name: str, arguments: argparse.Namespace) -> NoReturn:
    """Replace this process by JupyterLab, which then gets Ctrl-C and sets the exit code."""
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{name}",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={arguments.port}",
        "--ServerApp.port_retries=50",
        "--ServerApp.answer_yes=True",
    ]
    if arguments.no_browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    sys.stdout.flush()
    with resources.as_file(resources.files("alphaedit_core.data") / "jupyter") as settings:
        # Before the user's own settings: allow large messages, and don't ask about Jupyter news.
        folders = [str(settings), *os.environ.get("JUPYTER_CONFIG_PATH", "").split(os.pathsep)]
        path = os.pathsep.join(filter(None, folders))
        os.execve(sys.executable, command, os.environ | {"JUPYTER_CONFIG_PATH": path})
