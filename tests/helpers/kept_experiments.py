"""What an experiment measured, and its files as an earlier version wrote them."""

from __future__ import annotations

import json
from pathlib import Path

from alphaedit_core.experiments.results import Measurement

#: Those that the experiment measures.
METRICS = ("efficacy", "generalization", "efficacy_accuracy")


#: Moments of the experiment's progress, as they are shown.
MOMENTS: list[str] = []


def numbers(points: list[Measurement]) -> list[dict[str, object]]:
    """Everything but the seconds."""
    return [{**vars(point), "seconds": None} for point in points]


def as_the_version_before_wrote_it(folder: Path) -> None:
    """Take the checksums out of an experiment's files."""
    file = folder / "experiment.json"
    manifest = json.loads(file.read_text("utf-8")) | {"format": "alphaedit experiment 1"}
    del manifest["checksum"]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    lines = (folder / "points.jsonl").read_text("utf-8").splitlines()
    plain = [json.loads(line) for line in lines]
    for point in plain:
        del point["checksum"]
    text = "".join(json.dumps(point) + "\n" for point in plain)
    (folder / "points.jsonl").write_text(text, encoding="utf-8")
