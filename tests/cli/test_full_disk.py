"""Every command that writes reports a full disk in one line and leaves no partial file.

A limit on file sizes simulates a full disk: both fail during a write, and safetensors raises its
own error for both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Workplace, listing

ROOT = Path(__file__).parents[2]

#: Runs commands, one JSON list per line, and prints the exit code of each on its own line.
LIMITED = """
import json, sys
from alphaedit_core.cli import main
import resource
import torch, transformers  # the first import writes bytecode
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
for line in sys.stdin:
    print("CODE", main(json.loads(line)), file=sys.stderr)
"""


def limited(size: int, *commands: list[str]) -> list[list[str]]:
    """Return the lines that each command wrote to standard error, its exit code last."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(size)],
        input="".join(json.dumps(command) + "\n" for command in commands),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    outputs: list[list[str]] = [[]]
    for line in done.stderr.splitlines():
        outputs[-1].append(line)
        if line.startswith("CODE "):
            outputs.append([])
    assert len(outputs) == len(commands) + 1, done.stderr
    return outputs[:-1]


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files")
def test_every_command_that_writes_reports_it_in_one_line(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Workplace(tmp_path / "place", capsys)
    warm = tmp_path / "warm"
    assert place.edit(place.facts, "--session", warm).code == 0  # collects statistics and contexts
    records = [
        {
            "case_id": 1,
            "requested_rewrite": {
                "prompt": "{} is in the city of",
                "relation_id": "P1",
                "target_new": {"str": "Rome"},
                "target_true": {"str": "Paris"},
                "subject": "Eiffel Tower",
            },
            "paraphrase_prompts": ["The city of the Eiffel Tower is"],
            "neighborhood_prompts": ["The Louvre is in"],
            "attribute_prompts": [],
            "generation_prompts": ["The Eiffel Tower is"],
        }
    ]
    (tmp_path / "records.json").write_text(json.dumps(records))
    common = ["--model", str(place.model), "--config", str(place.config)]
    fields = json.loads(place.config.read_text())
    text = ["--text", fields["text"], "--tokens", "2048", "--layers", "0-1"]
    commands = [
        ["edit", str(place.facts), *common, "--session", str(tmp_path / "new")],
        ["edit", str(place.facts), *common, "--save-model", str(tmp_path / "model")],
        ["edit", str(place.facts), "--session", str(warm)],
        ["statistics", "--model", str(place.model), *text],
        ["statistics", "--model", str(place.model), *text, "--export", str(tmp_path / "c.st")],
        [
            *("experiment", "--dataset", "counterfact", "--path", str(tmp_path / "records.json")),
            *(*common, "--output", str(tmp_path / "experiment")),
        ],
    ]
    before = listing(tmp_path)
    # Large enough for a lock and a small note, too small for a session's tensors or a model.
    for command, errors in zip(commands, limited(1500, *commands), strict=True):
        lines = [line for line in errors if line.startswith("alphaedit: ")]
        lines = [line for line in lines if not line.startswith("alphaedit: warning: ")]
        assert errors[-1] == "CODE 1" and len(lines) == 1, (command, errors)
        assert str(tmp_path) in lines[0] and "File too large" in lines[0], (command, errors)
        assert "Traceback" not in "".join(errors)
    after = listing(tmp_path)
    # The cache may have a new, complete moment; all earlier files are unchanged.
    assert {path: after.get(path) for path in before} == before
    new = {path for path in after.keys() - before.keys() if after[path] != "folder"}
    assert not any(".lock" in path or "/." in path for path in new), new
    assert not (tmp_path / "model").exists() and not (tmp_path / "c.st").exists()
    capsys.readouterr()
    assert place.run("history", "--session", warm, "--json").json["applied"] == 1
