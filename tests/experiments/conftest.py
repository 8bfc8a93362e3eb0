"""What the tests of experiments share: records, a model, and an experiment without a break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from examples import FACTS
from kept_experiments import MOMENTS
from killed_experiments import run_here
from tiny import tiny_model

from alphaedit_core.experiments.results import ExperimentResult
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor, Stage
from alphaedit_core.session import outcomes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a cache that the tests of one file share; completions there are short."""
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture(scope="module")
def model(place: Path) -> EditableModel:
    """The model of the experiment; leave its weights as they are."""
    return tiny_model("llama")


@pytest.fixture(scope="module")
def file(place: Path) -> Path:
    """Four CounterFact records."""
    targets = ("Rome", "Japan", "Tokyo", "Paris")
    true = ("Paris", "England", "Kyoto", "Berlin")
    records = [
        {
            "case_id": number,
            "requested_rewrite": {
                "subject": fact.subject,
                "prompt": fact.prompt,
                "target_new": {"str": new},
                "target_true": {"str": old},
            },
            "paraphrase_prompts": [f"One says that {fact.subject} is"],
            "neighborhood_prompts": ["The old city of", "You know that"],
            "attribute_prompts": [],
            "generation_prompts": [f"{fact.subject} is"],
        }
        for number, (fact, new, old) in enumerate(zip(FACTS, targets, true, strict=True))
    ]
    path = place / "records.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(file: Path, place: Path) -> ExperimentResult:
    """The experiment, run without a break; leave its folder as it is."""
    MOMENTS.clear()  # those of another file's

    def show(stage: Stage, *, closed: bool) -> None:
        MOMENTS.append(stage.name)

    return run_here(file, place / "whole", place, Monitor(show))
