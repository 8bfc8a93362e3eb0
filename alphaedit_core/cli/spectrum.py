"""``alphaedit spectrum``: the null space of each layer's keys on ordinary text."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from alphaedit_core.progress import Monitor

from . import options, output
from .statistics import collect_from_args

if TYPE_CHECKING:
    from alphaedit_core.nullspace.spectrum import Spectrum
    from alphaedit_core.nullspace.thresholds import Rule, Threshold

_HEADINGS = (
    "layer",
    "d_in",
    "kept",
    "leakage",
    "effective rank",
    "massive",
    "orthogonality error",
    "as absolute",
    "as energy",
    "as rank",
)
_RULES: tuple[Rule, ...] = ("absolute", "energy", "rank")


def add(commands: options.Commands) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "spectrum",
        help="show the null space of each layer",
        description="Show for each layer how many directions a threshold keeps, the share of "
        "ordinary text's energy in them, and the equivalent threshold of every rule.",
        epilog="The orthogonality error is the largest entry of |V'V - I|, a rounding error of the "
        "eigenvectors.",
    )
    options.add_model(parser)
    options.add_text(parser)
    parser.add_argument(
        "--threshold",
        metavar="T",
        help="an eigenvalue such as 0.02, energy:0.1 or rank:1000 (the model's preset)",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Show the spectrum of each layer."""
    from alphaedit_core.nullspace.eigendecomposition import eigendecompose
    from alphaedit_core.nullspace.thresholds import Threshold

    options.check_text(arguments)
    if arguments.threshold is not None:
        Threshold.parse(arguments.threshold)
    model = options.load(arguments, monitor)
    preset = options.text_config(arguments, model).threshold
    threshold = Threshold.parse(arguments.threshold or preset)
    statistics = collect_from_args(arguments, model, monitor)
    spectra = eigendecompose(statistics, monitor=monitor)
    layers = [_figures(spectrum, threshold) for spectrum in spectra.values()]
    if arguments.json:
        output.show_json(
            {
                "model": model.name,
                "fingerprint": model.fingerprint,
                "text": statistics.spec.text_name,
                "tokens": statistics.spec.tokens,
                "threshold": str(threshold),
                "layers": layers,
                "seconds": monitor.seconds,
            }
        )
        return
    output.print_table(_HEADINGS, [_row(figures) for figures in layers])
    print(
        f"\nthreshold {threshold}; {statistics.spec.tokens:,} tokens of "
        f"{statistics.spec.text_name}, {model.name}"
    )
    for figures in layers:
        if figures["warning"]:
            print(f"note: {figures['warning']}")


def _figures(spectrum: Spectrum, threshold: Threshold) -> dict[str, Any]:
    """Return the numbers of one layer's spectrum as JSON values."""
    return {
        "layer": spectrum.layer,
        "d_in": spectrum.size,
        "tokens": spectrum.tokens,
        "rank": spectrum.rank(threshold),
        "leakage": spectrum.leakage(threshold),
        "effective_rank": spectrum.effective_rank,
        "massive": spectrum.num_massive_directions,
        "trace": spectrum.trace,
        "orthogonality_error": spectrum.orthogonality_error,
        "equivalent": {rule: str(spectrum.convert(threshold, rule)) for rule in _RULES},
        "warning": spectrum.threshold_warning(threshold),
    }


def _row(figures: dict[str, Any]) -> tuple[str, ...]:
    equivalent = figures["equivalent"]
    return (
        str(figures["layer"]),
        str(figures["d_in"]),
        str(figures["rank"]),
        f"{figures['leakage']:.2%}",
        f"{figures['effective_rank']:.0f}",
        str(figures["massive"]),
        f"{figures['orthogonality_error']:.0e}",
        f"{float(equivalent['absolute']):.4g}",
        f"energy:{float(equivalent['energy'].partition(':')[2]):.4g}",
        equivalent["rank"],
    )
