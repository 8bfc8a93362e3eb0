"""The fault test itself, on a made-up notebook and formula: what goes unseen must be missed."""

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
    answered,
    broken,
    check,
    judged,
    main,
    prove,
    try_notebook,
)

DOUBLE = Fault("double", "twice is thrice", "maths.py", "2 * x", "3 * x", "tiny.ipynb")
UNSEEN = Fault("unseen", "half is a third", "maths.py", "x / 2", "x / 3", "tiny.ipynb")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working tree with two formulas, of which its notebook checks one."""
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


def test_a_checked_formula_is_caught_an_unchecked_one_missed_and_the_tree_left_alone(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (root / "maths.py").read_bytes()
    assert not prove([DOUBLE, UNSEEN], root)
    said = capsys.readouterr().out
    assert "(none)  tiny.ipynb: passes (" in said
    assert "| double | twice is thrice | tiny.ipynb | caught, cell 1 |" in said
    assert "| unseen | half is a third | tiny.ipynb | MISSED, no cell fails |" in said
    assert said.endswith("1 of 2 faults caught\n")
    assert (root / "maths.py").read_bytes() == before


def test_a_notebook_that_fails_by_itself_proves_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_notebook(root, "False")
    assert try_notebook("tiny.ipynb", root=root).note == "cell 1 fails without a fault"
    assert not prove([DOUBLE], root)
    assert "| double | twice is thrice | tiny.ipynb | BROKEN," in capsys.readouterr().out


def test_an_answer_that_is_not_right_and_one_that_is_missing_are_noticed(root: Path) -> None:
    write_notebook(root, "True", answer="5")
    assert try_notebook("tiny.ipynb", root=root).note == "cell 3 fails without a fault"
    notebook = nbformat.read(root / "notebooks" / "tiny.ipynb", as_version=4)
    notebook["cells"].pop()
    with pytest.raises(FaultError, match="an exercise without a folded answer"):
        answered(notebook)


def test_a_fault_fits_exactly_once() -> None:
    assert broken("y = 2 * x\n", DOUBLE) == "y = 3 * x\n"
    for text, count in (("y = x\n", 0), ("y = 2 * x + 2 * x\n", 2)):
        with pytest.raises(
            FaultError, match=f'"2 \\* x" stands {count} times in maths.py, not once'
        ):
            broken(text, DOUBLE)
    with pytest.raises(FaultError, match=r"fault double: maths.py would not compile"):
        broken("y = 2 * x\n", replace(DOUBLE, new="3 *"))


def test_what_does_not_fit_is_refused_before_anything_is_run(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for fault, words in (
        (replace(DOUBLE, file="gone.py"), "gone.py does not exist"),
        (replace(DOUBLE, notebook="gone.ipynb"), "gone.ipynb does not exist"),
        (replace(DOUBLE, old="5 * x"), "stands 0 times"),
    ):
        with pytest.raises(FaultError, match=words):
            check([UNSEEN, fault], root)
    monkeypatch.setattr("tools.fault_test.FAULTS", (replace(DOUBLE, old="5 * x"),))
    assert main([], root) == 1
    assert "fault double" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "said", "faulty", "expected"),
    [
        (0, "1 passed", True, ("MISSED", "no cell fails")),
        (0, "1 passed", False, ("passes", "")),
        (1, "FAILED notebooks/a.ipynb::ipynb::Cell 4", True, ("caught", "cell 4")),
        (1, "ERROR\n1 error", True, ("BROKEN", "pytest ended with 1; 1 error")),
        (1, "FAILED a::Cell 4\nTimeout", True, ("BROKEN", "pytest ended with 1; Timeout")),
        (5, "no tests ran", True, ("BROKEN", "pytest ended with 5; no tests ran")),
    ],
)
def test_only_a_failing_cell_is_a_catch(
    code: int, said: str, faulty: bool, expected: tuple[str, str]
) -> None:
    assert judged(code, said, faulty) == expected


def test_the_faults_fit_the_code_and_cover_what_they_must(
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
