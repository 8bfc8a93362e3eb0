"""Prove that the notebooks would notice: break one formula at a time, and run its notebook.

Each fault is put into a copy of the working tree, where the notebook that is declared to catch it
is run and compared with its stored outputs, as ``make test-notebooks`` does. Before that the
notebook is run without a fault: only if that passes does a failure mean anything. In that run the
exercises are answered with the answers folded under them, each of which must be called right. A
table says which faults were caught, and by which cell; the exit code is 1 if one was missed, if a
notebook fails by itself, or if a fault no longer fits the code.
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
#: What of the working tree plays no part in a notebook's run.
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".ipynb_checkpoints", ".*_cache", ".hypothesis", "*.egg-info",
    "build", "dist", "docs", "shots",
)  # fmt: skip
#: How an exercise begins, and what is folded under it.
_EXERCISE = "answer = None\n"
_FOLDED = re.compile(r"<details>.*?`answer = (.+?)`", re.DOTALL)
#: pytest's exit code for tests that ran and failed.
_FAILED = 1

Verdict = Literal["passes", "caught", "MISSED", "BROKEN"]


class FaultError(Exception):
    """A fault does not fit the code it is for."""


@dataclass(frozen=True)
class Fault:
    """One way to break the core.

    Attributes:
        name: what ``--only`` calls it.
        about: what is wrong then.
        file: where, below the root.
        old: text that stands there exactly once.
        new: what it becomes.
        notebook: which notebook has to fail.
    """

    name: str
    about: str
    file: str
    old: str
    new: str
    notebook: str


@dataclass(frozen=True)
class Finding:
    """What became of one run.

    Attributes:
        verdict: ``passes`` for a notebook without a fault; ``BROKEN`` where the run says nothing.
        note: the first cell that failed, or what went wrong.
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
        "the eigenvalues over the threshold are counted",
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
        "MEMIT's weight on C stands in for AlphaEdit's λ",
        "alphaedit_core/editing/editors/alphaedit.py",
        "inputs.hyperparameters.ridge",
        "inputs.hyperparameters.covariance_weight",
        _STEPS,
    ),
    Fault(
        "key-weights",
        "all prompts of a key weigh alike",
        "alphaedit_core/editing/subject_keys.py",
        "(own[0] + own[1:].mean(dim=0)) / 2",
        "own.mean(dim=0)",
        _STEPS,
    ),
    Fault(
        "residual-whole",
        "every layer takes all that is lacking",
        "alphaedit_core/editing/editors/alphaedit.py",
        "residual = inputs.residual / inputs.layers_left",
        "residual = inputs.residual",
        _STEPS,
    ),
    Fault(
        "residual-share",
        "every layer takes the first one's share",
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
        "the keys of an undone fact stay",
        "alphaedit_core/session/states.py",
        "self._make_weights(self._applied)\n        self._forget_keys()",
        "self._make_weights(self._applied)",
        _STEPS,
    ),
    Fault(
        "undo-originals",
        "the originals are the model's own matrices, which an edit changes",
        "alphaedit_core/editing/edited_weights.py",
        "model.architecture.matrix(layer).clone()",
        "model.architecture.matrix(layer)",
        _FIRST,
    ),
    Fault(
        "undo-subtracts",
        "an undo subtracts the change instead of making the weights anew",
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
        "ROME asks for the value at the mean key",
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
        "PRUNE brings the small singular values down",
        "alphaedit_core/editing/weight_updates.py",
        "sigma > bound, sigma.clamp_min",
        "sigma < bound, sigma.clamp_min",
        _FAMILY,
    ),
)


def broken(text: str, fault: Fault) -> str:
    """The text of the fault's file with the fault in it.

    Raises:
        FaultError: if the old text does not stand there exactly once, or what comes out is not
            Python (it would fail everywhere and prove nothing).
    """
    count = text.count(fault.old)
    if count != 1:
        raise FaultError(
            f'fault {fault.name}: "{fault.old}" stands {count} times in {fault.file}, not once; '
            "bring the fault up to date"
        )
    changed = text.replace(fault.old, fault.new)
    try:
        compile(changed, fault.file, "exec")
    except SyntaxError as error:
        raise FaultError(f"fault {fault.name}: {fault.file} would not compile: {error}") from error
    return changed


def check(faults: Iterable[Fault], root: Path = ROOT) -> None:
    """Refuse faults that do not fit the code, before anything is run.

    Raises:
        FaultError: for the first that does not.
    """
    for fault in faults:
        for file in (root / fault.file, root / "notebooks" / fault.notebook):
            if not file.is_file():
                raise FaultError(f"fault {fault.name}: {file} does not exist")
        broken((root / fault.file).read_text(encoding="utf-8"), fault)


def answered(notebook: dict[str, Any]) -> dict[str, Any]:
    """A notebook in which every exercise is followed by a cell that tries its folded answer.

    Raises:
        FaultError: if nothing is folded under an exercise.
    """
    cells: list[dict[str, Any]] = []
    following = [*notebook["cells"][1:], {"source": ""}]
    for cell, after in zip(notebook["cells"], following, strict=True):
        cells.append(cell)
        if cell["cell_type"] != "code" or not "".join(cell["source"]).startswith(_EXERCISE):
            continue
        folded = _FOLDED.search("".join(after["source"]))
        if folded is None:
            raise FaultError(f"an exercise without a folded answer: {''.join(cell['source'])}")
        cells.append(
            {
                "cell_type": "code",
                "execution_count": 1,
                "id": f"answer-to-{len(cells)}",
                "metadata": {},
                "outputs": [{"name": "stdout", "output_type": "stream", "text": "right\n"}],
                "source": f"print(check({folded[1]}).split(':')[0])",
            }
        )
    return notebook | {"cells": cells}


def try_notebook(notebook: str, fault: Fault | None = None, root: Path = ROOT) -> Finding:
    """Run a notebook in a copy of the tree, with a fault or answered, and compare its outputs."""
    started = time.monotonic()
    with TemporaryDirectory(prefix="fault-test-") as folder:
        copy = Path(folder).resolve() / "tree"
        shutil.copytree(root, copy, ignore=_LEFT_OUT)
        if fault is None:
            file = copy / "notebooks" / notebook
            file.write_text(json.dumps(answered(json.loads(file.read_text("utf-8")))), "utf-8")
        else:
            file = copy / fault.file
            file.write_text(broken(file.read_text("utf-8"), fault), "utf-8")
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
    verdict, note = judged(run.returncode, run.stdout, faulty=fault is not None)
    return Finding(verdict, note, time.monotonic() - started)


def judged(code: int, said: str, faulty: bool) -> tuple[Verdict, str]:
    """What a run of pytest means, and where it failed.

    Args:
        code: its exit code.
        said: what it printed.
        faulty: whether there was a fault to catch.
    """
    cell = re.search(r"::Cell (\d+)", said)
    where = f"cell {cell[1]}" if cell else ""
    if code == 0:
        return ("MISSED", "no cell fails") if faulty else ("passes", "")
    if code == _FAILED and cell and "Timeout" not in said:
        return ("caught", where) if faulty else ("BROKEN", f"{where} fails without a fault")
    last = [line for line in said.splitlines() if line.strip()][-1:]
    return "BROKEN", "; ".join([f"pytest ended with {code}", *last])


def prove(faults: Sequence[Fault], root: Path = ROOT) -> bool:
    """Try all faults, print what became of each, and at last the table; True if all are caught."""
    notebooks = list(dict.fromkeys(fault.notebook for fault in faults))
    width = max(len(name) for name in (*(fault.name for fault in faults), "(none)"))
    rows: list[tuple[str, str, Finding]] = []

    def note(name: str, notebook: str, finding: Finding) -> None:
        rows.append((name, notebook, finding))
        print(_line(name, notebook, finding, width), flush=True)

    sound: dict[str, bool] = {}
    for notebook in notebooks:
        finding = try_notebook(notebook, root=root)
        sound[notebook] = finding.verdict == "passes"
        note("(none)", notebook, finding)
    for fault in faults:
        if sound[fault.notebook]:
            note(fault.name, fault.notebook, try_notebook(fault.notebook, fault, root))
        else:
            nothing = Finding("BROKEN", "the notebook fails without it", 0.0)
            note(fault.name, fault.notebook, nothing)
    caught = sum(finding.verdict == "caught" for _, _, finding in rows)
    about = {fault.name: fault.about for fault in faults}
    print("\n| fault | what is wrong then | notebook | found |\n|---|---|---|---|")
    for name, notebook, finding in rows:
        if name in about:
            found = f"{finding.verdict}, {finding.note}"
            print(f"| {name} | {about[name]} | {notebook} | {found} |")
    print(f"\n{caught} of {len(faults)} faults caught")
    return caught == len(faults)


def _line(name: str, notebook: str, finding: Finding, width: int) -> str:
    what = f"{name:<{width}}  {notebook}: {finding.verdict}"
    return f"{what}{f', {finding.note}' if finding.note else ''} ({finding.seconds:.0f} s)"


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command; the exit code is 0 only if every fault was caught."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    known = {fault.name: fault for fault in FAULTS}
    parser.add_argument(
        "--only", action="append", choices=list(known), metavar="NAME",
        help="try this fault; may be given several times",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="name the faults and run nothing")
    options = parser.parse_args(arguments)
    faults = [known[name] for name in options.only or known]
    try:
        check(faults, root)
    except FaultError as error:
        print(error, file=sys.stderr)
        return 1
    if options.list:
        for fault in faults:
            print(f"{fault.name}: {fault.about} ({fault.file}; {fault.notebook})")
        return 0
    return 0 if prove(faults, root) else 1


if __name__ == "__main__":
    sys.exit(main())
