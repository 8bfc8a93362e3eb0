"""Names of files and folders that are being written, which tell whether anyone still writes them.

What is written beside its place has a name that says which process writes it: a digest of the
machine, its start and its process table, the process's number, and some digits of chance. Whoever
writes beside it next removes what belongs to a process that has ended. What another machine writes
into a shared folder cannot be asked after; it goes when it is a day old.
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

#: How the name goes on of what was moved aside for something new.
ASIDE = "old."

#: Seconds after which what a process of another machine has begun counts as left behind.
ABANDONED_AFTER = 86_400.0

#: 4 digits of the machine, 6 of the process, 6 of chance; earlier versions had 12 of chance.
_NAME = re.compile(r"\.(?:[0-9a-f]{12}|([0-9a-f]{4})([0-9a-f]{6})[0-9a-f]{6})\.(.+)", re.DOTALL)


def temporary_name(name: str) -> str:
    """A hidden name for what will be called ``name``, of this process and of nothing else.

    It ends with ``name``, so that writers which look at the suffix see the right one.
    """
    return f".{_machine()}{os.getpid():06x}{uuid.uuid4().hex[:6]}.{name}"


def final_name(path: str | os.PathLike[str]) -> str | None:
    """What a file or folder of a temporary name is going to be called; None for any other name."""
    found = _NAME.fullmatch(Path(path).name)
    return found[3] if found else None


def is_left_behind(path: str | os.PathLike[str]) -> bool:
    """Whether a file or folder has a temporary name and no living process is writing it."""
    found = _NAME.fullmatch(Path(path).name)
    if found is None:
        return False
    try:
        modified = os.lstat(path).st_mtime
    except OSError:
        return False
    if found[1] == _machine():
        return not _lives(int(found[2], 16), since=modified)
    return time.time() - modified > ABANDONED_AFTER


def remove_left_behind(folder: str | os.PathLike[str]) -> None:
    """Remove from a folder what processes that have ended were writing there.

    What was moved aside stays: it may be the only whole copy of what it was, see
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


def _lives(process: int, since: float) -> bool:
    """Whether a process runs that was there at a time: a number is used again after its end."""
    try:
        # A second more: file systems keep times coarsely.
        return bool(psutil.Process(process).create_time() <= since + 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # it is there, and somebody else's
        return True


@cache
def _machine() -> str:
    """Four digits of what numbers of processes are counted in: machine, start and namespace."""
    parts = [platform.node(), str(round(psutil.boot_time()))]
    with suppress(OSError):  # Linux: a container counts its own processes
        parts.append(os.readlink("/proc/self/ns/pid"))
    return blake2b(repr(parts).encode(), digest_size=2).hexdigest()
