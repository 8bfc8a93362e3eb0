"""The files of an experiment, each with its checksum and with what it belongs to.

``experiment.json`` has a checksum of its content. Every line of ``points.jsonl`` has one of its
numbers, of its place in the file and of the checksum of ``experiment.json``: a number that was
changed, a line that was moved or left out, and a line of another experiment are all noticed, and
each by its number. A line is appended with :class:`Points`, which reads nothing again;
:func:`write_points` writes all of them anew.

Folders of the format before have no checksums. They can be read as ever, which is said, and get
them when they are continued. An editor whose name has changed since has its present one.
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
    """A line that is not what was written.

    Attributes:
        line: its number, from 1.
        reason: what is wrong with it.
    """

    line: int
    reason: str


@dataclass(frozen=True)
class Read:
    """The lines of a file.

    Attributes:
        lines: number of each whole line and what it says, in order.
        damaged: the other lines; a last one without its end, left by a kill, is not among them.
        torn: whether there is such a last one.
    """

    lines: list[tuple[int, dict[str, Any]]]
    damaged: list[Damage]
    torn: bool


def is_experiment(folder: Path) -> bool:
    """Whether a folder holds an experiment."""
    return (folder / MANIFEST).is_file()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``experiment.json``.

    Raises:
        OSError: if it cannot be written; what was there is still there.
    """
    plain = {**content, "format": FORMAT}
    write_json_atomic(folder / MANIFEST, plain | {_CHECK: checksum(plain)})


def read_manifest(folder: Path) -> tuple[dict[str, Any], bool]:
    """What ``experiment.json`` says, and whether it is of the format that has checksums.

    Raises:
        InputError: if there is none.
        CorruptFileError: if it is damaged.
    """
    file = folder / MANIFEST
    if not is_experiment(folder):
        raise InputError(f"experiment {folder}: holds none; give a folder that has one")
    manifest = read_json(file)
    if not isinstance(manifest, dict) or manifest.get("format") not in (FORMAT, _UNCHECKED):
        raise CorruptFileError(f"{file}: not an experiment of this version; give another folder")
    kept = manifest.pop(_CHECK, None)
    checked = manifest["format"] == FORMAT
    if kept != (checksum(manifest) if checked else None):
        raise CorruptFileError(
            f"{file}: damaged, it does not have its checksum; restore it from a copy, or give a "
            "new folder to run the experiment anew"
        )
    if not checked:
        _rename(manifest)
    return {**manifest, "format": FORMAT}, checked


def _rename(manifest: Mapping[str, Any]) -> None:
    """Give the editors of a plan their present names; what is no plan is left as it is."""
    plan = manifest.get("plan")
    methods = plan.get("methods") if isinstance(plan, dict) else None
    for method in methods if isinstance(methods, list) else ():
        if isinstance(method, dict) and isinstance(method.get("editor"), str):
            method["editor"] = RENAMED.get(method["editor"], method["editor"])


def _renamed(method: object) -> object:
    """A method by the present name of its editor, which is its first word."""
    if not isinstance(method, str):
        return method
    editor, space, rest = method.partition(" ")
    return f"{RENAMED.get(editor, editor)}{space}{rest}"


def checksum(content: object) -> str:
    """SHA-256 of what JSON holds, however it is laid out."""
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _line(manifest: Mapping[str, Any], number: int, point: Mapping[str, Any]) -> str:
    """A line with its checksum, and its end."""
    point = parse_json(to_json(point))  # as it will be read
    own = checksum([checksum(manifest), number, point])
    return to_json({**point, _CHECK: own}) + "\n"


class Points:
    """``points.jsonl`` of a folder, to which lines are appended.

    Args:
        folder: the experiment's.
        manifest: what :func:`read_manifest` gave, or :func:`write_manifest` was given.
        lines: how many there are.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any], lines: int) -> None:
        self._file, self._manifest, self._lines = folder / POINTS, manifest, lines

    def append(self, point: Mapping[str, Any]) -> None:
        """Write one more line, which is on the disk afterwards.

        Raises:
            OSError: if it cannot be written.
        """
        with open(self._file, "a", encoding="utf-8", newline="\n") as file:
            file.write(_line(self._manifest, self._lines + 1, point))
            file.flush()
            os.fsync(file.fileno())
        self._lines += 1


def read_points(folder: Path, manifest: Mapping[str, Any], checked: bool = True) -> Read:
    """The lines of ``points.jsonl``, none where it does not exist.

    Args:
        folder: the experiment's.
        manifest: what :func:`read_manifest` gave.
        checked: whether lines have checksums, as it gave it too.

    Raises:
        OSError: if the file cannot be read.
    """
    file = folder / POINTS
    found = Read([], [], False)
    if not file.exists():
        return found
    *lines, rest = read_bytes(file).split(b"\n")
    own = checksum(manifest)
    for number, line in enumerate(lines, 1):
        try:
            point = parse_json(line.decode("utf-8"))
        except ValueError:
            point = None
        if not isinstance(point, dict):
            found.damaged.append(Damage(number, "it is not JSON that this library wrote"))
        elif not (_matches(point, own, number) if _CHECK in point else not checked):
            found.damaged.append(
                Damage(number, "it does not have the checksum of its numbers, place and experiment")
            )
        else:
            if not checked and "method" in point:
                point["method"] = _renamed(point["method"])
            found.lines.append((number, point))
    return Read(found.lines, found.damaged, bool(rest))


def _matches(point: dict[str, Any], manifest: str, number: int) -> bool:
    """Whether a line has the checksum that it should have, which is taken out of it."""
    return bool(point.pop(_CHECK) == checksum([manifest, number, point]))


def write_points(
    folder: Path, manifest: Mapping[str, Any], points: Iterable[Mapping[str, Any]]
) -> None:
    """Write ``points.jsonl`` anew, every line with its checksum.

    Raises:
        OSError: if it cannot be written; what was there is still there.
    """
    lines = [_line(manifest, number, point) for number, point in enumerate(points, 1)]
    write_atomic(folder / POINTS, "".join(lines))


def refuse(folder: Path, damaged: Sequence[Damage]) -> None:
    """Refuse lines that are damaged, by the first of them.

    Raises:
        CorruptFileError: if there are any.
    """
    if damaged:
        more = f" (and {len(damaged) - 1} more)" if len(damaged) > 1 else ""
        raise CorruptFileError(
            f"{folder / POINTS}: line {damaged[0].line} is damaged{more}: {damaged[0].reason}; run "
            "the experiment again to have it measured anew, or restore the file from a copy"
        )
