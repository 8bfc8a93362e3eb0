"""A JupyterLab server on loopback, and a notebook in it as a page of a browser.

``CHROMIUM`` names the browser, else the machine's own is taken; with ``SHOTS`` tests leave
screenshots in that folder.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
#: No news (they cover the page), no saving by itself (tests say when).
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
_READY = """() => {
    const panel = window.jupyterapp?.shell?.currentWidget;
    return !!(panel?.context?.isReady && panel.content?.widgets?.length
        && panel.sessionContext?.session?.kernel?.status === 'idle');
}"""


def expect(locator: Any) -> Any:
    """Playwright's assertions, which wait; imported late, so that without it tests are skipped."""
    from playwright.sync_api import expect as expects

    return expects(locator)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """A JupyterLab server with folders of its own.

    Args:
        home: where they are made.
        as_made: with the settings of ``make workbench`` alone, not those of the tests.

    Attributes:
        url: where it listens.
        root: its notebooks.
    """

    def __init__(self, home: Path, as_made: bool = False) -> None:
        self.root = home / "notebooks"
        self.root.mkdir(parents=True)
        settings = home / "settings"
        settings.mkdir()
        (settings / "overrides.json").write_text(json.dumps(_SETTINGS), encoding="utf-8")
        own = {
            "JUPYTER_CONFIG_DIR": home / "config",
            "JUPYTER_DATA_DIR": home / "data",
            "JUPYTER_RUNTIME_DIR": home / "run",
            "IPYTHONDIR": home / "ipython",
        }
        if as_made:
            own["JUPYTER_CONFIG_PATH"] = ROOT / "tools" / "jupyter"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1",
            f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
            "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True",
            f"--ServerApp.root_dir={self.root}", "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly", f"--LabApp.workspaces_dir={home / 'workspaces'}",
        ]  # fmt: skip
        if not as_made:
            command.append(f"--LabApp.app_settings_dir={settings}")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--allow-root")
        self._log = home / "lab.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {name: str(path) for name, path in own.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(480):
            if self._process.poll() is not None:
                break
            try:
                urllib.request.urlopen(f"{self.url}/api/status", timeout=1)
                return
            except OSError:
                time.sleep(0.25)
        self.close()
        raise RuntimeError(f"JupyterLab did not start:\n{self._log.read_text()[-3000:]}")

    def close(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Page:
    """A notebook in the browser.

    Attributes:
        page: the Playwright page.
        errors: what scripts in the page threw.
        outside: addresses asked for that are not the server's.
    """

    def __init__(self, page: Any, lab: Lab) -> None:
        self.page, self._lab = page, lab
        self.errors: list[str] = []
        self.outside: list[str] = []
        ours = (lab.url, lab.url.replace("http", "ws"), "data:", "blob:")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(ours) else self.outside.append(request.url)
            ),
        )

    def write(self, name: str, *cells: str) -> None:
        """Put a notebook of these cells on the server."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
            metadata={
                "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
            },
        )
        nbformat.write(notebook, self._lab.root / name)

    def open(self, name: str) -> None:
        """Open a notebook of the server's folder and wait for its kernel."""
        self.page.goto(f"{self._lab.url}/lab/tree/{name}?reset", wait_until="domcontentloaded")
        self.ready()

    def ready(self) -> None:
        """Wait until notebook and kernel are there."""
        self.page.wait_for_function(_READY, timeout=90_000)

    def command(self, name: str, args: dict[str, Any] | None = None) -> None:
        """Run a command of JupyterLab; ends when it has."""
        self.page.evaluate(
            "([c, a]) => window.jupyterapp.commands.execute(c, a)", [name, args or {}]
        )

    def run_all(self) -> None:
        """Run all cells."""
        self.command("notebook:run-all-cells")

    def python(self, code: str) -> str:
        """Run code in the notebook's kernel, also while a cell runs; returns what it printed."""
        return self.page.evaluate(  # type: ignore[no-any-return]
            """async code => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                const future = kernel.requestExecute({ code, store_history: false });
                let text = '';
                future.onIOPub = message => {
                    const type = message.header.msg_type;
                    if (type === 'stream' && message.content.name === 'stdout')
                        text += message.content.text;
                    if (type === 'error')
                        text += message.content.ename + ': ' + message.content.evalue;
                };
                await future.done;
                return text.trim();
            }""",
            code,
        )

    def settle(self) -> None:
        """Wait until the workbench has kept its content and its size for a moment."""
        self.page.evaluate(
            """async () => {
                const box = document.querySelector('.ae-workbench');
                const state = () =>
                    [box.innerHTML.length, box.scrollWidth, box.scrollHeight].join();
                let last = '';
                for (let round = 0; round < 40 && last !== state(); round++) {
                    last = state();
                    await new Promise(done => setTimeout(done, 80));
                }
            }"""
        )

    def tab(self, title: str) -> None:
        """Turn to a tab of the workbench."""
        self.page.get_by_role("tab", name=title, exact=True).first.click()

    def by_testid(self, testid: str) -> Any:
        """The first element with this test id that is shown."""
        return self.page.locator(f'[data-testid="{testid}"]:visible').first

    def shot(self, name: str) -> None:
        """Leave a screenshot in the folder that ``SHOTS`` names."""
        if folder := os.environ.get("SHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=str(Path(folder) / f"{name}.png"))
