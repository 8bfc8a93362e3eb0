"""Hooks that act in one thread only and are removed when its work ends.

A user may call the model in a notebook cell while a worker thread runs its blocks. Both threads
pass the hooks of the modules: without the thread check, a hook that records keys would also record
the cell's, and a hook that ends a pass early would end the cell's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch import nn

#: Called with a module, its positional and its keyword arguments, before the module runs.
Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
#: Called with a module, its positional arguments and its output; a result other than None replaces
#: the output.
After = Callable[[nn.Module, tuple[Any, ...], Any], Any]


class OwnHooks:
    """Hooks for calls by the thread that created this object."""

    def __init__(self) -> None:
        self._thread: int | None = get_ident()
        self._set: list[tuple[nn.Module, Callable[..., Any]]] = []

    def before(self, module: nn.Module, read: Before) -> None:
        """Call ``read`` before each of the thread's calls of a module."""

        # Another thread may call the hook without keyword arguments while it is being removed.
        def own(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
        ) -> Any:
            return read(module, args, kwargs or {}) if get_ident() == self._thread else None

        # Recorded first: an interrupt may come right after the registration.
        self._set.append((module, own))
        module.register_forward_pre_hook(own, with_kwargs=True)

    def after(self, module: nn.Module, read: After) -> None:
        """Call ``read`` after each of the thread's calls of a module."""

        def own(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            return read(module, args, out) if get_ident() == self._thread else None

        self._set.append((module, own))
        module.register_forward_hook(own)

    def remove(self) -> None:
        """Remove all hooks; a second call does nothing."""
        self._thread = None  # a hook that an interrupt leaves behind does nothing
        for module, own in self._set:
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, hook in hooks.items() if hook is own]:
                    hooks.pop(key, None)
                    module._forward_pre_hooks_with_kwargs.pop(key, None)
        self._set.clear()


@contextmanager
def own_hooks() -> Iterator[OwnHooks]:
    """Provide hooks that are removed however the block is left."""
    hooks = OwnHooks()
    try:
        yield hooks
    finally:
        try:
            hooks.remove()
        except BaseException:
            hooks.remove()
            raise
