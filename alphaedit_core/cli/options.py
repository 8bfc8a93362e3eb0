"""Arguments shared by several subcommands, and functions that read them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from alphaedit_core.errors import InputError
from alphaedit_core.model.packaged import DEFAULT_MODEL
from alphaedit_core.progress import Monitor

if TYPE_CHECKING:
    from alphaedit_core.data.reference_texts import References
    from alphaedit_core.editing.config import EditConfig
    from alphaedit_core.model.editable_model import EditableModel
    from alphaedit_core.session.session import EditSession

#: Return type of ``add_subparsers``.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

#: Limit on the digits of a state; no session has a million edits.
_MAX_DIGITS = 6


class Parser(argparse.ArgumentParser):
    """A parser that raises one-line errors."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options, allow_abbrev=False)  # type: ignore[arg-type]
        #: Returns the end of the help, computed only if help is requested.
        self.appendix: Callable[[], str] | None = None

    def format_help(self) -> str:
        """Return the help followed by the appendix, which is not re-wrapped."""
        text = super().format_help()
        return text if self.appendix is None else f"{text}\n{self.appendix()}\n"

    def error(self, message: str) -> NoReturn:
        """Raise the error.

        Raises:
            InputError: always.
        """
        raise InputError(f"{' '.join(message.split())}; see {self.prog} --help")


def positive_int(text: str) -> int:
    """Parse an integer above 0, for ``type=``.

    Raises:
        argparse.ArgumentTypeError: for any other text.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number above 0; give 1 or more')
    return number


def non_negative_int(text: str) -> int:
    """Parse an integer of 0 or more, for ``type=``.

    Raises:
        argparse.ArgumentTypeError: for any other text.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number; give 0 or more')
    return int(text)


def state_numbers(text: str) -> list[int]:
    """Parse states of a session such as ``0,5,10`` or ``0-3``, for ``type=``; sorted and unique.

    Raises:
        argparse.ArgumentTypeError: for any other text.
    """
    states: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(
                f'"{text}" names no states; give numbers of edits such as 0,5,10 or 1-4'
            )
        if max(len(first), len(last)) > _MAX_DIGITS:
            raise argparse.ArgumentTypeError(
                f'"{text[:60]}" names states that no session has; give numbers of edits'
            )
        states |= set(range(int(first), int(last or first) + 1))
    if not states:
        raise argparse.ArgumentTypeError(f'"{text}" names no states; give the smaller number first')
    return sorted(states)


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def add_facts(parser: argparse.ArgumentParser) -> None:
    """``FACTS``, ``--batch-size`` and ``--limit``."""
    parser.add_argument("facts", metavar="FACTS", help='JSON, JSONL, CSV or TSV, or "examples"')
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=positive_int,
        default=100,
        help="facts per batch (100)",
    )
    parser.add_argument(
        "--limit", metavar="N", type=positive_int, help="use only the first N facts"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--device`` and ``--dtype``."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"packaged model, directory, GGUF file or Hub id ({DEFAULT_MODEL})",
    )
    parser.add_argument("--device", metavar="D", default="auto", help="cpu, cuda, mps … (auto)")
    parser.add_argument(
        "--dtype",
        metavar="T",
        default="auto",
        help="float32, bfloat16, float16 or float64 (auto)",
    )


def add_dataset_options(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """``--option`` of a data set; ``prefix`` precedes the help."""
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"{prefix}option of the data set, such as target=alt; repeatable",
    )


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """``--metrics``, ``--compat`` and ``--references``."""
    parser.add_argument(
        "--metrics",
        metavar="LIST",
        help="comma-separated metrics, see alphaedit metrics (the data set's defaults)",
    )
    parser.add_argument(
        "--compat",
        choices=("paper", "easyedit"),
        default="paper",
        help="whose definitions the default metrics follow (paper)",
    )
    parser.add_argument(
        "--references",
        metavar="FILE",
        help="JSON file of reference texts by target, for the consistency metric",
    )


def metric_names(arguments: argparse.Namespace) -> list[str] | None:
    """Return the names in ``--metrics``, or None without it.

    Raises:
        InputError: if there are none, or one is not a metric.
    """
    return parse_metrics("--metrics", arguments.metrics)


def parse_metrics(option: str, value: str | None) -> list[str] | None:
    """Return the metrics in the value of an option; see :func:`metric_names`."""
    if value is None:
        return None
    from alphaedit_core.evaluation.evaluate import chosen

    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise InputError(f'{option} "{value}" names none; see alphaedit metrics')
    chosen([], names)
    return names


def reference_texts(arguments: argparse.Namespace) -> References | None:
    """Read the file of ``--references``; return None without it."""
    from alphaedit_core.data.reference_texts import read_references

    if arguments.references is None:
        return None
    return read_references(Path(arguments.references).expanduser())


def dataset_options(settings: list[str]) -> dict[str, str]:
    """Return the values of ``--option`` by name.

    Raises:
        InputError: if one is not NAME=VALUE.
    """
    values = {}
    for text in settings:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise InputError(f'--option "{text}" is not understood; give for example target=alt')
        values[name] = value
    return values


def add_text(parser: argparse.ArgumentParser) -> None:
    """``--layers``, ``--text`` and ``--tokens``."""
    parser.add_argument("--layers", metavar="L", help="blocks: 5-9 or 5,7,9 (the model's preset)")
    parser.add_argument(
        "--text",
        metavar="SOURCE",
        help="running text: wikipedia-sample, a .txt or .jsonl file, hf:NAME:CONFIG or self "
        "(the model's preset)",
    )
    parser.add_argument(
        "--tokens", metavar="N", type=positive_int, help="tokens to read (the model's preset)"
    )


def model_name(value: str | None) -> str:
    """Return the model of ``--model``; a path becomes absolute, so that a session can store it."""
    if value is None:
        return DEFAULT_MODEL
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() and value != DEFAULT_MODEL else value


def load(arguments: argparse.Namespace, monitor: Monitor) -> EditableModel:
    """Load the model of ``--model``, ``--device`` and ``--dtype``."""
    from alphaedit_core.model.loading import load_model

    name = model_name(arguments.model)
    return load_model(name, arguments.device, arguments.dtype, monitor=monitor)


def load_session(folder: Path, arguments: argparse.Namespace, monitor: Monitor) -> EditSession:
    """Load a saved session into its own model, or into that of ``--model``.

    Raises:
        FingerprintError: if the model has other weights.
    """
    from alphaedit_core.model.loading import load_model
    from alphaedit_core.session import files as session_files
    from alphaedit_core.session.session import EditSession

    model = None
    if arguments.model is not None:
        dtype = session_files.load_manifest(folder).get("dtype", "auto")
        model = load_model(model_name(arguments.model), arguments.device, dtype, monitor=monitor)
    return EditSession.load(folder, model, arguments.device, monitor)


def check_writable(what: str, folder: Path) -> None:
    """Refuse a folder that cannot be created or written.

    Raises:
        InputError: naming the folder.
    """
    from alphaedit_core.storage.files import check_name

    check_name(what, folder)
    target = folder.resolve()
    nearest = next(path for path in (target, *target.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{what} {folder}: {nearest} is not writable; give another folder")


def check_text(arguments: argparse.Namespace) -> None:
    """Check ``--layers`` and ``--text`` before a model is loaded.

    Raises:
        InputError: if no model could use them.
    """
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.editing.configs import make_config

    if arguments.layers is not None:
        make_config(layers=arguments.layers)
    if arguments.text not in (None, "self"):
        open_text(arguments.text)


def text_config(arguments: argparse.Namespace, model: EditableModel) -> EditConfig:
    """Return the model's preset with ``--layers``, ``--text`` and ``--tokens`` applied."""
    from alphaedit_core.editing.defaults import default_hyperparameters

    values = {name: getattr(arguments, name) for name in ("layers", "text", "tokens")}
    changes = {name: value for name, value in values.items() if value is not None}
    return default_hyperparameters(model).replace(**changes)


def ensure_text(spec: str, model: EditableModel, monitor: Monitor) -> None:
    """Download and clean the packaged text, if ``spec`` names it."""
    from alphaedit_core.corpora.sources import WikipediaSample, open_text

    source = open_text(spec, model, monitor)
    if isinstance(source, WikipediaSample):
        next(source.documents())


def read_text_option(option: str, file: Path) -> str:
    """Read the text file of an option.

    Raises:
        InputError: if it cannot be read, naming the option.
    """
    from alphaedit_core.storage.json_text import read_text

    try:
        return read_text(file)
    except OSError as error:
        raise InputError(
            f"{option} {file}: cannot be read ({error.strerror}); give a text file"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{option} {file}: not UTF-8 at byte {error.start}; save it in UTF-8"
        ) from None
