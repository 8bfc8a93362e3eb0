"""Remove data from notebooks that differs between machines, runs and versions of Jupyter.

``clean_notebooks.py [PATH ...]`` rewrites the notebooks; ``--check`` only reports. Both print one
line per problem and exit with 1 if any problem is left. A folder selects all notebooks below it.
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


def clean(notebook: Notebook) -> list[str]:
    """Clean a notebook **in place**, keeping its outputs.

    Returns:
        One line per change.
    """
    changes = []
    metadata = notebook["metadata"]
    if metadata.pop("widgets", None) is not None:
        changes.append("widget state stored")
    for key, value in (("kernelspec", KERNELSPEC), ("language_info", LANGUAGE_INFO)):
        if metadata.get(key) != value:
            metadata[key] = dict(value)
            changes.append(f"{key} is not that of plain Python 3")
    executed = 0
    for number, cell in enumerate(notebook["cells"], start=1):
        changes += [f"cell {number}: {change}" for change in _clean_metadata(cell)]
        if cell["cell_type"] != "code":
            continue
        changes += [f"cell {number}: {change}" for change in _clean_views(cell)]
        if _merge_streams(cell):
            changes.append(f"cell {number}: one stream in several outputs")
        if cell["execution_count"] is not None:
            executed += 1
            if _renumber(cell, executed):
                changes.append(f"cell {number}: execution count is not {executed}")
    return changes


def problems(notebook: Notebook) -> list[str]:
    """Return the problems that only the notebook's author can fix, one line each."""
    result = []
    for number, cell in enumerate(notebook["cells"], start=1):
        result += [f"cell {number}: {problem}" for problem in _cell_problems(cell)]
    return result


def as_text(notebook: Notebook) -> str:
    """Return the notebook as JSON text in Jupyter's layout."""
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _clean_metadata(cell: Cell) -> Iterator[str]:
    for key in VOLATILE:
        if cell["metadata"].pop(key, None) is not None:
            yield f"volatile metadata {key}"


def _clean_views(cell: Cell) -> Iterator[str]:
    # Without a kernel, a widget view shows an error message instead of its fallback.
    for output in cell["outputs"]:
        data = output.get("data", {})
        if WIDGET_VIEW in data and _has_fallback(data):
            del data[WIDGET_VIEW]
            yield "widget view beside its fallback"
        # JupyterLab adds an image when it draws the figure, and then shows only the image.
        if PLOTLY in data and data.pop("image/png", None) is not None:
            yield "image of a plotly figure"


def _merge_streams(cell: Cell) -> bool:
    # The kernel splits printed text by time, so every run would change the file.
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
    for node in (cell, *results):
        changed |= node["execution_count"] != count
        node["execution_count"] = count
    return changed


def _cell_problems(cell: Cell) -> Iterator[str]:
    yield from _home_paths("source", cell["source"])
    if cell["cell_type"] != "code":
        return
    if cell["execution_count"] is None and "".join(cell["source"]).strip():
        yield "never run, so no outputs are compared: run it"
    for output in cell["outputs"]:
        size = len(json.dumps(output, ensure_ascii=False).encode())
        if size > LARGEST_OUTPUT:
            yield f"output of {size:,} bytes, at most {LARGEST_OUTPUT:,} are allowed: show less"
        raises = "raises-exception" in cell["metadata"].get("tags", [])
        if output["output_type"] == "error" and not raises:
            yield f"ends in {output['ename']}: fix it, or tag it raises-exception"
        yield from _home_paths("output", output)


def _home_paths(where: str, node: Any) -> Iterator[str]:
    paths = {match.group() for text in _strings(node) for match in HOME.finditer(text)}
    for path in sorted(paths):
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
    """Report on one file and rewrite it unless ``check``; return True if it is clean now."""
    try:
        text = path.read_text(encoding="utf-8")
        notebook: Notebook = json.loads(text)
        if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
            raise ValueError("its nbformat is not 4")
    except (OSError, ValueError, RecursionError) as error:
        print(f"{path}: not a readable notebook: {error}")
        return False
    cleaned = deepcopy(notebook)
    changes = clean(cleaned)
    if not changes and as_text(cleaned) != text:
        changes.append("layout differs from Jupyter's")
    remaining = problems(cleaned)
    for change in changes:
        print(f"{path}: {change}" if check else f"{path}: fixed: {change}")
    for problem in remaining:
        print(f"{path}: {problem}")
    if changes and not check:
        path.write_text(as_text(cleaned), encoding="utf-8")
    return not remaining and not (check and changes)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit code is 0 if all notebooks are clean."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("paths", nargs="*", type=Path, default=[Path("notebooks")], metavar="PATH")
    parser.add_argument("--check", action="store_true", help="write nothing, only report")
    options = parser.parse_args(arguments)
    unclean = [p for p in _notebooks(options.paths) if not _clean_file(p, options.check)]
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main())
