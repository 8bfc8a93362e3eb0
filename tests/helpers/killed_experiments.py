"""A process that runs an experiment on a tiny model and is killed on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
from examples import small
from tiny import tiny_model

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.experiments.plan import ExperimentPlan, ExtraMeasurements
from alphaedit_core.experiments.results import ExperimentResult
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor, Stage
from alphaedit_core.session import outcomes


def run_here(file: Path, folder: Path, place: Path, monitor: Monitor) -> ExperimentResult:
    """The experiment: two methods, four records in batches of one, measured after every second."""
    methods = tuple(
        small(place, editor=name, previous_keys=True, contexts=1, context_tokens=2)
        for name in ("alphaedit", "memit")
    )
    records = read_records(file, "counterfact")
    plan = ExperimentPlan(
        methods,
        edits=4,
        batch_size=1,
        evaluate_every=2,
        metrics=("efficacy", "generalization", "efficacy_accuracy"),
    )
    probes = ExtraMeasurements(drift=str(place / "text.txt"))
    return run_experiment(tiny_model("llama"), records, plan, folder, probes, monitor)


def _run(file: Path, folder: Path, place: Path, moment: int) -> None:
    outcomes.generate_greedy = partial(generate_greedy, tokens=2)  # type: ignore[assignment]
    left = moment

    def show(stage: Stage, *, closed: bool) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    run_here(file, folder, place, Monitor(show))


def killed_experiment(file: Path, folder: Path, place: Path, moment: int) -> bool:
    """Run it in a process that kills itself at a moment of its progress; whether it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", __name__])
    process = context.Process(target=partial(_run, file, folder, place, moment))
    with pytest.MonkeyPatch.context() as patch:
        # Some versions of Python keep the search path from the server, which then imports nothing.
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return process.exitcode != 0
