"""Test that the notebooks notice faults: break one formula at a time and run its notebook.

Each fault is applied to a copy of the working tree. The notebook that should catch the fault runs
there and is compared with its stored outputs, as ``make test-notebooks`` does. First, each notebook
runs without a fault, because otherwise a failure proves nothing. In that run, the folded answers
are inserted after the exercises, and each must be accepted as right. A table lists which faults
were caught, and by which cell. The exit code is 1 if a fault was missed, a notebook fails without
a fault, or a fault no longer matches the code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
#: Files of the working tree that notebooks do not need.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".ipynb_checkpoints", ".*_cache", ".hypothesis", "*.egg-info",
    "build", "dist", "docs", "shots",
)  # fmt: skip
#: First line of an exercise, and the folded answer in the next cell.
_EXERCISE = "answer = None\n"
_FOLDED = re.compile(r"<details>.*?`answer = (.+?)`", re.DOTALL)
#: pytest's exit code for tests that ran and failed.
_FAILED = 1

Verdict = Literal["passes", "caught", "MISSED", "BROKEN"]


class FaultError(Exception):
    """A fault does not match the code."""


@dataclass(frozen=True)
class Fault:
    """One way to break the core.

    Attributes:
        name: the name for ``--only``.
        about: description of the fault.
        file: path of the file, relative to the root.
        old: text that occurs exactly once in the file.
        new: replacement of the text.
        notebook: the notebook that must fail.
    """

    name: str
    about: str
    file: str
    old: str
    new: str
    notebook: str


@dataclass(frozen=True)
class RunResult:
    """Result of one run.

    Attributes:
        verdict: ``passes`` for a notebook without a fault; ``BROKEN`` if the run proves nothing.
        note: the first failed cell, or the reason.
        seconds: wall-clock time.
    """

    verdict: Verdict
    note: str
    seconds: float


_FIRST, _NULL_SPACE, _STEPS, _FAMILY = (
    "01_first_edit.ipynb",
    "03_null_space.ipynb",
    "04_one_edit_step_by_step.ipynb",
    "family.ipynb",
)
FAULTS = (
    Fault(
        "projector-side",
        "P projects on the complement",
        "alphaedit_core/nullspace/projectors.py",
        "return in_basis if self.kept else vectors - in_basis",
        "return vectors - in_basis if self.kept else in_basis",
        _NULL_SPACE,
    ),
    Fault(
        "threshold-strict",
        "an eigenvalue equal to the threshold is kept",
        "alphaedit_core/nullspace/spectrum.py",
        "(self._positive < threshold.value)",
        "(self._positive <= threshold.value)",
        _NULL_SPACE,
    ),
    Fault(
        "threshold-side",
        "the eigenvalues above the threshold are counted",
        "alphaedit_core/nullspace/spectrum.py",
        "(self._positive < threshold.value)",
        "(self._positive > threshold.value)",
        _NULL_SPACE,
    ),
    Fault(
        "lambda-twice",
        "λ counts twice",
        "alphaedit_core/editing/editors/alphaedit.py",
        "inputs.hyperparameters.ridge",
        "2 * inputs.hyperparameters.ridge",
        _STEPS,
    ),
    Fault(
        "lambda-of-memit",
        "MEMIT's weight on C replaces AlphaEdit's λ",
        "alphaedit_core/editing/editors/alphaedit.py",
        "inputs.hyperparameters.ridge",
        "inputs.hyperparameters.covariance_weight",
        _STEPS,
    ),
    Fault(
        "key-weights",
        "all prompts of a key have equal weight",
        "alphaedit_core/editing/subject_keys.py",
        "(own[0] + own[1:].mean(dim=0)) / 2",
        "own.mean(dim=0)",
        _STEPS,
    ),
    Fault(
        "residual-whole",
        "every layer writes the whole residual",
        "alphaedit_core/editing/editors/alphaedit.py",
        "residual = inputs.residual / inputs.layers_left",
        "residual = inputs.residual",
        _STEPS,
    ),
    Fault(
        "residual-share",
        "every layer writes the first layer's share",
        "alphaedit_core/editing/batch.py",
        "len(layers) - index,",
        "len(layers),",
        _STEPS,
    ),
    Fault(
        "previous-keys",
        "the keys of earlier facts are forgotten",
        "alphaedit_core/editing/previous_keys.py",
        "stored.append(preconditioner.sqrt_matmul(new))",
        "stored",
        _STEPS,
    ),
    Fault(
        "undo-keys",
        "the keys of an undone fact are kept",
        "alphaedit_core/session/states.py",
        "self._make_weights(self._applied)\n        self._forget_keys()",
        "self._make_weights(self._applied)",
        _STEPS,
    ),
    Fault(
        "undo-originals",
        "the original weights are not copied, so an edit changes them",
        "alphaedit_core/editing/edited_weights.py",
        "model.architecture.matrix(layer).clone()",
        "model.architecture.matrix(layer)",
        _FIRST,
    ),
    Fault(
        "undo-subtracts",
        "undo subtracts the change instead of recomputing the weights",
        "alphaedit_core/session/states.py",
        "self.restore(self._applied - 1)",
        "from alphaedit_core.editing.weight_updates import dense\n\n"
        "        for layer, change in self._batches(self._applied)[-1].changes.items():\n"
        "            self.model.architecture.matrix(layer).sub_(dense(change))\n"
        "        self._applied -= 1",
        _FIRST,
    ),
    Fault(
        "memit-metric",
        "MEMIT measures keys by C^(-1/2) instead of C^-1",
        "alphaedit_core/editing/closed_form.py",
        "LowRank(solved.left, preconditioner.sqrt_matmul_T(solved.right))",
        "LowRank(solved.left, solved.right)",
        _FAMILY,
    ),
    Fault(
        "emmet-mu",
        "EMMET's mu is MEMIT's weight",
        "alphaedit_core/editing/editors/emmet.py",
        "hp.emmet_lambda * hp.covariance_weight",
        "hp.covariance_weight",
        _FAMILY,
    ),
    Fault(
        "pmet-share",
        "PMET shares the residual as MEMIT does",
        "alphaedit_core/editing/editors/pmet.py",
        "inputs.residual / sqrt(inputs.layers_left)",
        "inputs.residual / inputs.layers_left",
        _FAMILY,
    ),
    Fault(
        "rome-one-key",
        "ROME writes the value at the mean key",
        "alphaedit_core/editing/editors/rome.py",
        "rank_one(inputs, inputs.mean_keys, inputs.prompt_keys, inputs.residual)",
        "rank_one(inputs, inputs.mean_keys, inputs.mean_keys, inputs.residual)",
        _FAMILY,
    ),
    Fault(
        "rect-mask",
        "RECT keeps the entries that change least",
        "alphaedit_core/editing/editors/rect.py",
        "relative.topk(count)",
        "relative.topk(count, largest=False)",
        _FAMILY,
    ),
    Fault(
        "prune-above",
        "PRUNE reduces the small singular values",
        "alphaedit_core/editing/weight_updates.py",
        "sigma > bound, sigma.clamp_min",
        "sigma < bound, sigma.clamp_min",
        _FAMILY,
    ),
)


def with_fault(text: str, fault: Fault) -> str:
    """Return the text of the fault's file with the fault applied.

    Raises:
        FaultError: if the old text does not occur exactly once, or the result is not valid Python,
            which would fail everywhere and prove nothing.
    """
    count = text.count(fault.old)
    if count != 1:
        raise FaultError(
            f'fault {fault.name}: "{fault.old}" occurs {count} times in {fault.file}, not once; '
            "update the fault"
        )
    changed = text.replace(fault.old, fault.new)
    try:
        compile(changed, fault.file, "exec")
    except SyntaxError as error:
        raise FaultError(f"fault {fault.name}: {fault.file} would not compile: {error}") from error
    return changed


def check(faults: Iterable[Fault], root: Path = ROOT) -> None:
    """Check that all faults match the code, before any run.

    Raises:
        FaultError: naming the first fault that does not.
    """
    for fault in faults:
        for file in (root / fault.file, root / "notebooks" / fault.notebook):
            if not file.is_file():
                raise FaultError(f"fault {fault.name}: {file} does not exist")
        with_fault((root / fault.file).read_text(encoding="utf-8"), fault)


def with_answers(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return the notebook with a cell after every exercise that checks its folded answer.

    Raises:
        FaultError: if an exercise has no folded answer.
    """
    cells: list[dict[str, Any]] = []
    following = [*notebook["cells"][1:], {"source": ""}]
    for cell, next_cell in zip(notebook["cells"], following, strict=True):
        cells.append(cell)
        if cell["cell_type"] != "code" or not "".join(cell["source"]).startswith(_EXERCISE):
            continue
        answer = _FOLDED.search("".join(next_cell["source"]))
        if answer is None:
            raise FaultError(f"an exercise has no folded answer: {''.join(cell['source'])}")
        cells.append(
            {
                "cell_type": "code",
                "execution_count": 1,
                "id": f"answer-to-{len(cells)}",
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": "right\n"}],
                "source": f"print(check({answer[1]}).split(':')[0])",
            }
        )
    return notebook | {"cells": cells}


def try_notebook(notebook: str, fault: Fault | None = None, root: Path = ROOT) -> RunResult:
    """Run a notebook in a copy of the tree and compare its outputs.

    Args:
        notebook: file name of the notebook.
        fault: the fault to apply; None to run the notebook with answered exercises instead.
        root: the working tree.
    """
    start = time.monotonic()
    with TemporaryDirectory(prefix="fault-test-") as folder:
        copy = Path(folder).resolve() / "tree"
        shutil.copytree(root, copy, ignore=_LEFT_OUT)
        if fault is None:
            file = copy / "notebooks" / notebook
            file.write_text(json.dumps(with_answers(json.loads(file.read_text("utf-8")))), "utf-8")
        else:
            file = copy / fault.file
            file.write_text(with_fault(file.read_text("utf-8"), fault), "utf-8")
        run = subprocess.run(
            [
                sys.executable, "-m", "pytest", f"notebooks/{notebook}", "-x", "-q",
                "--nbval", "--nbval-current-env", "--nbval-cell-timeout=1200",
                "--nbval-sanitize-with", "tests/nbval_sanitize.cfg", "-p", "no:cacheprovider",
            ],
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )  # fmt: skip
    verdict, note = judge(run.returncode, run.stdout, has_fault=fault is not None)
    return RunResult(verdict, note, time.monotonic() - start)


def judge(code: int, output: str, has_fault: bool) -> tuple[Verdict, str]:
    """Return the verdict on a run of pytest, and a note.

    Args:
        code: exit code.
        output: printed output.
        has_fault: whether a fault was applied.
    """
    match = re.search(r"::Cell (\d+)", output)
    cell_name = f"cell {match[1]}" if match else ""
    if code == 0:
        return ("MISSED", "no cell fails") if has_fault else ("passes", "")
    if code == _FAILED and match and "Timeout" not in output:
        return (
            ("caught", cell_name) if has_fault else ("BROKEN", f"{cell_name} fails without a fault")
        )
    last = [line for line in output.splitlines() if line.strip()][-1:]
    return "BROKEN", "; ".join([f"pytest ended with {code}", *last])


def run_faults(faults: Sequence[Fault], root: Path = ROOT) -> bool:
    """Run all faults and print each result and a table; return True if all were caught."""
    notebooks = list(dict.fromkeys(fault.notebook for fault in faults))
    width = max(len(name) for name in (*(fault.name for fault in faults), "(none)"))
    rows: list[tuple[str, str, RunResult]] = []

    def note(name: str, notebook: str, result: RunResult) -> None:
        rows.append((name, notebook, result))
        print(_line(name, notebook, result, width), flush=True)

    passing: dict[str, bool] = {}
    for notebook in notebooks:
        result = try_notebook(notebook, root=root)
        passing[notebook] = result.verdict == "passes"
        note("(none)", notebook, result)
    for fault in faults:
        if passing[fault.notebook]:
            note(fault.name, fault.notebook, try_notebook(fault.notebook, fault, root))
        else:
            failed = RunResult("BROKEN", "the notebook fails without a fault", 0.0)
            note(fault.name, fault.notebook, failed)
    caught = sum(result.verdict == "caught" for _, _, result in rows)
    about = {fault.name: fault.about for fault in faults}
    print("\n| fault | description | notebook | result |\n|---|---|---|---|")
    for name, notebook, result in rows:
        if name in about:
            verdict = f"{result.verdict}, {result.note}"
            print(f"| {name} | {about[name]} | {notebook} | {verdict} |")
    print(f"\n{caught} of {len(faults)} faults caught")
    return caught == len(faults)


def _line(name: str, notebook: str, result: RunResult, width: int) -> str:
    text = f"{name:<{width}}  {notebook}: {result.verdict}"
    return f"{text}{f', {result.note}' if result.note else ''} ({result.seconds:.0f} s)"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command; the exit code is 0 only if every fault was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    by_name = {fault.name: fault for fault in FAULTS}
    parser.add_argument(
        "--only", action="append", choices=list(by_name), metavar="NAME",
        help="run only this fault; repeatable",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the faults and exit")
    options = parser.parse_args(arguments)
    faults = [by_name[name] for name in options.only or by_name]
    try:
        check(faults, root)
    except FaultError as error:
        print(error, file=sys.stderr)
        return 1
    if options.list:
        for fault in faults:
            print(f"{fault.name}: {fault.about} ({fault.file}; {fault.notebook})")
        return 0
    return 0 if run_faults(faults, root) else 1


if __name__ == "__main__":
    sys.exit(main())
