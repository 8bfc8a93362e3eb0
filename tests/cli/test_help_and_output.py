"""Help, tables and JSON of the command."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

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
    def test_help_imports_no_heavy_module(self) -> None:
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

    def test_version_with_python_m(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-m", "alphaedit_core", "--version"], capture_output=True, text=True
        )
        assert (ran.returncode, ran.stdout) == (0, f"alphaedit {__version__}\n")


class Terminal(io.StringIO):
    """A standard output that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


class TestOutput:
    HEADINGS = ("prompt", "before", "P(new)")
    ROWS = (("a long prompt " * 5, "said\nbefore " * 4, "0.004 → 0.981"),)

    def on_terminal(
        self, monkeypatch: pytest.MonkeyPatch, width: int, rows: Sequence[Sequence[str]] = ROWS
    ) -> list[str]:
        """Return the lines of the table on a terminal of this width, styles removed."""
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        output.print_table(self.HEADINGS, rows)
        return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue()).splitlines()

    def test_nothing_is_truncated_without_a_terminal(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        monkeypatch.setenv("FORCE_COLOR", "1")
        output.print_table(self.HEADINGS, self.ROWS)
        [heading, rule, row] = capsys.readouterr().out.splitlines()
        assert ("a long prompt " * 5).strip() in row and row.endswith("0.004 → 0.981")
        assert set(rule) == {"─", " "} and heading.split() == list(self.HEADINGS)

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_the_longest_texts_are_truncated_first(
        self, monkeypatch: pytest.MonkeyPatch, width: int
    ) -> None:
        [_, rule, row] = self.on_terminal(monkeypatch, width)
        assert len(rule) == len(row) == width
        assert "…" in row and row.endswith("0.004 → 0.981")

    def test_columns_stay_readable_in_a_very_narrow_terminal(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [_, _, row] = self.on_terminal(monkeypatch, 20)
        assert row == "a long prom…  said before…  0.004 → 0.9…"

    def test_wide_and_combining_characters_fit_and_align(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = [("東京は日本の首都です" * 6, "e\u0301" * 9, "0.5"), ("ascii", "x" * 9, "0.5")]
        [_, rule, wide, narrow] = self.on_terminal(monkeypatch, 50, rows)
        assert [cell_len(line.rstrip()) for line in (wide, narrow)] == [cell_len(rule) - 3] * 2
        assert cell_len(rule) == 50 and "…" in wide

    def test_markup_in_a_text_is_printed_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        [*_, row] = self.on_terminal(monkeypatch, 80, [("[bold]x[/bold]", ":smile:", "[/]")])
        assert row.split() == ["[bold]x[/bold]", ":smile:", "[/]"]

    @pytest.mark.parametrize("text", ["東" * 30, "x" * 60, "e\u0301" * 60])
    def test_clipped_lines_fill_the_terminal(
        self, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setenv("COLUMNS", "40")
        line = output.clipped(text)
        assert cell_len(line) == 40 and line.endswith("…")

    def test_numbers_that_are_not_finite_become_null(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output.show_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "é"})
        out = capsys.readouterr().out
        assert json.loads(out) == {"a": [None, 1.5], "b": {"c": None}, "d": "é"}
        assert "é" in out

    @pytest.mark.parametrize("arguments", [["--help"], ["models"]])
    def test_a_broken_pipe(self, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "alphaedit_core", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},  # otherwise argparse hides it
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize("command", ["editors", "metrics", "models", "datasets", "--help"])
def test_lists_import_no_torch(command: str, tmp_path: Path) -> None:
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
    out = capsys.readouterr().out
    for name in field_editors():
        assert f"\n  {name}" in out
    assert "  ridge [10] of alphaedit: Ridge" in out and "  seed [0]: Random seed" in out
