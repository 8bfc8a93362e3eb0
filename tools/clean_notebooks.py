"""Remove from notebooks what differs between machines, runs and versions of Jupyter.

``clean_notebooks.py [PATH ...]`` rewrites the notebooks; ``--check`` only reports. Both print one
line per problem and exit with 1 if any problem is left. A folder means all notebooks below it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]
Cell = dict[str, Any]

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
LANGUAGE_INFO = {"name": "python"}
VOLATILE = ("ExecuteTime", "collapsed", "execution", "scrolled", "trusted")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PLOTLY = "application/vnd.plotly.v1+json"
LARGEST_OUTPUT = 100_000  # bytes
HOME = re.compile(r"(?:/home/|/Users/|[A-Za-z]:\\Users\\)[\w.-]+|/root/")


def mend(notebook: Notebook) -> list[str]:
    """Clean ``notebook`` **in place**; outputs stay.

    Returns:
        What was changed, a line for each kind of change in each cell.
    """
    changes = []
    metadata = notebook["metadata"]
    if metadata.pop("widgets", None) is not None:
        changes.append("widget state stored")
    for key, value in (("kernelspec", KERNELSPEC), ("language_info", LANGUAGE_INFO)):
        if metadata.get(key) != value:
            metadata[key] = dict(value)
            changes.append(f"{key} is not the plain Python 3 one")
    executed = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        changes += [f"cell {number}: {change}" for change in _mend_metadata(cell)]
        if cell["cell_type"] != "code":
            continue
        changes += [f"cell {number}: {change}" for change in _mend_views(cell)]
        if _merge_streams(cell):
            changes.append(f"cell {number}: one stream in several outputs")
        if cell["execution_count"] is not None:
            executed += 1
            if _renumber(cell, executed):
                changes.append(f"cell {number}: execution count is not {executed}")
    return changes


def problems(notebook: Notebook) -> list[str]:
    """What is wrong with ``notebook`` and only its author can mend, a line each."""
    found = []
    for number, cell in enumerate(notebook["cells"], start=1):
        found += [f"cell {number}: {problem}" for problem in _cell_problems(cell)]
    return found


def as_text(notebook: Notebook) -> str:
    """The text of the file, laid out as Jupyter lays it out."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _mend_metadata(cell: Cell) -> Iterator[str]:
    for key in VOLATILE:
        if cell["metadata"].pop(key, None) is not None:
            yield f"volatile metadata {key}"


def _mend_views(cell: Cell) -> Iterator[str]:
    # A view without its kernel shows as an error message; the text or picture beside it does not.
    for output in cell["outputs"]:
        data = output.get("data", {})
        if WIDGET_VIEW in data and _has_fallback(data):
            del data[WIDGET_VIEW]
            yield "widget view beside its fallback"
        # JupyterLab adds it when it draws the figure, and from then on shows it in its place.
        if PLOTLY in data and data.pop("image/png", None) is not None:
            yield "photograph of a plotly figure"


def _merge_streams(cell: Cell) -> bool:
    # The kernel splits what a cell prints by the clock, so that every run would change the file.
    merged: list[dict[str, Any]] = []
    for output in cell["outputs"]:
        previous = merged[-1] if merged else {}
        if output["output_type"] == "stream" and previous.get("name") == output["name"]:
            text = "".join(previous["text"]) + "".join(output["text"])
            previous["text"] = text.splitlines(keepends=True)
        else:
            merged.append(output)
    changed = len(merged) < len(cell["outputs"])
    cell["outputs"] = merged
    return changed


def _has_fallback(data: dict[str, Any]) -> bool:
    return any(mime in ("text/plain", "text/html") or mime.startswith("image/") for mime in data)


def _renumber(cell: Cell, count: int) -> bool:
    results = [o for o in cell["outputs"] if o["output_type"] == "execute_result"]
    changed = False
    for counted in (cell, *results):
        changed |= counted["execution_count"] != count
        counted["execution_count"] = count
    return changed


def _cell_problems(cell: Cell) -> Iterator[str]:
    yield from _home_paths("source", cell["source"])
    if cell["cell_type"] != "code":
        return
    if cell["execution_count"] is None and "".join(cell["source"]).strip():
        yield "never run, so its outputs are compared with nothing: run it"
    for output in cell["outputs"]:
        size = len(json.dumps(output, ensure_ascii=False).encode())
        if size > LARGEST_OUTPUT:
            yield f"output of {size:,} bytes, at most {LARGEST_OUTPUT:,} are kept: show less"
        raises = "raises-exception" in cell["metadata"].get("tags", [])
        if output["output_type"] == "error" and not raises:
            yield f"ends in {output['ename']}: mend it, or tag it raises-exception"
        yield from _home_paths("output", output)


def _home_paths(where: str, node: Any) -> Iterator[str]:
    found = {match.group() for text in _strings(node) for match in HOME.finditer(text)}
    for path in sorted(found):
        yield f'{where} names a home folder "{path}": use a relative path'


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for child in node.values():
            yield from _strings(child)
    elif isinstance(node, list):
        for child in node:
            yield from _strings(child)


def _notebooks(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            below = path.rglob("*.ipynb")
            yield from sorted(p for p in below if ".ipynb_checkpoints" not in p.parts)
        else:
            yield path


def _clean_file(path: Path, check: bool) -> bool:
    """Report on one file, and rewrite it unless ``check``; True if nothing unclean is left."""
    try:
        text = path.read_text(encoding="utf-8")
        notebook: Notebook = json.loads(text)
        if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
            raise ValueError("its nbformat is not 4")
    except (OSError, ValueError, RecursionError) as error:
        print(f"{path}: not a readable notebook: {error}")
        return False
    mended = deepcopy(notebook)
    changes = mend(mended)
    if not changes and as_text(mended) != text:
        changes.append("not laid out as Jupyter writes it")
    left = problems(mended)
    for change in changes:
        print(f"{path}: {change}" if check else f"{path}: mended: {change}")
    for problem in left:
        print(f"{path}: {problem}")
    if changes and not check:
        path.write_text(as_text(mended), encoding="utf-8")
    return not left and not (check and changes)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 for clean, 1 for unclean."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("notebooks")], metavar="PATH")
    parser.add_argument("--check", action="store_true", help="write nothing, only report")
    options = parser.parse_args(arguments)
    unclean = [p for p in _notebooks(options.paths) if not _clean_file(p, options.check)]
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
