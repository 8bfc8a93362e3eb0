"""Let two files or folders change places in one step, where the system can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from typing import Any

_AT_FDCWD = -100
#: ``RENAME_EXCHANGE`` of Linux and ``RENAME_SWAP`` of macOS.
_SWAP = 2
#: What a system or a file system without it answers.
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


def exchange(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> bool:
    """Exchange two paths of one file system, so that both are there at every moment.

    Returns:
        False, with nothing done, where the system or the file system cannot.

    Raises:
        OSError: if they cannot be exchanged, such as FileNotFoundError if one is missing.
    """
    call = _call()
    if call is None:
        return False
    if call(os.fsencode(first), os.fsencode(second)) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), os.fspath(first), None, os.fspath(second))


@cache
def _call() -> Any:
    """The system's call as a function of two paths in bytes, or None."""
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
