"""Names of temporary files and folders, which identify the process that writes them.

A temporary name has a digest of the machine, its boot time and process namespace, the process id,
and random digits. The next writer in the folder removes temporary files of processes that have
ended. For a file of another machine in a shared folder that is unknown; it is removed after a day.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import time
import uuid
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path

import psutil

#: Prefix, within a temporary name, of a path that was moved aside for its replacement.
ASIDE = "old."

#: Age in seconds at which another machine's temporary file counts as abandoned.
ABANDONED_AFTER = 86_400.0

#: 4 digits of the machine, 6 of the process, 6 random; earlier versions had 12 random digits.
_NAME = re.compile(r"\.(?:[0-9a-f]{12}|([0-9a-f]{4})([0-9a-f]{6})[0-9a-f]{6})\.(.+)", re.DOTALL)


def temporary_name(name: str) -> str:
    """Return a unique hidden name of this process for a file that will be called ``name``.

    It ends with ``name``, so that writers see the right suffix.
    """
    return f".{_machine()}{os.getpid():06x}{uuid.uuid4().hex[:6]}.{name}"


def final_name(path: str | os.PathLike[str]) -> str | None:
    """Return the final name of a temporary file or folder; None for any other name."""
    match = _NAME.fullmatch(Path(path).name)
    return match[3] if match else None


def is_left_behind(path: str | os.PathLike[str]) -> bool:
    """Return True if a file or folder has a temporary name, and no process is writing it."""
    match = _NAME.fullmatch(Path(path).name)
    if match is None:
        return False
    try:
        modified = os.lstat(path).st_mtime
    except OSError:
        return False
    if match[1] == _machine():
        return not _is_running(int(match[2], 16), since=modified)
    return time.time() - modified > ABANDONED_AFTER


def remove_left_behind(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files and folders of ended processes from a folder.

    Folders that were moved aside stay, as they may be the only complete copy; see
    :func:`.atomic_folder`.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (final_name(entry.name) or ASIDE).startswith(ASIDE):
                continue
            if is_left_behind(entry.path):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)


def _is_running(process: int, since: float) -> bool:
    """Return True if the process runs and started before ``since``, as ids are reused."""
    try:
        # One second of tolerance for coarse file times.
        return bool(psutil.Process(process).create_time() <= since + 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it runs as another user
        return True


@cache
def _machine() -> str:
    """Return four digits for machine, boot and process namespace, the scope of process ids."""
    parts = [platform.node(), str(round(psutil.boot_time()))]
    with suppress(OSError):  # Linux: containers number their own processes
        parts.append(os.readlink("/proc/self/ns/pid"))
    return blake2b(repr(parts).encode(), digest_size=2).hexdigest()
