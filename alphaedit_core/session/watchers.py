"""Callbacks for changes of a session, held weakly."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

log = logging.getLogger(__name__)

#: Called with the name of a change; see :meth:`.EditSession.watch`.
Watcher = Callable[[str], None]


class Watchers:
    """Weakly held bound methods that are called with the name of each change."""

    def __init__(self) -> None:
        self._held: list[weakref.WeakMethod[Watcher]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, watcher: Watcher) -> None:
        """Add a bound method. It is dropped when its object is garbage-collected."""
        self._held.append(weakref.WeakMethod(watcher))

    def clear(self) -> None:
        """Remove all watchers."""
        self._held.clear()

    def tell(self, change: str) -> None:
        """Call all watchers with the name of a change; exceptions are logged, not raised."""
        for reference in list(self._held):
            watcher = reference()
            if watcher is None:
                self._held.remove(reference)
                continue
            try:
                watcher(change)
            except Exception:
                log.exception("a view of the session could not follow")
