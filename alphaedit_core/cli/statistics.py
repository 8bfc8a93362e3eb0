"""``alphaedit statistics``: collect, export or import the second moments of keys."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphaedit_core.errors import AlphaEditError, InputError
from alphaedit_core.progress import Monitor

from . import options, output

if TYPE_CHECKING:
    from alphaedit_core.covariance.files import KeyStatistics
    from alphaedit_core.model.editable_model import EditableModel

_HEADINGS = ("layer", "d_in", "tokens", "trace", "checksum")


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "statistics",
        help="collect, export or import the second moments of keys",
        description="Collect the second moments of keys over running text, or read them from the "
        "cache. An interrupted pass resumes at its last checkpoint.",
    )
    options.add_model(parser)
    options.add_text(parser)
    exchange = parser.add_mutually_exclusive_group()
    exchange.add_argument("--export", metavar="FILE", help="write the statistics to a file")
    exchange.add_argument(
        "--import",
        dest="imported",
        metavar="FILE",
        help="read the statistics from an exported file into the cache",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Collect, export or import."""
    from alphaedit_core.covariance.files import export_statistics
    from alphaedit_core.covariance.importing import import_statistics

    _check(arguments)
    model = options.load(arguments, monitor)
    if arguments.imported is not None:
        statistics = import_statistics(_path(arguments.imported), model)
        origin = f"imported from {arguments.imported}"
    else:
        statistics = collect_from_args(arguments, model, monitor)
        origin = "from the cache" if statistics.cached else "collected now"
    if arguments.export is not None:
        export_statistics(statistics, _path(arguments.export))
        origin += f", exported to {arguments.export}"
    if arguments.json:
        output.show_json(_report(arguments, model, statistics, monitor))
        return
    rows = [
        (str(layer), str(len(s.moment)), f"{s.tokens:,}", f"{_trace(s.moment):.4f}", s.checksum)
        for layer, s in statistics.layers.items()
    ]
    output.print_table(_HEADINGS, rows)
    print(f"\n{statistics.spec.text_name}, {model.name}: {origin}")


def collect_from_args(
    arguments: argparse.Namespace, model: EditableModel, monitor: Monitor
) -> KeyStatistics:
    """Collect statistics by ``--layers``, ``--text`` and ``--tokens`` or the model's preset."""
    from alphaedit_core.covariance.collect import collect_statistics

    config = options.text_config(arguments, model)
    return collect_statistics(model, config.text, config.layers, config.tokens, monitor=monitor)


def _check(arguments: argparse.Namespace) -> None:
    """Check the arguments without the model."""
    from alphaedit_core.covariance.files import read_layers

    options.check_text(arguments)
    if arguments.imported is not None:
        for name in ("layers", "text", "tokens"):
            if getattr(arguments, name) is not None:
                raise InputError(
                    f"--import reads layers, text and tokens from the file; leave out --{name}"
                )
        if not _path(arguments.imported).exists():
            raise InputError(
                f"{arguments.imported}: does not exist; give a file that an export wrote"
            )
    if arguments.export is not None:
        file = _path(arguments.export)
        options.check_writable("export", file.parent)
        try:
            if file.exists():
                read_layers(file)
        except AlphaEditError:
            raise InputError(
                f"export {file}: exists and is not a file of key statistics; give a new name"
            ) from None


def _report(
    arguments: argparse.Namespace,
    model: EditableModel,
    statistics: KeyStatistics,
    monitor: Monitor,
) -> dict[str, Any]:
    spec = statistics.spec
    return {
        "model": model.name,
        "fingerprint": spec.fingerprint,
        "device": str(model.device),
        "dtype": spec.dtype,
        "text": spec.text_name,
        "text_checksum": spec.text,
        "tokens": spec.tokens,
        "window": spec.window,
        "cached": statistics.cached,
        "exported": arguments.export,
        "imported": arguments.imported,
        "layers": [
            {
                "layer": layer,
                "d_in": len(s.moment),
                "tokens": s.tokens,
                "trace": _trace(s.moment),
                "checksum": s.checksum,
            }
            for layer, s in statistics.layers.items()
        ],
        "seconds": monitor.seconds,
    }


def _trace(moment: Any) -> float:
    """Return the mean squared norm of a key."""
    return float(moment.double().trace())


def _path(text: str) -> Path:
    return Path(text).expanduser()
