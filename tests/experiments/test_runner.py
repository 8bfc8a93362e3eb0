"""Sequential experiments: what they measure, that they go on where they were killed, the report."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path

import pytest
from examples import FACTS, quiet, small
from filelock import FileLock
from killed_experiments import killed_experiment, run_here
from tiny import prose, tiny_model

from alphaedit_core.data.datasets import Records, read_records
from alphaedit_core.data.records import Record
from alphaedit_core.data.reference_texts import References
from alphaedit_core.errors import (
    Cancelled,
    CorruptFileError,
    DivergedError,
    InputError,
    SessionError,
)
from alphaedit_core.evaluation.evaluate import evaluate
from alphaedit_core.experiments.files import write_manifest
from alphaedit_core.experiments.folder import load_experiment, session_folder
from alphaedit_core.experiments.paper_results import COLUMNS, published
from alphaedit_core.experiments.plan import Plan, Probes, batched
from alphaedit_core.experiments.report import experiment_html, save_report
from alphaedit_core.experiments.results import Findings, Point, paper_table, whole_table
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.inference.completions import complete
from alphaedit_core.inference.scoring import perplexity
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor, Stage
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.baseline import DRIFTS
from alphaedit_core.side_effects.drift import measure
from alphaedit_core.side_effects.hidden_states import hidden_drift, sentences_without
from alphaedit_core.storage.temporary import temporary_name

METRICS = ("efficacy", "generalisation", "efficacy_accuracy")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "complete", partial(complete, tokens=2))
        yield folder


@pytest.fixture(scope="module")
def model(place: Path) -> EditableModel:
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


#: Moments of the experiment's progress, as they are shown.
MOMENTS: list[str] = []


@pytest.fixture(scope="module")
def whole(file: Path, place: Path) -> Findings:
    """The experiment, run without a break."""

    def show(stage: Stage, *, closed: bool) -> None:
        MOMENTS.append(stage.name)

    return run_here(file, place / "whole", place, Monitor(show))


def numbers(points: list[Point]) -> list[dict[str, object]]:
    """Everything but the seconds."""
    return [{**vars(point), "seconds": None} for point in points]


# -- what is measured ------------------------------------------------------------------------------


def test_the_points_are_those_of_a_plain_loop(
    whole: Findings, model: EditableModel, file: Path, place: Path
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
                point = next(p for p in whole.of(name) if p.edits == number)
                for metric in METRICS:
                    assert point.values[metric] == pytest.approx(found.measured[metric].mean)
                    each = point.retention[metric]
                    assert each == pytest.approx(found.measured[metric].values)
                assert point.weights == {str(n): moved for n, moved in session.moved().items()}
                drift = measure(session, number, quiet(), place / "text.txt")
                assert point.drift["kl"] == pytest.approx(drift.kl)
                assert point.drift["disagreement"] == pytest.approx(100 * drift.disagreement)
                hidden = hidden_drift(session, number, prompts, quiet())
                assert point.drift["cosine"] == pytest.approx(hidden.cosine)
                for shift in ("mean_shift", "prompt_shift"):
                    assert point.drift[shift] == pytest.approx(100 * getattr(hidden, shift)) != 0
        session.close()


def test_what_is_left_to_the_end_is_measured_there_alone(
    whole: Findings, model: EditableModel, file: Path, place: Path
) -> None:
    records = read_records(file, "counterfact")
    plan = replace(whole.plan, methods=whole.plan.methods[:1], at_end=("generalisation",))
    found = run_experiment(model, records, plan, place / "late", monitor=quiet())
    [name] = plan.names()
    unedited, early, last = found.points
    assert list(early.values) == ["efficacy", "efficacy_accuracy"] == list(early.retention)
    for point, known in zip((unedited, last), (whole.points[0], whole.of(name)[-1]), strict=True):
        assert point.values == known.values and point.retention == known.retention
    headings, rows = whole_table(found)
    column = headings.index("generalisation")
    assert [row[column] == "" for row in rows] == [False, True, False]
    assert load_experiment(found.folder).plan == plan
    with pytest.raises(InputError, match='at_end: the metric "fluency" is not measured at all'):
        late = replace(plan, at_end=("fluency",))
        run_experiment(model, records, late, place / "never", monitor=quiet())
    assert not (place / "never").exists()


def test_everything_can_be_left_to_the_end(model: EditableModel, file: Path, place: Path) -> None:
    records = read_records(file, "counterfact")
    plan = Plan((small(place),), 2, 1, 1, ("efficacy",), ("efficacy",))
    found = run_experiment(model, records, plan, place / "all-late", monitor=quiet())
    unedited, early, last = found.points
    assert found.complete and early.edits == 1 and early.weights
    assert early.values == {} == early.retention
    assert list(last.values) == ["efficacy"] == list(unedited.values)


def test_what_is_compared_with_the_unedited_model_is_the_same_after_a_stop(
    model: EditableModel, file: Path, place: Path
) -> None:
    names = ("efficacy", "locality_acc", "efficacy_accuracy")
    records, plan = read_records(file, "counterfact"), Plan((small(place),), 2, 2, None, names)
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
    whole: Findings, model: EditableModel
) -> None:
    """So a stop between an edit and its measurement loses none."""
    for place, name in enumerate(whole.plan.names(), 1):
        session = EditSession.load(session_folder(whole.folder, place, name), model)
        spent = [sum(entry.result.seconds.values()) for entry in session.history]
        session.close()
        points = [point.seconds["writing"] for point in whole.of(name)]
        assert points == pytest.approx([spent[0] + spent[1], spent[2] + spent[3]])
        assert all(spent)


def test_the_unedited_model_is_asked_about_all_records(
    whole: Findings, model: EditableModel, file: Path
) -> None:
    found = evaluate(model, read_records(file, "counterfact").records, METRICS, monitor=quiet())
    point = whole.points[0]
    assert point.values == {name: found.measured[name].mean for name in METRICS}
    assert point.weights == {} == point.drift


def test_perplexity_and_the_edited_weights_are_of_the_same_state(
    model: EditableModel, file: Path, place: Path
) -> None:
    text = prose(900)
    plan = Plan((small(place),), 2, 2, metrics=("efficacy",))
    records = read_records(file, "counterfact")
    fingerprint = EditSession(model, hyperparameters=small(place)).weights_digest()
    found = run_experiment(model, records, plan, place / "read", Probes(text), quiet())
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
    plan = Plan((small(place),), 3, 3, None, ("efficacy",))
    found = run_experiment(model, again, plan, place / "twice", monitor=monitor)
    assert found.points[-1].edits == 2 and "1 more were about the same" in repr(found)
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
    plan = Plan(methods, 3, 1, 1, ("efficacy",))
    records, folder = read_records(file, "counterfact"), place / "broken"
    found = run_experiment(model, records, plan, folder, monitor=quiet())
    memit, alphaedit = plan.names()
    assert found.complete and found == load_experiment(folder)
    broken = found.broken(memit)
    assert broken is not None and (broken.edits, broken.broke) == (1, "layer 1: not finite")
    assert [p.edits for p in found.of(memit)] == [1]
    assert [p.edits for p in found.of(alphaedit)] == [1, 2, 3] and found.broken(alphaedit) is None
    assert f"{memit}, broke down after 1" in repr(found)
    assert "broke down after 1 edits: layer 1: not finite" in save_report(found).read_text("utf-8")
    again = run_experiment(model, records, plan, folder, monitor=quiet())
    assert again.points == found.points


def test_what_cannot_be_used_after_all_leaves_no_folder(
    model: EditableModel, file: Path, place: Path
) -> None:
    plan, records = (
        Plan((small(place),), 2, 2, None, ("efficacy",)),
        read_records(file, "counterfact"),
    )
    folder = place / "short"
    with pytest.raises(InputError, match="at least 256"):
        run_experiment(model, records, plan, folder, Probes("A short text."), quiet())
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(InputError, match="at least 256"):
        run_experiment(model, records, plan, folder, Probes("A short text."), quiet())
    assert [*folder.iterdir()] == []


def test_reference_texts_of_other_targets_are_others() -> None:
    one, other = (
        Probes(references=References({"": {first: ["a"], second: ["b"]}}))
        for first, second in (("Rome", "Paris"), ("Paris", "Rome"))
    )
    assert one.digest() == one.digest() != other.digest()


def test_one_process_at_a_time(
    whole: Findings, model: EditableModel, file: Path, place: Path
) -> None:
    with (
        FileLock(whole.folder / ".lock"),
        pytest.raises(InputError, match="is being run by another process"),
    ):
        run_here(file, whole.folder, place, quiet())
    assert run_here(file, whole.folder, place, quiet()).points == whole.points
    assert not (whole.folder / ".lock").exists()


# -- stopped and continued -------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_after_a_kill_it_ends_with_the_same_numbers(
    share: float, whole: Findings, file: Path, place: Path
) -> None:
    moment = int(share * len(MOMENTS))
    folder = place / f"killed-{moment}"
    assert killed_experiment(file, folder, place, moment)
    before = load_experiment(folder).points if (folder / "experiment.json").exists() else []
    again = run_here(file, folder, place, quiet())
    assert numbers(again.points) == numbers(whole.points)
    assert numbers(again.points[: len(before)]) == numbers(before)
    assert numbers(load_experiment(folder).points) == numbers(whole.points)


def test_a_line_cut_off_by_a_kill_is_found_again(whole: Findings, file: Path, place: Path) -> None:
    folder = place / "cut"
    run_here(file, folder, place, quiet())
    points = folder / "points.jsonl"
    points.write_bytes(points.read_bytes()[:-20])
    assert len(load_experiment(folder).points) == len(whole.points) - 1
    assert numbers(run_here(file, folder, place, quiet()).points) == numbers(whole.points)
    lines = points.read_text("utf-8").splitlines()
    lines[1] = lines[1][:-9]
    points.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(CorruptFileError, match="line 2 is damaged"):
        load_experiment(folder)


def test_a_number_changed_anywhere_is_noticed_and_measured_anew(
    whole: Findings, file: Path, place: Path
) -> None:
    """A digit of a line, changed alone, is refused by the line or means nothing."""
    points = whole.folder / "points.jsonl"
    lines = points.read_bytes().splitlines(keepends=True)
    folder = place / "changed"
    shutil.copytree(whole.folder, folder)
    digits = [
        (number, match.start())
        for number, line in enumerate(lines)
        for match in re.finditer(rb"\d", line)
    ]
    for number, at in digits[::7]:
        line = lines[number]
        other = line[:at] + bytes([48 + (line[at] - 47) % 10]) + line[at + 1 :]
        changed = [*lines[:number], other, *lines[number + 1 :]]
        (folder / "points.jsonl").write_bytes(b"".join(changed))
        try:
            found = load_experiment(folder)
        except CorruptFileError as error:
            assert f"points.jsonl: line {number + 1} is damaged" in str(error)
        else:  # beyond what a float holds
            assert found.points == whole.points
    for number in range(len(lines)):
        value = re.search(rb'"efficacy": ([\d.]+)', lines[number])
        assert value is not None
        shutil.copy(points, folder / "points.jsonl")
        changed = list(lines)
        changed[number] = lines[number].replace(value.group(1), b"99.5", 1)
        (folder / "points.jsonl").write_bytes(b"".join(changed))
        monitor = quiet()
        again = run_here(file, folder, place, monitor)
        said = f"line {number + 1} is damaged and is measured anew"
        assert any(said in words for words in monitor.warnings)
        for one in numbers(whole.points):
            assert one in numbers(again.points)
        assert len(again.points) == len(whole.points)
        assert load_experiment(folder).points == again.points


def test_lines_of_another_place_or_experiment_are_noticed(whole: Findings, tmp_path: Path) -> None:
    lines = (whole.folder / "points.jsonl").read_bytes().splitlines(keepends=True)
    for damaged, first in (
        (lines[1:], 1),
        ([lines[0], *lines[2:]], 2),
        ([lines[0], lines[0], *lines[1:]], 2),
        ([lines[0], lines[2], lines[1], *lines[3:]], 2),
    ):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        shutil.copy(whole.folder / "experiment.json", folder)
        (folder / "points.jsonl").write_bytes(b"".join(damaged))
        with pytest.raises(CorruptFileError, match=f"line {first} is damaged"):
            load_experiment(folder)
    folder = tmp_path / "of another"
    folder.mkdir()
    write_manifest(folder, {**whole.manifest, "made_with": {}})
    (folder / "points.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(CorruptFileError, match="line 1 is damaged"):
        load_experiment(folder)


def test_a_manifest_changed_anywhere_is_noticed(whole: Findings, tmp_path: Path) -> None:
    shutil.copytree(whole.folder, tmp_path / "kept")
    file = tmp_path / "kept" / "experiment.json"
    content = file.read_bytes()
    for place in range(0, len(content), 5):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            found = load_experiment(tmp_path / "kept")
        except CorruptFileError as error:
            assert str(file) in str(error) and "\n" not in str(error)
        else:  # white space between the fields means nothing
            assert found.manifest == whole.manifest


def test_a_session_of_another_method_or_of_other_records_is_refused(
    whole: Findings, file: Path, place: Path
) -> None:
    folder = place / "swapped"
    names = whole.plan.names()
    first, second = (session_folder(folder, n, name) for n, name in enumerate(names, 1))

    def begun() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole.folder, folder)
        lines = (folder / "points.jsonl").read_text("utf-8").splitlines(keepends=True)
        (folder / "points.jsonl").write_text(lines[0], "utf-8")

    begun()
    shutil.rmtree(first)
    shutil.copytree(second, first)
    with pytest.raises(CorruptFileError, match='its editor is "memit", not "alphaedit"'):
        run_here(file, folder, place, quiet())
    begun()
    shutil.rmtree(first)
    session = EditSession(tiny_model("llama"), hyperparameters=whole.plan.methods[0])
    session.edit(FACTS[:1], monitor=quiet())
    session.save(first)
    session.close()
    with pytest.raises(CorruptFileError, match="its edit 1 is not of the records of batch 1"):
        run_here(file, folder, place, quiet())


def as_the_version_before_wrote_it(folder: Path) -> None:
    """Take the checksums out of an experiment's files."""
    file = folder / "experiment.json"
    manifest = json.loads(file.read_text("utf-8")) | {"format": "alphaedit experiment 1"}
    del manifest["checksum"]
    file.write_text(json.dumps(manifest), encoding="utf-8")
    lines = (folder / "points.jsonl").read_text("utf-8").splitlines()
    plain = [json.loads(line) for line in lines]
    for point in plain:
        del point["checksum"]
    text = "".join(json.dumps(point) + "\n" for point in plain)
    (folder / "points.jsonl").write_text(text, encoding="utf-8")


def test_an_experiment_without_checksums_is_read_and_gets_them(
    whole: Findings, file: Path, place: Path
) -> None:
    folder = place / "unchecked"
    shutil.copytree(whole.folder, folder)
    as_the_version_before_wrote_it(folder)
    found = load_experiment(folder)
    assert not found.checked and found.points == whole.points
    assert "Kept without checksums" in repr(found)
    monitor = quiet()
    again = run_here(file, folder, place, monitor)
    assert any("an earlier version kept no checksums" in words for words in monitor.warnings)
    assert again.points == whole.points
    for name in ("points.jsonl", "experiment.json"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes()
    # A checksum that is taken away does not make an unchecked experiment of a checked one.
    lines = (folder / "points.jsonl").read_text("utf-8").splitlines(keepends=True)
    lines[0] = re.sub(', "checksum": "[0-9a-f]+"', "", lines[0])
    (folder / "points.jsonl").write_text("".join(lines), "utf-8")
    with pytest.raises(CorruptFileError, match="line 1 is damaged"):
        load_experiment(folder)


def test_what_rect_found_before_it_followed_the_released_order_has_its_new_name(
    whole: Findings, place: Path
) -> None:
    folder = place / "old-rect"
    shutil.copytree(whole.folder, folder)
    as_the_version_before_wrote_it(folder)
    for name in ("experiment.json", "points.jsonl"):
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(re.sub(r'"memit(?=[ "])', '"rect', text), "utf-8")
    found = load_experiment(folder)
    assert [hp["editor"] for hp in found.manifest["plan"]["methods"]] == [
        "alphaedit",
        "rect-by-layer",
    ]
    before = [point.method.replace("memit", "rect-by-layer") for point in whole.points]
    assert [point.method for point in found.points] == before
    assert any("rect-by-layer" in name for name in before)


def test_cancelled_and_continued(
    whole: Findings, model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "cancelled"
    done: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        if stage.name == "experiment":
            done.append(stage.done)

    with pytest.raises(Cancelled):
        run_here(file, folder, place, Monitor(show, lambda: bool(done) and done[-1] >= 3))
    assert not load_experiment(folder).complete
    assert numbers(run_here(file, folder, place, quiet()).points) == numbers(whole.points)


def test_a_finished_experiment_is_not_run_again(whole: Findings, file: Path, place: Path) -> None:
    written = (whole.folder / "points.jsonl").read_bytes()
    again = run_here(file, whole.folder, place, quiet())
    assert again.points == whole.points
    assert (whole.folder / "points.jsonl").read_bytes() == written


# -- refused ---------------------------------------------------------------------------------------


def test_another_plan_or_other_records_are_refused_by_name(
    whole: Findings, model: EditableModel, file: Path, place: Path
) -> None:
    records, plan = read_records(file, "counterfact"), whole.plan
    for changed, word in (
        (Plan(plan.methods, 4, 2, 2, METRICS), "batch_size"),
        (Plan(plan.methods, 4, 1, 1, METRICS), "evaluate_every"),
        (Plan(plan.methods[:1], 4, 1, 2, METRICS), "methods"),
    ):
        with pytest.raises(InputError, match=f"another {word} of its plan"):
            run_experiment(model, records, changed, whole.folder, monitor=quiet())
    shorter = Records(records.dataset, records.source, records.records[:3], [])
    with pytest.raises(InputError, match="another names of its records"):
        run_experiment(model, shorter, plan, whole.folder, monitor=quiet())
    drift = whole.manifest["probes"]["drift"]
    for probes, word in ((Probes(prose(900), drift=drift), "text"), (Probes(), "drift")):
        with pytest.raises(InputError, match=f"another {word} of its probes"):
            run_experiment(model, records, plan, whole.folder, probes, quiet())
    assert load_experiment(whole.folder).points == whole.points


def test_an_experiment_of_a_version_that_knew_fewer_hyperparameters_goes_on(
    whole: Findings, file: Path, place: Path
) -> None:
    folder = place / "older"
    shutil.copytree(whole.folder, folder)
    manifest = json.loads((folder / "experiment.json").read_text("utf-8"))
    for method in manifest["plan"]["methods"]:
        del method["layer_lambda_factors"], method["previous_keys_decay"]
    (folder / "experiment.json").write_text(json.dumps(manifest), encoding="utf-8")
    as_the_version_before_wrote_it(folder)
    lines = (folder / "points.jsonl").read_text("utf-8").splitlines(keepends=True)
    (folder / "points.jsonl").write_text("".join(lines[:-1]), encoding="utf-8")
    again = run_here(file, folder, place, quiet())
    assert numbers(again.points) == numbers(whole.points)


def test_a_folder_of_something_else_is_refused(
    model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "foreign"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    plan = Plan((small(place),), 2, 2, metrics=("efficacy",))
    with pytest.raises(InputError, match="exists and is none"):
        run_experiment(model, read_records(file, "counterfact"), plan, folder, monitor=quiet())
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="holds none"):
        load_experiment(folder)


def test_what_a_kill_left_of_a_manifest_does_not_count(
    model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "half"
    folder.mkdir()
    for name in (".0123456789ab.experiment.json", temporary_name("experiment.json")):
        (folder / name).write_text('{"format":')
    plan = Plan((small(place),), 2, 2, metrics=("efficacy",))
    records = read_records(file, "counterfact")
    assert run_experiment(model, records, plan, folder, monitor=quiet()).complete
    assert not [*folder.glob(".*.json")]


def test_a_damaged_file_is_named(whole: Findings, tmp_path: Path) -> None:
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
    digest, plan = session.weights_digest(), Plan((small(place),), 2, 2, metrics=("efficacy",))
    with pytest.raises(SessionError, match="1 edits of another session"):
        run_experiment(
            model, read_records(file, "counterfact"), plan, place / "held", None, quiet()
        )
    assert session.weights_digest() == digest and not (place / "held").exists()
    session.close()


def test_what_cannot_be_run_is_refused(place: Path) -> None:
    hp = small(place)
    with pytest.raises(InputError, match="no editor is named"):
        Plan(())
    with pytest.raises(InputError, match="named twice"):
        Plan((hp, hp))
    with pytest.raises(InputError, match="evaluate_every 30 is not a multiple of batch_size 20"):
        Plan((hp,), 100, 20, 30)
    with pytest.raises(InputError, match="edits 0 is not a whole number above 0"):
        Plan((hp,), 0)
    other = hp.replace(ridge=3.0, layer_lambda_factors="1,2")
    assert Plan((hp, other, hp.replace(editor="memit"))).names() == [
        f"{hp.method}, ridge 10, layer_lambda_factors none",
        f"{hp.method}, ridge 3, layer_lambda_factors 1,2",
        hp.replace(editor="memit").method,
    ]
    renamed = hp.replace(origin="elsewhere")
    assert Plan((hp, renamed)).names() == [f"{hp.method} (1)", f"{hp.method} (2)"]


# -- shown -----------------------------------------------------------------------------------------


def test_the_report_is_one_page_that_needs_no_network(whole: Findings) -> None:
    page = save_report(whole).read_text("utf-8")
    assert "default-src 'none'" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    for name in (*whole.plan.names(), *METRICS, "unedited"):
        assert name in page, name
    alts = re.findall('<img alt="(.*?)"', page)
    assert len(alts) == 2 and "efficacy" in alts[0]
    for point in whole.points[1:]:
        assert f"{point.values['efficacy']:.1f}" in page
        assert f"{point.drift['kl']:.3g}" in page
    assert "KL(before || after) of ordinary text" in alts[0]
    assert all(escape(words) in page for words in DRIFTS.values())
    assert "Frobenius norm of the change" in page
    assert "tokens 2 to 256" not in page and "weighted, as in" not in page  # neither was measured
    read = [replace(p, perplexity=30.0, ability={"sst2": {"accuracy": 60.0, "f1": 50.0}})
            for p in whole.points]  # fmt: skip
    more = experiment_html(Findings(whole.folder, whole.manifest, read))
    assert "tokens 2 to 256" in more and "weighted, as in" in more and "sst2, accuracy" in more


def test_what_was_measured_is_said_with_the_numbers(whole: Findings) -> None:
    assert repr(whole).startswith("counterfact, 4 records in batches of 1.\n")
    manifest = json.loads(json.dumps(dict(whole.manifest)))
    manifest["records"] |= {"dataset": "zsre", "options": {"target": "alt"}}
    manifest["plan"]["compat"] = "easyedit"
    other = Findings(whole.folder, manifest, whole.points[:2])
    first = repr(other).splitlines()[0]
    assert first.startswith("zsre, target=alt, 4 records") and "EasyEdit" in first
    assert first.endswith("Not complete yet.")


def test_no_metric_is_missing_from_the_table_because_another_is_the_papers(
    whole: Findings,
) -> None:
    headings, _ = paper_table(whole)
    assert headings == ("method", "edits", "efficacy", "generalisation", "efficacy_accuracy")
    columns = COLUMNS["counterfact"]
    full = [replace(p, values=dict.fromkeys((*METRICS, *columns), 1.0)) for p in whole.points]
    assert paper_table(Findings(whole.folder, whole.manifest, full))[0][2:] == columns


def test_the_published_rows_stand_beside_the_models_of_the_paper(whole: Findings) -> None:
    assert "as published" not in repr(whole)  # a tiny model is none of them
    manifest = json.loads(json.dumps(dict(whole.manifest)))
    manifest["model"]["preset"] = "GPT-J 6B"
    beside = Findings(whole.folder, manifest, whole.points)
    row = next(line for line in repr(beside).splitlines() if line.startswith("alphaedit, as pub"))
    assert row.split()[-3:] == ["2000", "99.75", "96.38"]  # and nothing of what the paper has not
    for model in ("Llama-3 8B", "GPT-J 6B", "GPT-2 XL"):
        for dataset, columns in COLUMNS.items():
            rows = published(model, dataset)
            assert len(rows) == 9 and {len(row) for row in rows.values()} == {len(columns)}
    assert published("SmolLM2-135M", "counterfact") == {} == published("GPT-J 6B", "mquake-cf")
