"""Hooks that answer to one thread only, and that are gone when the work they are for ends.

A person may call the model in a notebook's cell while a worker thread runs blocks of it. Hooks lie
in the modules, so both threads pass them: one that notes keys would note the cell's too, and one
that ends a pass early would end the cell's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch import nn

#: Given a module, its positional and its named arguments, before it runs.
Before = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]
#: Given a module, its positional arguments and its output; what it returns takes the output's
#: place, unless it is None.
After = Callable[[nn.Module, tuple[Any, ...], Any], Any]


class OwnHooks:
    """Hooks for calls that the thread which made this object makes, and no other."""

    def __init__(self) -> None:
        self._thread: int | None = get_ident()
        self._set: list[tuple[nn.Module, Callable[..., Any]]] = []

    def before(self, module: nn.Module, read: Before) -> None:
        """Call ``read`` before each of the thread's calls of a module."""

        # Without its keyword arguments it is called by a thread that met it as it was removed.
        def own(
            module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None
        ) -> Any:
            return read(module, args, kwargs or {}) if get_ident() == self._thread else None

        # Noted first: an interrupt may come right behind the registration.
        self._set.append((module, own))
        module.register_forward_pre_hook(own, with_kwargs=True)

    def after(self, module: nn.Module, read: After) -> None:
        """Call ``read`` after each of the thread's calls of a module."""

        def own(module: nn.Module, args: tuple[Any, ...], out: Any) -> Any:
            return read(module, args, out) if get_ident() == self._thread else None

        self._set.append((module, own))
        module.register_forward_hook(own)

    def remove(self) -> None:
        """Take all of them away; done twice it does nothing."""
        self._thread = None  # one that an interrupt leaves behind answers to nobody
        for module, own in self._set:
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key in [key for key, hook in hooks.items() if hook is own]:
                    hooks.pop(key, None)
                    module._forward_pre_hooks_with_kwargs.pop(key, None)
        self._set.clear()


@contextmanager
def own_hooks() -> Iterator[OwnHooks]:
    """Hooks that are set inside the block, all of them gone when it is left in any way."""
    hooks = OwnHooks()
    try:
        yield hooks
    finally:
        try:
            hooks.remove()
        except BaseException:
            hooks.remove()
            raise
