"""A process that saves a session, or writes a folder, and is killed on the way.

Every moment at which a file could be half there is counted: before each file is opened, moved or
removed, before each flush, and after half of a file's content has been written. The process kills
itself, beyond any clean-up, at the one it is told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alphaedit_core.session import files as session_files
from alphaedit_core.storage import files, tensor_files

_EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


class _Clock:
    """Counts moments that have to do with one folder; kills the process at the chosen one."""

    def __init__(self, folder: Path, moment: int) -> None:
        self._folder, self._left = str(folder), moment

    def tick(self, path: object) -> None:
        if str(path).startswith(self._folder):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def halfway(self, write: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A writer of files that has a moment with half of the content written."""

        def writing(*args: Any) -> Any:
            done = write(*args)
            whole = Path(args[place]).read_bytes()
            with open(args[place], "r+b") as file:
                file.truncate(len(whole) // 2)
            self.tick(args[place])
            with open(args[place], "r+b") as file:
                file.write(whole)
            return done

        return writing


def _watched(folder: Path, moment: int) -> None:
    clock = _Clock(folder, moment)
    tensor_files.save_file = clock.halfway(tensor_files.save_file, 1)
    Path.write_bytes = clock.halfway(Path.write_bytes, 0)  # type: ignore[method-assign]
    flush = files._flush_to_disk

    def flushing(path: Path) -> None:
        clock.tick(path)
        flush(path)
        clock.tick(path)

    files._flush_to_disk = flushing

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in _EVENTS:
            clock.tick(args[0])

    sys.addaudithook(audit)


def _save(source: Path, folder: Path, moment: int) -> None:
    manifest = session_files.load_manifest(source)
    entries = session_files.load_entries(source, manifest)
    _watched(folder, moment)
    session_files.save_session(folder, manifest, entries, manifest["applied"], overwrite=True)


def _write_folder(text: str, folder: Path, moment: int) -> None:
    _watched(folder.parent, moment)
    with files.atomic_folder(folder) as new:
        for name in ("a", "b"):
            (new / name).write_bytes(text.encode())


def killed_save(source: Path, folder: Path, moment: int) -> bool:
    """Save what ``source`` holds to ``folder`` in a process; whether it was killed."""
    return _killed(partial(_save, source, folder, moment))


def killed_folder(text: str, folder: Path, moment: int) -> bool:
    """Write a folder of two files in a process; whether it was killed."""
    return _killed(partial(_write_folder, text, folder, moment))


def _killed(work: Callable[[], None]) -> bool:
    # Forked from a server that has imported everything and runs no threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", __name__])
    process = context.Process(target=work)
    with pytest.MonkeyPatch.context() as patch:
        # Some versions of Python keep the search path from the server, which then imports nothing.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0
