"""The command run in this process, a tiny model for it on the disk, and what a folder holds."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from examples import FACTS, small
from tiny import tiny_model

from alphaedit_core.cli import main
from alphaedit_core.data.fact_files import write_facts
from alphaedit_core.data.facts import Fact


@dataclass(frozen=True)
class Ran:
    """What a run of the command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object that a run with ``--json`` printed, having said nothing else."""
        assert (self.code, self.err) == (0, "")
        content: dict[str, Any] = json.loads(self.out)
        return content


class Workplace:
    """A folder with a tiny model, its hyperparameters and facts; ``run`` runs the command on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        folder.mkdir(exist_ok=True)
        self.model = folder / "tiny"
        self.model.mkdir()
        for name, content in _saved_model().items():
            (self.model / name).write_bytes(content)
        self.config = folder / "config.json"
        fields = small(folder).to_dict()
        self.config.write_text(json.dumps(fields | {"contexts": 2, "context_tokens": 4}))
        self.facts = self.facts_file("facts.json", *FACTS)
        capsys.readouterr()  # what transformers said meanwhile

    def facts_file(self, name: str, *facts: Fact) -> Path:
        """A file with these facts."""
        file = self.folder / name
        write_facts(file, facts)
        return file

    def run(self, *arguments: object) -> Ran:
        """Run the command."""
        code = main([str(argument) for argument in arguments])
        return Ran(code, *self._capsys.readouterr())

    def edit(self, facts: Path, *more: object) -> Ran:
        """Edit the tiny model in its own way."""
        return self.run("edit", facts, "--model", self.model, "--config", self.config, *more)


@cache
def _saved_model() -> dict[str, bytes]:
    """The files of a tiny model and its tokenizer by name; saved once per process."""
    model = tiny_model()
    with TemporaryDirectory() as folder:
        model.model.save_pretrained(folder)
        model.tokenizer.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def listing(*folders: Path) -> dict[str, str]:
    """Every file and folder below, with the checksum of what a file holds."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for folder in folders
        for path in sorted(folder.rglob("*"))
    }
