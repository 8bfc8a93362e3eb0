"""Files of an experiment and their checksums.

``experiment.json`` has a checksum of its content. The checksum of a line in ``points.jsonl`` covers
its numbers, its line number and the checksum of ``experiment.json``. Changed numbers, moved or
missing lines and lines of other experiments are therefore detected and reported by line number.
:class:`PointsWriter` appends lines without reading the file; :func:`write_points` rewrites it.

Folders of the previous format have no checksums. They load with a note and get checksums when the
experiment is resumed. Former names of editors are replaced by the current ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from alphaedit_core.errors import CorruptFileError, InputError
from alphaedit_core.session.migrations import RENAMED
from alphaedit_core.storage.files import read_json, write_atomic, write_json_atomic
from alphaedit_core.storage.json_text import parse_json, read_bytes, to_json

FORMAT = "alphaedit experiment 2"
_UNCHECKED = "alphaedit experiment 1"
MANIFEST, POINTS = "experiment.json", "points.jsonl"
_CHECK = "checksum"


@dataclass(frozen=True)
class Damage:
    """A damaged line.

    Attributes:
        line: number of the line, from 1.
        reason: what is wrong with the line.
    """

    line: int
    reason: str


@dataclass(frozen=True)
class StoredLines:
    """The lines of ``points.jsonl``.

    Attributes:
        lines: number and content of each valid line, in order.
        damaged: all other lines, except an unfinished last line.
        unfinished: whether the last line is unfinished because the process was killed.
    """

    lines: list[tuple[int, dict[str, Any]]]
    damaged: list[Damage]
    unfinished: bool


def is_experiment(folder: Path) -> bool:
    """Return whether a folder holds an experiment."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``experiment.json`` with format and checksum.

    Raises:
        OSError: if the file cannot be written; an existing file is unchanged.
    """
    manifest = {**content, "format": FORMAT}
    write_json_atomic(folder / MANIFEST, manifest | {_CHECK: checksum(manifest)})


def read_manifest(folder: Path) -> tuple[dict[str, Any], bool]:
    """Read ``experiment.json``.

    Returns:
        The content, and whether its format has checksums.

    Raises:
        InputError: if the folder holds no experiment.
        CorruptFileError: if the file is damaged.
    """
    file = folder / MANIFEST
    if not is_experiment(folder):
        raise InputError(f"experiment {folder}: holds none; give a folder that has one")
    manifest = read_json(file)
    if not isinstance(manifest, dict) or manifest.get("format") not in (FORMAT, _UNCHECKED):
        raise CorruptFileError(f"{file}: not an experiment of this version; give another folder")
    stored = manifest.pop(_CHECK, None)
    checked = manifest["format"] == FORMAT
    if stored != (checksum(manifest) if checked else None):
        raise CorruptFileError(
            f"{file}: damaged, its checksum does not match; restore it from a copy, or give a new "
            "folder to run the experiment anew"
        )
    if not checked:
        _rename(manifest)
    return {**manifest, "format": FORMAT}, checked


def _rename(manifest: Mapping[str, Any]) -> None:
    """Replace former names of editors in a plan; anything that is not a plan is left alone."""
    plan = manifest.get("plan")
    methods = plan.get("methods") if isinstance(plan, dict) else None
    for method in methods if isinstance(methods, list) else ():
        if isinstance(method, dict) and isinstance(method.get("editor"), str):
            method["editor"] = RENAMED.get(method["editor"], method["editor"])


def _renamed(method: object) -> object:
    """Return a method with the current name of its editor, which is the first word."""
    if not isinstance(method, str):
        return method
    editor, space, rest = method.partition(" ")
    return f"{RENAMED.get(editor, editor)}{space}{rest}"


def checksum(content: object) -> str:
    """Return the SHA-256 of a JSON value, independent of layout and key order."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _line(manifest: Mapping[str, Any], number: int, point: Mapping[str, Any]) -> str:
    """Return a line with its checksum and line break."""
    point = parse_json(to_json(point))  # the values as a reader gets them
    line_checksum = checksum([checksum(manifest), number, point])
    return to_json({**point, _CHECK: line_checksum}) + "\n"


class PointsWriter:
    """Appends lines to ``points.jsonl``.

    Args:
        folder: folder of the experiment.
        manifest: content of ``experiment.json``, without its checksum.
        lines: number of lines in the file.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], lines: int) -> None:
        self._file, self._manifest, self._lines = folder / POINTS, manifest, lines

    def append(self, point: Mapping[str, Any]) -> None:
        """Append a line and flush it to disk.

        Raises:
            OSError: if the file cannot be written.
        """
        with open(self._file, "a", encoding="utf-8", newline="\n") as file:
            file.write(_line(self._manifest, self._lines + 1, point))
            file.flush()
            os.fsync(file.fileno())
        self._lines += 1


def read_points(folder: Path, manifest: Mapping[str, Any], checked: bool = True) -> StoredLines:
    """Read and verify the lines of ``points.jsonl``; a missing file has no lines.

    Args:
        folder: folder of the experiment.
        manifest: content of ``experiment.json`` from :func:`read_manifest`.
        checked: whether lines must have checksums, from :func:`read_manifest`.

    Raises:
        OSError: if the file cannot be read.
    """
    file = folder / POINTS
    if not file.exists():
        return StoredLines([], [], False)
    valid: list[tuple[int, dict[str, Any]]] = []
    damaged: list[Damage] = []
    *lines, rest = read_bytes(file).split(b"\n")
    manifest_checksum = checksum(manifest)
    for number, line in enumerate(lines, 1):
        try:
            point = parse_json(line.decode("utf-8"))
        except ValueError:
            point = None
        if not isinstance(point, dict):
            damaged.append(Damage(number, "it is not JSON that this library wrote"))
        elif not (_matches(point, manifest_checksum, number) if _CHECK in point else not checked):
            reason = "its checksum does not match its numbers, line number and experiment"
            damaged.append(Damage(number, reason))
        else:
            if not checked and "method" in point:
                point["method"] = _renamed(point["method"])
            valid.append((number, point))
    return StoredLines(valid, damaged, bool(rest))


def _matches(point: dict[str, Any], manifest_checksum: str, number: int) -> bool:
    """Whether the checksum of a line matches; removes the checksum from the line."""
    return bool(point.pop(_CHECK) == checksum([manifest_checksum, number, point]))


def write_points(
    folder: Path, manifest: Mapping[str, Any], points: Iterable[Mapping[str, Any]]
) -> None:
    """Rewrite ``points.jsonl`` with a checksum on every line.

    Raises:
        OSError: if the file cannot be written; an existing file is unchanged.
    """
    lines = [_line(manifest, number, point) for number, point in enumerate(points, 1)]
    write_atomic(folder / POINTS, "".join(lines))


def refuse(folder: Path, damaged: Sequence[Damage]) -> None:
    """Report damaged lines.

    Raises:
        CorruptFileError: if there are any; names the first.
    """
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise CorruptFileError(
            f"{folder / POINTS}: line {damaged[0].line} is damaged{more}: {damaged[0].reason}; run "
            "the experiment again to measure it anew, or restore the file from a copy"
        )
