"""Shell completion."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from alphaedit_core.cli import main
from alphaedit_core.cli.completion import SHELLS

BASH = shutil.which("bash")

#: Completes the last of the words given as arguments and prints the candidates.
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_alphaedit
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The completion script for bash."""
    assert main(["--print-completion", "bash"]) == 0
    file = tmp_path / "alphaedit.bash"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    return file


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_for_every_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", shell]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("alphaedit", "retention", "--save-model", "easyedit"))


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-completion", "cmd"]) == 2
    assert "--print-completion" in capsys.readouterr().err


@pytest.mark.skipif(BASH is None, reason="needs bash")
class TestBash:
    def test_the_script_is_valid(self, script: Path) -> None:
        checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("words", "candidates"),
        [
            (("hist",), {"history"}),
            (("edit", "--save"), {"--save-model"}),
            (("edit", "facts.json", "--editor", "rom"), {"rome"}),
            (("evaluate", "--compat", ""), {"paper", "easyedit"}),
            (("evaluate", "--dataset", "counter"), {"counterfact"}),
            (("history", "--session", "sess"), {"sessions"}),
            (("edit", "fac"), {"facts.json"}),
        ],
    )
    def test_completes(
        self, script: Path, tmp_path: Path, words: tuple[str, ...], candidates: set[str]
    ) -> None:
        (tmp_path / "sessions").mkdir()
        (tmp_path / "facts.json").touch()
        ran = subprocess.run(
            ["bash", "-c", COMPLETE, "complete", script, "alphaedit", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (set(ran.stdout.split()), ran.stderr) == (candidates, "")
