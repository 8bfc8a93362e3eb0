"""Sequential experiments: what is measured, of which state, and when."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from examples import FACTS, quiet, small
from filelock import FileLock
from kept_experiments import METRICS, numbers
from killed_experiments import run_here
from tiny import prose

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.data.records import Record
from alphaedit_core.data.reference_texts import References
from alphaedit_core.errors import DivergedError, InputError
from alphaedit_core.evaluation.evaluate import evaluate
from alphaedit_core.experiments.folder import load_experiment, session_folder
from alphaedit_core.experiments.plan import ExperimentPlan, ExtraMeasurements, batched
from alphaedit_core.experiments.report import save_report
from alphaedit_core.experiments.results import ExperimentResult, whole_table
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.inference.scoring import perplexity
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.drift import measure
from alphaedit_core.side_effects.hidden_states import hidden_drift, sentences_without


def test_the_points_are_those_of_a_plain_loop(
    whole: ExperimentResult, model: EditableModel, file: Path, place: Path
) -> None:
    records = read_records(file, "counterfact").records
    assert [(p.method, p.edits) for p in whole.points] == [
        ("unedited", 4),
        *(("alphaedit +projection +previous-keys", n) for n in (2, 4)),
        *(("memit +projection +previous-keys", n) for n in (2, 4)),
    ]
    assert whole.complete
    # Of no subject that is edited by the end: the same prompts after every batch.
    subjects = [record.facts[0].subject for record in records]
    prompts = sentences_without(subjects, model, place / "text.txt")
    for hp, name in zip(whole.plan.methods, whole.plan.names(), strict=True):
        session = EditSession(model, hyperparameters=hp)
        for number, record in enumerate(records, 1):
            session.edit(record.facts, monitor=quiet())
            if number % 2 == 0:
                found = evaluate(model, records[:number], METRICS, monitor=quiet())
                point = next(p for p in whole.for_method(name) if p.edits == number)
                for metric in METRICS:
                    assert point.values[metric] == pytest.approx(found.measured[metric].mean)
                    each = point.retention[metric]
                    assert each == pytest.approx(found.measured[metric].values)
                assert point.weights == {
                    str(n): moved for n, moved in session.relative_weight_change().items()
                }
                drift = measure(session, number, quiet(), place / "text.txt")
                assert point.drift["kl"] == pytest.approx(drift.kl)
                assert point.drift["disagreement"] == pytest.approx(100 * drift.disagreement)
                hidden = hidden_drift(session, number, prompts, quiet())
                assert point.drift["cosine"] == pytest.approx(hidden.cosine)
                for shift in ("mean_shift", "prompt_shift"):
                    assert point.drift[shift] == pytest.approx(100 * getattr(hidden, shift)) != 0
        session.close()


def test_what_is_left_to_the_end_is_measured_there_alone(
    whole: ExperimentResult, model: EditableModel, file: Path, place: Path
) -> None:
    records = read_records(file, "counterfact")
    plan = replace(whole.plan, methods=whole.plan.methods[:1], final_only=("generalization",))
    found = run_experiment(model, records, plan, place / "late", monitor=quiet())
    [name] = plan.names()
    unedited, early, last = found.points
    assert list(early.values) == ["efficacy", "efficacy_accuracy"] == list(early.retention)
    for point, known in zip(
        (unedited, last), (whole.points[0], whole.for_method(name)[-1]), strict=True
    ):
        assert point.values == known.values and point.retention == known.retention
    headings, rows = whole_table(found)
    column = headings.index("generalization")
    assert [row[column] == "" for row in rows] == [False, True, False]
    assert load_experiment(found.folder).plan == plan
    late = replace(plan, final_only=("fluency",))
    with pytest.raises(InputError, match='final_only: the metric "fluency" is not measured'):
        run_experiment(model, records, late, place / "never", monitor=quiet())
    assert not (place / "never").exists()


def test_everything_can_be_left_to_the_end(model: EditableModel, file: Path, place: Path) -> None:
    records = read_records(file, "counterfact")
    plan = ExperimentPlan(
        (small(place),),
        edits=2,
        batch_size=1,
        evaluate_every=1,
        metrics=("efficacy",),
        final_only=("efficacy",),
    )
    found = run_experiment(model, records, plan, place / "all-late", monitor=quiet())
    unedited, early, last = found.points
    assert found.complete and early.edits == 1 and early.weights
    assert early.values == {} == early.retention
    assert list(last.values) == ["efficacy"] == list(unedited.values)


def test_what_is_compared_with_the_unedited_model_is_the_same_after_a_stop(
    model: EditableModel, file: Path, place: Path
) -> None:
    names = ("efficacy", "locality_acc", "efficacy_accuracy")
    records, plan = (
        read_records(file, "counterfact"),
        ExperimentPlan((small(place),), edits=2, batch_size=2, evaluate_every=None, metrics=names),
    )
    whole = run_experiment(model, records, plan, place / "compared", monitor=quiet())
    kept = place / "compared-later"
    kept.mkdir()
    shutil.copy(whole.folder / "experiment.json", kept)
    [unedited, _] = (whole.folder / "points.jsonl").read_text("utf-8").splitlines(keepends=True)
    (kept / "points.jsonl").write_text(unedited, "utf-8")
    later = run_experiment(model, records, plan, kept, monitor=quiet())
    assert numbers(later.points) == numbers(whole.points)
    assert later.points[-1].values["locality_acc"] is not None


def test_the_seconds_of_writing_are_those_that_the_session_keeps(
    whole: ExperimentResult, model: EditableModel
) -> None:
    """So a stop between an edit and its measurement loses none."""
    for place, name in enumerate(whole.plan.names(), 1):
        session = EditSession.load(session_folder(whole.folder, place, name), model)
        spent = [sum(entry.result.seconds.values()) for entry in session.history]
        session.close()
        points = [point.seconds["writing"] for point in whole.for_method(name)]
        assert points == pytest.approx([spent[0] + spent[1], spent[2] + spent[3]])
        assert all(spent)


def test_the_unedited_model_is_asked_about_all_records(
    whole: ExperimentResult, model: EditableModel, file: Path
) -> None:
    found = evaluate(model, read_records(file, "counterfact").records, METRICS, monitor=quiet())
    point = whole.points[0]
    assert point.values == {name: found.measured[name].mean for name in METRICS}
    assert point.weights == {} == point.drift


def test_perplexity_and_the_edited_weights_are_of_the_same_state(
    model: EditableModel, file: Path, place: Path
) -> None:
    text = prose(900)
    plan = ExperimentPlan((small(place),), edits=2, batch_size=2, metrics=("efficacy",))
    records = read_records(file, "counterfact")
    fingerprint = EditSession(model, hyperparameters=small(place)).weights_digest()
    found = run_experiment(
        model, records, plan, place / "read", ExtraMeasurements(text=text), quiet()
    )
    session = EditSession(model, hyperparameters=small(place))
    assert session.weights_digest() == fingerprint  # unedited again
    assert found.points[0].perplexity == pytest.approx(perplexity(model, text))
    session.edit([fact for record in records.records[:2] for fact in record.facts], monitor=quiet())
    assert found.points[1].perplexity == pytest.approx(perplexity(model, text))
    assert found.points[1].perplexity != found.points[0].perplexity
    session.close()


def test_of_two_records_about_the_same_thing_in_a_batch_the_first_is_written(
    model: EditableModel, file: Path, place: Path
) -> None:
    records = read_records(file, "counterfact").records
    batches, left_out = batched([records[0], records[1], records[0], records[0]], 3)
    assert batches == [records[:2], [records[0]]]
    assert left_out == [records[0]]
    again, monitor = read_records(file, "counterfact"), Monitor(None)
    again.records[:] = [records[0], records[0], records[1]]
    plan = ExperimentPlan(
        (small(place),), edits=3, batch_size=3, evaluate_every=None, metrics=("efficacy",)
    )
    found = run_experiment(model, again, plan, place / "twice", monitor=monitor)
    assert found.points[-1].edits == 2 and "1 more duplicate" in repr(found)
    assert "1 of 3 records are left out" in " ".join(monitor.warnings)


def test_records_that_agree_stay_and_those_that_contradict_do_not() -> None:
    first, second, third = FACTS[:3]
    other = second.changed(target="Nowhere")
    records = [
        Record("mine", str(number), facts)
        for number, facts in enumerate(
            [(first, second), (second, third), (other,), (second,), (third, other), (first, other)]
        )
    ]
    batches, left_out = batched(records, 6)
    assert batches == [records[:2]], "the second adds a fact and agrees on the other"
    assert left_out == records[2:]
    assert batched([records[2], Record("mine", "x", (second, other))], 1) == (
        [[records[2]]], [Record("mine", "x", (second, other))],
    ), "no batch is empty"  # fmt: skip


def test_a_method_that_breaks_down_does_not_end_the_others(
    model: EditableModel, file: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit = EditSession.edit

    def breaking(self: EditSession, *given: object, **named: object) -> object:
        if self.hyperparameters.editor == "memit" and self.applied == 1:
            raise DivergedError("layer 1: not finite")
        return edit(self, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(EditSession, "edit", breaking)
    methods = tuple(small(place, editor=name) for name in ("memit", "alphaedit"))
    plan = ExperimentPlan(methods, edits=3, batch_size=1, evaluate_every=1, metrics=("efficacy",))
    records, folder = read_records(file, "counterfact"), place / "broken"
    found = run_experiment(model, records, plan, folder, monitor=quiet())
    memit, alphaedit = plan.names()
    assert found.complete and found == load_experiment(folder)
    broken = found.diverged_at(memit)
    assert broken is not None and (broken.edits, broken.broke) == (1, "layer 1: not finite")
    assert [p.edits for p in found.for_method(memit)] == [1]
    assert [p.edits for p in found.for_method(alphaedit)] == [1, 2, 3] and found.diverged_at(
        alphaedit
    ) is None
    assert f"{memit}, broke down after 1" in repr(found)
    assert "broke down after 1 edits: layer 1: not finite" in save_report(found).read_text("utf-8")
    again = run_experiment(model, records, plan, folder, monitor=quiet())
    assert again.points == found.points


def test_what_cannot_be_used_after_all_leaves_no_folder(
    model: EditableModel, file: Path, place: Path
) -> None:
    plan, records = (
        ExperimentPlan(
            (small(place),), edits=2, batch_size=2, evaluate_every=None, metrics=("efficacy",)
        ),
        read_records(file, "counterfact"),
    )
    folder = place / "short"
    with pytest.raises(InputError, match="at least 256"):
        run_experiment(
            model, records, plan, folder, ExtraMeasurements(text="A short text."), quiet()
        )
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(InputError, match="at least 256"):
        run_experiment(
            model, records, plan, folder, ExtraMeasurements(text="A short text."), quiet()
        )
    assert [*folder.iterdir()] == []


def test_reference_texts_of_other_targets_are_others() -> None:
    one, other = (
        ExtraMeasurements(references=References({"": {first: ["a"], second: ["b"]}}))
        for first, second in (("Rome", "Paris"), ("Paris", "Rome"))
    )
    assert one.digest() == one.digest() != other.digest()


def test_one_process_at_a_time(
    whole: ExperimentResult, model: EditableModel, file: Path, place: Path
) -> None:
    with (
        FileLock(whole.folder / ".lock"),
        pytest.raises(InputError, match="is being run by another process"),
    ):
        run_here(file, whole.folder, place, quiet())
    assert run_here(file, whole.folder, place, quiet()).points == whole.points
    assert not (whole.folder / ".lock").exists()
