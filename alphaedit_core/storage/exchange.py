"""Atomic exchange of two files or folders, if the system supports it."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any

_AT_FDCWD = -100
#: ``RENAME_EXCHANGE`` on Linux and ``RENAME_SWAP`` on macOS.
_SWAP = 2
#: Error codes of systems and file systems without support.
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Exchange two paths of one file system atomically.

    Returns:
        False, without any change, if the system or file system does not support it.

    Raises:
        OSError: if the exchange fails, such as FileNotFoundError if a path does not exist.
    """
    call = _call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fspath(first), None, os.fspath(second))


@cache
def _call() -> Any:
    """Return the system call as a function of two paths in bytes, or None."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            rename = library.renameat2
            return lambda a, b: rename(_AT_FDCWD, a, _AT_FDCWD, b, _SWAP)
        if sys.platform == "darwin":
            swap = library.renamex_np
            return lambda a, b: swap(a, b, _SWAP)
    except (OSError, AttributeError, TypeError):
        pass
    return None
