"""Tests of the fault test, on a small notebook and two formulas, one of them unchecked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.fault_test import (
    FAULTS,
    ROOT,
    Fault,
    FaultError,
    check,
    judge,
    main,
    run_faults,
    try_notebook,
    with_answers,
    with_fault,
)

DOUBLE = Fault("double", "twice is thrice", "maths.py", "2 * x", "3 * x", "tiny.ipynb")
UNSEEN = Fault("unseen", "half is a third", "maths.py", "x / 2", "x / 3", "tiny.ipynb")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a working tree with two formulas; its notebook checks only the first."""
    root = tmp_path / "tree"
    for folder in ("notebooks", "tests"):
        (root / folder).mkdir(parents=True)
    (root / "maths.py").write_text(
        "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n", encoding="utf-8"
    )
    (root / "tests" / "nbval_sanitize.cfg").write_text("", encoding="utf-8")
    write_notebook(root, "True")
    return root


def write_notebook(root: Path, stored: str, answer: str = "2 + 2") -> None:
    says = "from maths import double, half\nprint(double(2) == 4)"
    asks = (
        "answer = None\ndef check(x):\n    return 'right: yes' if x == 4 else 'wrong: no'\nprint(1)"
    )
    code = [
        new_code_cell("print('begins')", outputs=[new_output("stream", text="begins\n")]),
        new_code_cell(says, outputs=[new_output("stream", text=f"{stored}\n")]),
        new_code_cell(asks, outputs=[new_output("stream", text="1\n")]),
    ]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count
    cells = [*code, new_markdown_cell(f"<details>\n\n`answer = {answer}`\n</details>")]
    spec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": spec})
    nbformat.write(notebook, root / "notebooks" / "tiny.ipynb")


def test_checked_fault_is_caught_and_unchecked_fault_is_missed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "maths.py").read_bytes()
    assert not run_faults([DOUBLE, UNSEEN], root)
    output = capsys.readouterr().out
    assert "(none)  tiny.ipynb: passes (" in output
    assert "| double | twice is thrice | tiny.ipynb | caught, cell 1 |" in output
    assert "| unseen | half is a third | tiny.ipynb | MISSED, no cell fails |" in output
    assert output.endswith("1 of 2 faults caught\n")
    assert (root / "maths.py").read_bytes() == before


def test_notebook_that_fails_without_fault_is_reported(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(root, "False")
    assert try_notebook("tiny.ipynb", root=root).note == "cell 1 fails without a fault"
    assert not run_faults([DOUBLE], root)
    assert "| double | twice is thrice | tiny.ipynb | BROKEN," in capsys.readouterr().out


def test_wrong_and_missing_folded_answers_are_reported(root: Path) -> None:
    write_notebook(root, "True", answer="5")
    assert try_notebook("tiny.ipynb", root=root).note == "cell 3 fails without a fault"
    notebook = nbformat.read(root / "notebooks" / "tiny.ipynb", as_version=4)
    notebook["cells"].pop()
    with pytest.raises(FaultError, match="an exercise has no folded answer"):
        with_answers(notebook)


def test_fault_must_match_exactly_once() -> None:
    assert with_fault("y = 2 * x\n", DOUBLE) == "y = 3 * x\n"
    for text, count in (("y = x\n", 0), ("y = 2 * x + 2 * x\n", 2)):
        with pytest.raises(
            FaultError, match=f'"2 \\* x" occurs {count} times in maths.py, not once'
        ):
            with_fault(text, DOUBLE)
    with pytest.raises(FaultError, match=r"fault double: maths.py would not compile"):
        with_fault("y = 2 * x\n", replace(DOUBLE, new="3 *"))


def test_fault_that_does_not_match_is_refused_before_any_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for fault, words in (
        (replace(DOUBLE, file="gone.py"), "gone.py does not exist"),
        (replace(DOUBLE, notebook="gone.ipynb"), "gone.ipynb does not exist"),
        (replace(DOUBLE, old="5 * x"), "occurs 0 times"),
    ):
        with pytest.raises(FaultError, match=words):
            check([UNSEEN, fault], root)
    monkeypatch.setattr("tools.fault_test.FAULTS", (replace(DOUBLE, old="5 * x"),))
    assert main([], root) == 1
    assert "fault double" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "output", "has_fault", "expected"),
    [
        (0, "1 passed", True, ("MISSED", "no cell fails")),
        (0, "1 passed", False, ("passes", "")),
        (1, "FAILED notebooks/a.ipynb::ipynb::Cell 4", True, ("caught", "cell 4")),
        (1, "ERROR\n1 error", True, ("BROKEN", "pytest ended with 1; 1 error")),
        (1, "FAILED a::Cell 4\nTimeout", True, ("BROKEN", "pytest ended with 1; Timeout")),
        (5, "no tests ran", True, ("BROKEN", "pytest ended with 5; no tests ran")),
    ],
)
def test_verdict_of_a_pytest_run(
    code: int, output: str, has_fault: bool, expected: tuple[str, str]
) -> None:
    assert judge(code, output, has_fault) == expected


def test_faults_match_the_code_and_cover_all_subjects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    check(FAULTS, ROOT)
    assert main(["--list"]) == 0
    listed = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [fault.name for fault in FAULTS]
    assert len(set(listed)) == len(listed)
    for subject in ("projector", "threshold", "lambda", "key-weights", "residual", "previous-keys",
                    "undo"):  # fmt: skip
        assert any(name.startswith(subject) for name in listed), subject
