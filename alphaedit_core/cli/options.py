"""Arguments that several subcommands share, and what is made of them."""

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

#: What ``add_subparsers`` gives.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

#: A session of a million edits would be the first.
_MOST_DIGITS = 6


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line, as everything else here does."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options, allow_abbrev=False)  # type: ignore[arg-type]
        #: Makes what stands last in the help, which is not worth making before it is asked for.
        self.appendix: Callable[[], str] | None = None

    def format_help(self) -> str:
        """The help, with the appendix as it is laid out."""
        text = super().format_help()
        return text if self.appendix is None else f"{text}\n{self.appendix()}\n"

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            InputError: always.
        """
        raise InputError(f"{' '.join(message.split())}; see {self.prog} --help")


def positive(text: str) -> int:
    """A whole number above 0, for ``type=``.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number above 0; give 1 or more')
    return number


def whole(text: str) -> int:
    """A whole number from 0, for ``type=``.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number; give 0 or more')
    return int(text)


def numbers(text: str) -> list[int]:
    """States of a history for ``type=``: ``0,5,10`` or ``0-3``, each once, in order.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(
                f'"{text}" names no states; give numbers of edits such as 0,5,10 or 1-4'
            )
        if max(len(first), len(last)) > _MOST_DIGITS:
            raise argparse.ArgumentTypeError(
                f'"{text[:60]}" names states that no session has; give numbers of edits'
            )
        found |= set(range(int(first), int(last or first) + 1))
    if not found:
        raise argparse.ArgumentTypeError(f'"{text}" names no states; give the smaller one first')
    return sorted(found)


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def add_facts(parser: argparse.ArgumentParser) -> None:
    """``FACTS``, ``--batch-size`` and ``--limit``."""
    parser.add_argument("facts", metavar="FACTS", help='JSON, JSONL, CSV or TSV, or "examples"')
    parser.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=100,
        help="facts that are written together (100)",
    )
    parser.add_argument("--limit", metavar="N", type=positive, help="use only the first N facts")


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model``, ``--device`` and ``--dtype``."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"a packaged model, a directory, a GGUF file or a hub id ({DEFAULT_MODEL})",
    )
    parser.add_argument("--device", metavar="D", default="auto", help="cpu, cuda, mps … (auto)")
    parser.add_argument(
        "--dtype",
        metavar="T",
        default="auto",
        help="float32, bfloat16, float16 or float64 (auto)",
    )


def add_choices(parser: argparse.ArgumentParser, where: str = "") -> None:
    """``--option`` of a data set; ``where`` stands before the help."""
    parser.add_argument(
        "--option",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help=f"{where}an option of the data set, such as target=alt; repeatable",
    )


def add_metrics(parser: argparse.ArgumentParser) -> None:
    """``--metrics``, ``--compat`` and ``--references``: what is measured of the records."""
    parser.add_argument(
        "--metrics",
        metavar="LIST",
        help="separated by commas, see alphaedit metrics (the data set's usual ones)",
    )
    parser.add_argument(
        "--compat",
        choices=("paper", "easyedit"),
        default="paper",
        help="by whose definitions the usual metrics are chosen (paper)",
    )
    parser.add_argument(
        "--references",
        metavar="FILE",
        help="a JSON file of reference texts by target, for the consistency",
    )


def metric_names(arguments: argparse.Namespace) -> list[str] | None:
    """What ``--metrics`` names; None where it was not given.

    Raises:
        InputError: if it names none, or something that is no metric.
    """
    return metrics_in("--metrics", arguments.metrics)


def metrics_in(option: str, given: str | None) -> list[str] | None:
    """The same of another option."""
    if given is None:
        return None
    from alphaedit_core.evaluation.evaluate import chosen

    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise InputError(f'{option} "{given}" names none; see alphaedit metrics')
    chosen([], names)
    return names


def reference_texts(arguments: argparse.Namespace) -> References | None:
    """What the file that ``--references`` names holds; None where it was not given."""
    from alphaedit_core.data.reference_texts import read_references

    if arguments.references is None:
        return None
    return read_references(Path(arguments.references).expanduser())


def choices(given: list[str]) -> dict[str, str]:
    """What ``--option`` was given, by name.

    Raises:
        InputError: if one is not NAME=VALUE.
    """
    chosen = {}
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals):
            raise InputError(f'--option "{text}" is not understood; give for example target=alt')
        chosen[name] = value
    return chosen


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
        "--tokens", metavar="N", type=positive, help="tokens to read (the model's preset)"
    )


def model_name(given: str | None) -> str:
    """The model that ``--model`` means; a path is made absolute, so that a session can keep it."""
    if given is None:
        return DEFAULT_MODEL
    path = Path(given).expanduser()
    return str(path.resolve()) if path.exists() and given != DEFAULT_MODEL else given


def load(arguments: argparse.Namespace, monitor: Monitor) -> EditableModel:
    """The model that the arguments ask for."""
    from alphaedit_core.model.loading import load_model

    name = model_name(arguments.model)
    return load_model(name, arguments.device, arguments.dtype, monitor=monitor)


def load_session(folder: Path, arguments: argparse.Namespace, monitor: Monitor) -> EditSession:
    """A saved session in its model, or in the one that ``--model`` names.

    Raises:
        FingerprintError: if that one has other weights.
    """
    from alphaedit_core.model.loading import load_model
    from alphaedit_core.session import files as ledger
    from alphaedit_core.session.session import EditSession

    model = None
    if arguments.model is not None:
        dtype = ledger.load_manifest(folder).get("dtype", "auto")
        model = load_model(model_name(arguments.model), arguments.device, dtype, monitor=monitor)
    return EditSession.load(folder, model, arguments.device, monitor)


def check_writable(what: str, folder: Path) -> None:
    """Refuse a folder that could not be made or written to.

    Raises:
        InputError: if it could not.
    """
    from alphaedit_core.storage.files import check_name

    check_name(what, folder)
    place = folder.resolve()
    nearest = next(path for path in (place, *place.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(f"{what} {folder}: {nearest} cannot be written to; give another folder")


def check_text(arguments: argparse.Namespace) -> None:
    """Refuse wrong ``--layers`` and ``--text`` before a model is loaded.

    Raises:
        InputError: if they cannot be used with any model.
    """
    from alphaedit_core.corpora.sources import open_text
    from alphaedit_core.editing.configs import make_config

    if arguments.layers is not None:
        make_config(layers=arguments.layers)
    if arguments.text not in (None, "self"):
        open_text(arguments.text)


def text_settings(arguments: argparse.Namespace, model: EditableModel) -> EditConfig:
    """The model's preset with ``--layers``, ``--text`` and ``--tokens`` put in."""
    from alphaedit_core.editing.defaults import default_hyperparameters

    asked = {name: getattr(arguments, name) for name in ("layers", "text", "tokens")}
    given = {name: value for name, value in asked.items() if value is not None}
    return default_hyperparameters(model).replace(**given)


def text_ready(spec: str, model: EditableModel, monitor: Monitor) -> None:
    """Fetch and clean the packaged text now, if it is what ``spec`` names."""
    from alphaedit_core.corpora.sources import WikipediaSample, open_text

    source = open_text(spec, model, monitor)
    if isinstance(source, WikipediaSample):
        next(source.documents())


def text_file(option: str, file: Path) -> str:
    """What a text file holds.

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
