"""Models that cannot be loaded: exit code 2, one line, and nothing written."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from commands import Ran, Workplace
from refusals import refused, the_line


class TestModels:
    @pytest.mark.parametrize("command", ["edit", "complete", "spectrum", "statistics"])
    def test_a_folder_without_a_model(self, place: Workplace, command: str) -> None:
        (place.folder / "empty").mkdir()
        given = ["examples"] if command == "edit" else ["Rome"] if command == "complete" else []
        line = refused(place, command, *given, "--model", place.folder / "empty")
        assert str(place.folder / "empty") in line
        assert "without config.json; give a folder" in line

    @pytest.mark.parametrize(("option", "value"), [("--device", "toaster"), ("--dtype", "int8")])
    def test_device_and_dtype(self, place: Workplace, option: str, value: str) -> None:
        line = refused(place, "edit", "examples", "--model", place.model, option, value)
        assert f'"{value}"' in line
        assert "give auto or one of" in line

    @pytest.mark.parametrize("name", ["none.gguf", "/no/such/model", "no model"])
    def test_an_invalid_hub_name(self, place: Workplace, name: str) -> None:
        line = refused(place, "edit", "examples", "--model", name)
        assert f'model "{name}" does not exist; give ' in line

    def test_a_hub_that_cannot_be_reached(self, place: Workplace) -> None:
        with socket.socket() as unused:  # a port without a server
            unused.bind(("127.0.0.1", 0))
            started = time.monotonic()
            ran = hub_run(place, f"http://127.0.0.1:{unused.getsockname()[1]}")
        line = the_line(ran)
        assert line.startswith('model "nope/nope" is not on this machine and the hub cannot be')
        assert "give smollm2-135m, " in line
        assert time.monotonic() - started < 60  # mostly imports on a busy machine

    def test_a_hub_without_the_model(self, place: Workplace, hub: str) -> None:
        line = the_line(hub_run(place, hub))
        assert line.startswith('model "nope/nope" does not exist or is private; give smollm2-135m')

    def test_fetch_of_something_else(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "fetch", "nope/nope")
        assert line.startswith('"nope/nope" is not packaged; give smollm2-135m, ')


@pytest.fixture
def hub() -> Iterator[str]:
    """Address of a hub without models."""

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def hub_run(place: Workplace, address: str) -> Ran:
    """Run the command in a new process, since the hub client reads its address on import."""
    ran = subprocess.run(
        [sys.executable, "-m", "alphaedit_core", "edit", "examples", "--model", "nope/nope"],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(place.folder / "hub")},
    )
    assert not (place.folder / "hub").exists()
    return Ran(ran.returncode, ran.stdout, ran.stderr)
