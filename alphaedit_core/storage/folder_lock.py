"""One process at a time in a folder, by a lock that goes with the process that holds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from alphaedit_core.errors import SessionError

#: Name of the lock's file, which is there while the lock is held.
LOCK = ".lock"

#: Seconds to wait for another writer, who as a rule takes a moment.
PATIENCE = 2.0


@contextmanager
def folder_lock(folder: Path, what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Keep other processes and threads out of a folder; one thread may nest it.

    The operating system holds the lock for the process and lets go of it when the process ends,
    however it ends.

    Args:
        folder: exists.
        what: what the folder is, for the message.
        patience: seconds to wait for whoever has it.

    Raises:
        SessionError: if another has it for longer.
        OSError: if the lock's file cannot be made.
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
            # While it is held: who waits for the file that is gone sees so, and opens the next one.
            with suppress(OSError):  # Windows removes no open file; there it stays
                Path(lock.lock_file).unlink()
        lock.release()
