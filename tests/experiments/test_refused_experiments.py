"""Plans, records, folders and models that an experiment refuses."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from examples import FACTS, quiet, small
from kept_experiments import METRICS
from tiny import prose

from alphaedit_core.data.datasets.reading import Records, read_records
from alphaedit_core.editing.configs import with_editor
from alphaedit_core.errors import CorruptFileError, InputError, SessionError
from alphaedit_core.experiments.folder import load_experiment
from alphaedit_core.experiments.plan import ExperimentPlan, ExtraMeasurements
from alphaedit_core.experiments.results import ExperimentResult
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.session.session import EditSession


def test_another_plan_or_other_records_are_refused_by_name(
    whole: ExperimentResult, model: EditableModel, file: Path, place: Path
) -> None:
    records, plan = read_records(file, "counterfact"), whole.plan
    for changed, word in (
        (
            ExperimentPlan(plan.methods, edits=4, batch_size=2, evaluate_every=2, metrics=METRICS),
            "batch_size",
        ),
        (
            ExperimentPlan(plan.methods, edits=4, batch_size=1, evaluate_every=1, metrics=METRICS),
            "evaluate_every",
        ),
        (
            ExperimentPlan(
                plan.methods[:1], edits=4, batch_size=1, evaluate_every=2, metrics=METRICS
            ),
            "methods",
        ),
    ):
        with pytest.raises(InputError, match=f"another {word} of its plan"):
            run_experiment(model, records, changed, whole.folder, monitor=quiet())
    shorter = Records(records.dataset, records.source, records.records[:3], [])
    with pytest.raises(InputError, match="another names of its records"):
        run_experiment(model, shorter, plan, whole.folder, monitor=quiet())
    drift = whole.manifest["probes"]["drift"]
    for probes, word in (
        (ExtraMeasurements(text=prose(900), drift=drift), "text"),
        (ExtraMeasurements(), "drift"),
    ):
        with pytest.raises(InputError, match=f"another {word} of its probes"):
            run_experiment(model, records, plan, whole.folder, probes, quiet())
    assert load_experiment(whole.folder).points == whole.points


def test_a_folder_of_something_else_is_refused(
    model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "foreign"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    plan = ExperimentPlan((small(place),), edits=2, batch_size=2, metrics=("efficacy",))
    with pytest.raises(InputError, match="exists and is not an experiment"):
        run_experiment(model, read_records(file, "counterfact"), plan, folder, monitor=quiet())
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="holds none"):
        load_experiment(folder)


def test_a_damaged_file_is_named(whole: ExperimentResult, tmp_path: Path) -> None:
    for name, damage, words in (
        ("points.jsonl", b"\xff\n", "points.jsonl: line 1 is damaged"),
        ("experiment.json", b'{"format": "alphaedit experiment 1"}', "plan is missing"),
        ("experiment.json", b"\xff", "not UTF-8"),
    ):
        folder = tmp_path / words.split()[0]
        shutil.copytree(whole.folder, folder, dirs_exist_ok=True)
        (folder / name).write_bytes(damage)
        with pytest.raises(CorruptFileError, match=words):
            load_experiment(folder)


def test_a_model_that_holds_edits_is_refused(model: EditableModel, file: Path, place: Path) -> None:
    session = EditSession(model, hyperparameters=small(place))
    session.edit(FACTS[:1], monitor=quiet())
    digest, plan = (
        session.weights_digest(),
        ExperimentPlan((small(place),), edits=2, batch_size=2, metrics=("efficacy",)),
    )
    with pytest.raises(SessionError, match="1 edits of another session"):
        run_experiment(
            model, read_records(file, "counterfact"), plan, place / "held", None, quiet()
        )
    assert session.weights_digest() == digest and not (place / "held").exists()
    session.close()


def test_what_cannot_be_run_is_refused(place: Path) -> None:
    hp = small(place)
    with pytest.raises(InputError, match="no editor is given"):
        ExperimentPlan(())
    with pytest.raises(InputError, match="given twice"):
        ExperimentPlan((hp, hp))
    with pytest.raises(InputError, match="evaluate_every 30 is not a multiple of batch_size 20"):
        ExperimentPlan((hp,), edits=100, batch_size=20, evaluate_every=30)
    with pytest.raises(InputError, match="edits 0 is not a whole number above 0"):
        ExperimentPlan((hp,), edits=0)
    other = hp.replace(ridge=3.0, layer_lambda_factors="1,2")
    assert ExperimentPlan((hp, other, with_editor(hp, "memit"))).names() == [
        f"{hp.method}, layer_lambda_factors none, ridge 10",
        f"{hp.method}, layer_lambda_factors 1,2, ridge 3",
        with_editor(hp, "memit").method,
    ]
    renamed = hp.replace(source="elsewhere")
    assert ExperimentPlan((hp, renamed)).names() == [f"{hp.method} (1)", f"{hp.method} (2)"]


def test_a_metric_whose_package_is_missing_is_named_before_any_work(
    model: EditableModel, file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nltk", None)
    records = read_records(file, "counterfact")
    # Without metrics: the data set's own, fluency among them.
    plan = ExperimentPlan((small(place),), edits=2, batch_size=2)
    with pytest.raises(InputError, match=r"fluency needs nltk; .*workbench\[eval\]"):
        run_experiment(model, records, plan, place / "no", monitor=quiet())
    assert not (place / "no").exists()
