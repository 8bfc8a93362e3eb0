"""The command ``alphaedit``: its parser and its handling of errors.

Each module of this package declares a group of subcommands in ``add`` and has one function per
subcommand. Results go to standard output; progress, warnings and errors go to standard error. Heavy
modules are imported when a subcommand runs, so that ``--help`` is fast.

Exit codes: 0 success; 2 invalid input (one line, nothing changed); 1 system error such as a full
disk (one line); 130 interrupted; 141 broken pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from alphaedit_core._version import __version__
from alphaedit_core.errors import AlphaEditError, Canceled

from . import (
    ability,
    compare,
    complete,
    datasets,
    edit,
    evaluate,
    experiment,
    models,
    notebooks,
    retention,
    sessions,
    spectrum,
    statistics,
)  # fmt: skip
from .completion import SHELLS, PrintCompletion
from .options import Parser
from .output import make_monitor, print_error, quiet_but_warnings

_GROUPS = (
    edit, complete, evaluate, sessions, compare, datasets, experiment, ability, retention,
    statistics, spectrum, models, notebooks,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        argv: arguments without the program's name; None for ``sys.argv``.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # print "?" if the encoding lacks a character
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except Canceled as error:
        return print_error(error, 130)
    except KeyboardInterrupt:
        return print_error("interrupted", 130)
    except AlphaEditError as error:
        return print_error(error, 2)
    except BrokenPipeError:
        # Otherwise the interpreter reports the unflushed buffer at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        prefix = f"{error.filename}: " if error.filename else ""
        return print_error(f"{prefix}{error.strerror or error}", 1)


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # from --help, --version and --print-completion
        return int(stop.code or 0)
    with quiet_but_warnings():
        arguments.run(arguments, make_monitor())
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="alphaedit",
        description="Edit facts in a language model, inspect the effects, and undo edits.",
    )
    parser.add_argument("--version", action="version", version=f"alphaedit {__version__}")
    parser.add_argument(
        "--print-completion",
        action=PrintCompletion,
        choices=SHELLS,
        help="print a completion script for this shell and exit",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for group in _GROUPS:
        group.add(commands)
    return parser
