"""What the command says of itself, and how its tables and JSON come out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from alphaedit_core import __version__
from alphaedit_core.cli import main, output
from alphaedit_core.editing.configs import field_editors

COMMANDS = (
    "edit",
    "editors",
    "compare",
    "ability",
    "retention",
    "datasets",
    "experiment",
    "evaluate",
    "metrics",
    "statistics",
    "spectrum",
    "complete",
    "history",
    "undo",
    "redo",
    "models",
    "fetch",
    "workbench",
    "tutorials",
)


class TestHelp:
    def test_every_help_comes_without_what_is_slow_to_import(self) -> None:
        script = (
            "import sys\n"
            "from alphaedit_core.cli import main\n"
            f"for command in {COMMANDS!r}:\n"
            "    assert main([command, '--help']) == 0\n"
            "slow = {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
            "assert not slow, slow\n"
        )
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        for command in COMMANDS:
            assert f"usage: alphaedit {command}" in ran.stdout

    def test_the_list_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert all(f"\n    {command}" in out for command in COMMANDS)

    def test_version_of_the_module_run_as_a_program(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-m", "alphaedit_core", "--version"], capture_output=True, text=True
        )
        assert (ran.returncode, ran.stdout) == (0, f"alphaedit {__version__}\n")


class TestOutput:
    HEADINGS = ("prompt", "before", "P(new)")
    ROWS = (("a long prompt " * 5, "said\nbefore " * 4, "0.004 → 0.981"),)

    def test_nothing_is_cut_without_a_terminal(self) -> None:
        [row] = output.fit_to_terminal(self.HEADINGS, self.ROWS)
        assert row[0] == ("a long prompt " * 5).strip()
        assert "\n" not in row[1]

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_the_longest_text_is_cut_first(self, width: int) -> None:
        [row] = output.fit_to_terminal(self.HEADINGS, self.ROWS, width)
        assert sum(map(len, row)) + 4 == width
        assert row[0].endswith("…")
        assert row[2] == "0.004 → 0.981"

    def test_columns_stay_readable_in_a_very_narrow_terminal(self) -> None:
        [row] = output.fit_to_terminal(self.HEADINGS, self.ROWS, 20)
        assert [len(cell) for cell in row] == [12, 12, 12]

    def test_numbers_that_json_has_no_form_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.show_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "é"})
        out = capsys.readouterr().out
        assert json.loads(out) == {"a": [None, 1.5], "b": {"c": None}, "d": "é"}
        assert "é" in out

    @pytest.mark.parametrize("arguments", [["--help"], ["models"]])
    def test_a_reader_that_goes_away(self, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "alphaedit_core", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},  # argparse keeps quiet about it otherwise
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("command", ["editors", "metrics", "models", "datasets", "--help"])
def test_what_only_lists_imports_no_torch(command: str, tmp_path: Path) -> None:
    code = (
        "import sys; from alphaedit_core.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    environment = os.environ | {"ALPHAEDIT_CACHE": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", code, command], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("command", ["edit", "compare", "experiment"])
def test_the_help_names_every_field_of_every_editor(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out
    for name in field_editors():
        assert f"\n  {name}" in told
    assert "  ridge [10] of alphaedit: lambda" in told and "  seed [0]: Seed of" in told
