"""``alphaedit --print-completion``: shell completion by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")

#: Metavars of arguments that are completed with file names, and with directory names.
_FILES = ("FACTS", "FILE", "MODEL", "RECORDS", "SOURCE", "TEXT")
_DIRECTORIES = ("DIR", "FOLDER", "SESSION")


class PrintCompletion(argparse.Action):
    """Print the completion script of a shell and exit."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, *_: Any
    ) -> None:
        """Print the script and exit with 0."""
        import shtab  # here, so that other commands don't load it

        values = _values()
        # The parser ends with this call, so that it may be changed.
        for action in _actions(parser):
            if action.metavar in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in _DIRECTORIES:
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
            for option in action.option_strings:
                action.choices = values.get(option, action.choices)
        print(shtab.complete(parser, shell))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _values() -> dict[str, Iterable[str]]:
    """Return the values that options of this name are completed with."""
    from alphaedit_core.data.datasets.registry import datasets
    from alphaedit_core.editing.editors.registry import editors

    names = tuple(editors())
    return {
        "--dataset": tuple(datasets()),
        "--device": ("auto", "cpu", "cuda", "mps"),
        "--dtype": ("auto", "bfloat16", "float16", "float32", "float64"),
        "--editor": names,
        "--editors": names,
        "--fetch": tuple(datasets()),
    }
