"""Every result as a data frame: columns, dtypes, and the numbers of the result itself."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from example_records import RECORDS
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model

from alphaedit_core.evaluation.evaluate import evaluate
from alphaedit_core.experiments.editor_comparison import compare_editors
from alphaedit_core.experiments.results import ExperimentResult, Measurement
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.batch_retention import retention
from alphaedit_core.side_effects.drift import DriftTracker
from alphaedit_core.side_effects.hidden_states import hidden_drift

pandas = pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def session(place: Path) -> EditSession:
    """Three edits, the last one undone; the third fact has no true target. Leave it so."""
    hp = small(place, target_steps=2)
    made = EditSession(tiny_model("llama"), hyperparameters=hp, contexts=CONTEXTS[:1])
    made.edit(FACTS[:3], batch_size=2, monitor=quiet())
    made.edit([FACTS[0].changed(target="Berlin")], monitor=quiet())
    made.rename(2, "Berlin instead")
    made.edit(FACTS[3:], monitor=quiet())
    made.undo()
    return made


def dtypes(frame: Any) -> dict[str, str]:
    """The dtypes of the columns that are not texts."""
    return {
        name: str(dtype)
        for name, dtype in frame.dtypes.items()
        if str(dtype) not in ("object", "str")
    }


def cells(column: Any) -> list[Any]:
    """The values of a column, None where one is missing."""
    return [None if pandas.isna(value) else value for value in column]


def test_an_edit_has_a_row_for_each_fact(session: EditSession) -> None:
    result = session.history[0].result
    frame = result.to_pandas()
    assert frame["fact"].tolist() == [1, 2, 3]
    assert frame["batch"].tolist() == [1, 1, 2]
    assert frame["prompt"].tolist() == [fact.text for fact in FACTS[:3]]
    assert cells(frame["true_target"]) == ["Paris", "England", None]
    outcomes = result.outcomes
    assert frame["target_nll_after"].tolist() == [o.after.new.nll for o in outcomes]
    assert frame["target_probability_before"].tolist() == [
        o.before.new.probability for o in outcomes
    ]
    assert frame["target_rank_after"].tolist() == [o.after.new.rank for o in outcomes]
    assert frame["exact_match_after"].tolist() == [o.written for o in outcomes]
    assert frame["completion_after"].tolist() == [o.after.completion for o in outcomes]
    assert cells(frame["residual"]) == [o.residual_left for o in outcomes]
    true = [o.before.true for o in outcomes]
    assert cells(frame["true_target_nll_before"]) == [t and t.nll for t in true]
    numbers = [name for name in frame if name.startswith(("target_prob", "true_target_"))]
    assert dtypes(frame) == (
        dict.fromkeys(["fact", "batch"], "int64")
        | dict.fromkeys(numbers, "float64")
        | dict.fromkeys(["target_nll_before", "target_nll_after", "residual"], "float64")
        | dict.fromkeys(["target_rank_before", "target_rank_after"], "int64")
        | dict.fromkeys(["exact_match_before", "exact_match_after"], "bool")
    )


def test_a_history_has_a_row_for_each_edit(session: EditSession) -> None:
    frame = session.history.to_pandas()
    assert frame["edit"].tolist() == [1, 2, 3]
    assert frame["applied"].tolist() == [True, True, False]
    assert frame["title"].tolist() == ["", "Berlin instead", ""]
    assert frame["batches"].tolist() == [2, 1, 1]
    assert frame["facts"].tolist() == [3, 1, 1]
    assert frame["superseded"].tolist() == [0, 1, 0]
    assert frame["subject"].tolist() == ["Eiffel Tower", "Eiffel Tower", FACTS[3].subject]
    assert frame["target"].tolist() == [FACTS[0].target, "Berlin", "Paris"]
    times = [pandas.Timestamp(entry.created) for entry in session.history]
    assert frame["created"].tolist() == times
    assert frame["created"].is_monotonic_increasing
    assert dtypes(frame.drop(columns="created")) == {
        **dict.fromkeys(["edit", "batches", "facts", "written", "superseded"], "int64"),
        "applied": "bool",
        "seconds": "float64",
    }


def test_the_history_of_an_unedited_model_is_empty(place: Path) -> None:
    model = tiny_model("llama")
    unedited = EditSession(model, hyperparameters=small(place), contexts=CONTEXTS[:1])
    frame = unedited.history.to_pandas()
    assert len(frame) == 0
    assert str(frame["created"].dtype).endswith("UTC]")


def test_an_evaluation_has_a_row_for_each_metric_or_each_record() -> None:
    names = ["efficacy", "specificity", "efficacy_accuracy"]
    found = evaluate(tiny_model("llama"), RECORDS, names, quiet())
    frame = found.to_pandas().set_index("metric")
    assert frame.index.tolist() == names
    for name in names:
        assert frame["mean"][name] == found[name].mean
        assert frame["standard_error"][name] == pytest.approx(found[name].error)
        assert frame["n"][name] == found[name].count
        assert frame["source"][name] == found[name].metric.source
    assert dtypes(frame) == {"mean": "float64", "standard_error": "float64", "n": "int64"}
    each = found.to_pandas(per_record=True)
    assert each["record"].tolist() == ["case 1", "case 2", "case 3"] * 3
    assert each["metric"].tolist() == [name for name in names for _ in range(3)]
    assert cells(each["value"]) == [value for name in names for value in found[name].values]
    assert each["value"].isna().sum() == 2  # case 3 has no true target
    assert dtypes(each) == {"value": "float64"}


def test_a_metric_without_a_mean_is_missing_and_says_why() -> None:
    frame = evaluate(tiny_model("llama"), RECORDS[2:], ["efficacy"], quiet()).to_pandas()
    assert math.isnan(frame["mean"][0]) and frame["n"][0] == 0
    assert frame["reason"][0].startswith("no record has")


def test_retention_has_a_row_for_each_state_and_batch(session: EditSession) -> None:
    found = retention(session, [1, 2], quiet())
    frame = found.to_pandas()
    assert frame[["state", "edit", "batch"]].values.tolist() == [
        [1, 1, 1], [1, 1, 2], [2, 1, 1], [2, 1, 2], [2, 2, 1],
    ]  # fmt: skip
    assert frame["facts"].tolist() == [2, 1, 1, 1, 1]  # the tower of the first batch is superseded
    assert frame["facts_with_true_target"].tolist() == [2, 0, 1, 0, 1]
    listed = [cell for at in (0, 1) for row in found.cells if (cell := row[at]) is not None]
    assert cells(frame["efficacy"]) == [cell.efficacy for cell in listed]
    assert cells(frame["exact_match"]) == [cell.exact for cell in listed]
    assert frame["efficacy"].isna().tolist() == [False, True, False, True, False]
    largest = [max(weights.values()) for weights in found.weights]
    assert frame["max_weight_change"].tolist() == [largest[0]] * 2 + [largest[1]] * 3
    assert dtypes(frame) == dict.fromkeys(
        ["state", "edit", "batch", "facts", "facts_with_true_target"], "int64"
    ) | dict.fromkeys(["efficacy", "exact_match", "max_weight_change"], "float64")


def test_drift_has_a_row_for_each_measured_state(session: EditSession, place: Path) -> None:
    probe = place / "probe.txt"
    probe.write_text(prose(800, seed=7), encoding="utf-8")
    tracker = DriftTracker(session, str(probe))
    assert tracker.to_pandas()["state"].tolist() == [0]
    drift = tracker.measure(2, quiet())
    frame = tracker.to_pandas()
    assert frame["state"].tolist() == [0, 2]
    assert cells(frame["kl"]) == [0, drift.kl]
    assert cells(frame["perplexity_before"]) == [None, drift.perplexity_before]
    assert frame["perplexity_change"].tolist() == [0, drift.perplexity_change]
    assert frame["weight_change_0"].tolist() == [0, drift.weights[0]]
    assert frame["max_weight_change"].tolist() == [0, drift.largest_change]
    assert frame["band"].tolist() == ["ok", drift.band]
    kinds = dtypes(frame)
    assert (kinds.pop("state"), kinds.pop("neighbors")) == ("int64", "int64")
    assert set(kinds.values()) == {"float64"}
    assert "neighbors_changed" in kinds and "weight_change_1" in kinds
    alone = drift.to_pandas()
    assert list(alone) == list(frame)[1:]
    assert alone["kl"].tolist() == [drift.kl]


def test_hidden_drift_has_a_row_for_each_prompt(session: EditSession) -> None:
    prompts = ["The Louvre is in the city", "Berlin", "I know that Rome is old"]
    found = hidden_drift(session, 2, prompts, quiet())
    frame = found.to_pandas()
    assert frame["prompt"].tolist() == prompts
    assert frame["shift"].tolist() == list(found.moved)
    assert frame["shift"].mean() == pytest.approx(found.prompt_shift)
    assert frame[["pc1_before", "pc2_before"]].values.tolist() == [list(p) for p in found.before]
    assert frame[["pc1_after", "pc2_after"]].values.tolist() == [list(p) for p in found.after]
    assert (frame["state"] == 2).all() and (frame["layer"] == 1).all()
    numbers = ["shift", "pc1_before", "pc2_before", "pc1_after", "pc2_after"]
    assert dtypes(frame) == dict.fromkeys(["state", "layer"], "int64") | dict.fromkeys(
        numbers, "float64"
    )


def test_a_comparison_has_a_row_for_each_editor(place: Path) -> None:
    session = EditSession(
        tiny_model("llama"), hyperparameters=small(place, target_steps=2), contexts=CONTEXTS[:1]
    )
    methods = [
        small(place, editor=name, projection=True, previous_keys=False, target_steps=2)
        for name in ("memit", "alphaedit")
    ]
    found = compare_editors(session, FACTS[:3], methods, text=prose(300), monitor=quiet())
    frame = found.to_pandas()
    assert frame["method"].tolist() == [row[0] for row in found.rows()]
    assert cells(frame["editor"]) == [None, "memit", "alphaedit"]
    runs = found.runs
    measured = [found.before, *(run.after for run in runs)]
    assert frame["efficacy"].tolist() == [one.efficacy for one in measured]
    assert frame["exact_match"].tolist() == [one.exact for one in measured]
    assert frame["perplexity"].tolist() == [one.perplexity for one in measured]
    assert frame["generalization"].isna().all()
    assert cells(frame["written"]) == [None, *(run.result.written for run in runs)]
    assert cells(frame["seconds"]) == [None, *(run.seconds for run in runs)]
    assert frame["facts"].tolist() == [3, 3, 3]
    kinds = dtypes(frame)
    assert kinds.pop("facts") == "int64"
    assert len(kinds) == 7 and set(kinds.values()) == {"float64"}


def test_an_experiment_has_a_row_for_each_measurement(whole: ExperimentResult) -> None:
    frame = whole.to_pandas()
    points = whole.points
    assert frame["method"].tolist() == [point.method for point in points]
    assert frame["edits"].tolist() == [0, *(point.edits for point in points[1:])]
    for name in ("efficacy", "generalization", "efficacy_accuracy"):
        assert cells(frame[name]) == [point.values[name] for point in points]
        assert cells(frame[f"{name}_standard_error"]) == [point.errors[name] for point in points]
    assert cells(frame["kl"]) == [point.drift.get("kl") for point in points]
    assert cells(frame["weight_change_1"]) == [point.weights.get("1") for point in points]
    assert frame["perplexity"].isna().all()
    assert frame["diverged"].tolist() == [""] * len(points)
    kinds = dtypes(frame)
    assert kinds.pop("edits") == "int64"
    assert set(kinds.values()) == {"float64"}


def test_a_method_that_diverged_has_a_row_with_the_reason() -> None:
    point = Measurement(
        method="memit",
        edits=8,
        values={},
        errors={},
        retention={},
        perplexity=None,
        ability={},
        weights={},
        seconds={},
        broke="no number",
    )
    asked = Measurement(
        method="unedited",
        edits=8,
        values={"efficacy": 50.0},
        errors={"efficacy": None},
        retention={},
        perplexity=20.5,
        ability={"sst": {"accuracy": 80.0, "f1": 79.0}},
        weights={},
        seconds={"writing": 0.0, "measuring": 1.0},
    )
    frame = ExperimentResult(Path(), {}, [asked, point]).to_pandas()
    assert frame["edits"].tolist() == [0, 8]
    assert cells(frame["efficacy"]) == [50.0, None]
    assert cells(frame["sst_accuracy"]) == [80.0, None]
    assert cells(frame["perplexity"]) == [20.5, None]
    assert frame["diverged"].tolist() == ["", "no number"]
