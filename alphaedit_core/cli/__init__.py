"""The command ``alphaedit``: the parser, and what becomes of errors.

Each file beside this one is a group of subcommands with a function ``add`` that declares them and
one function per subcommand that runs it. Results go to the standard output; progress, warnings and
errors to the standard error. Nothing heavy is imported before a subcommand runs, so that ``--help``
answers at once.

Exit codes: 0 done; 2 refused, in one line, nothing changed; 1 the system failed (disk, permission),
in one line; 130 interrupted; 141 the reader of the output went away.
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
        argv: arguments without the program's name; None for those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a terminal that has no arrow is shown a question mark
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
        # What is still in the buffer would be complained of when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return print_error(f"{place}{error.strerror or error}", 1)


def _run(argv: Sequence[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as stop:  # after --help and --version
        return int(stop.code or 0)
    with quiet_but_warnings():
        arguments.run(arguments, make_monitor())
    return 0


def _parser() -> Parser:
    parser = Parser(
        prog="alphaedit",
        description="Edit facts into a language model, look at what that did, and take it back.",
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
