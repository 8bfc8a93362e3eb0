"""Exclusive access to a folder, by a lock that the system releases when the process ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alphaedit_core.errors import SessionError

#: Name of the lock file, which exists while the lock is held.
LOCK = ".lock"

#: Seconds to wait for another writer.
PATIENCE = 2.0


@contextmanager
def folder_lock(folder: Path, what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Lock a folder against other processes and threads; reentrant within a thread.

    The operating system releases the lock when the process ends, even if it is killed.

    Args:
        folder: an existing folder.
        what: description of the folder for the message.
        patience: seconds to wait for another owner.

    Raises:
        SessionError: if another process or thread keeps the lock for longer.
        OSError: if the lock file cannot be created.
    """
    lock = FileLock(folder.resolve() / LOCK, is_singleton=True)
    try:
        lock.acquire(timeout=patience, poll_interval=0.05)
    except Timeout:
        raise SessionError(
            f"{what}: is being written by another process or thread; wait until it has ended"
        ) from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:
            # Removed before the release: a waiting process notices and opens a new lock file.
            with suppress(OSError):  # Windows cannot remove an open file, so it stays
                Path(lock.lock_file).unlink()
        lock.release()
