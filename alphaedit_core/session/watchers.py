"""Views that follow a session: told of every change, and forgotten when they are gone."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable

log = logging.getLogger(__name__)

#: What is told of a change of a session; see :meth:`.EditSession.watch`.
Watcher = Callable[[str], None]


class Watchers:
    """Bound methods, held weakly, that are called with the name of each change."""

    def __init__(self) -> None:
        self._held: list[weakref.WeakMethod[Watcher]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, watcher: Watcher) -> None:
        """Tell this one, too, as long as its object is there."""
        self._held.append(weakref.WeakMethod(watcher))

    def clear(self) -> None:
        """Tell nobody any more."""
        self._held.clear()

    def tell(self, change: str) -> None:
        """Call all of them; what one raises is logged and ends nothing."""
        for kept in list(self._held):
            watcher = kept()
            if watcher is None:
                self._held.remove(kept)
                continue
            try:
                watcher(change)
            except Exception:
                log.exception("a view of the session could not follow")
