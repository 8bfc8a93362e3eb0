"""Experiments that were stopped, killed or damaged go on where they were."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from examples import FACTS, quiet, small
from kept_experiments import MOMENTS, as_the_version_before_wrote_it, numbers
from killed_experiments import killed_experiment, run_here
from tiny import tiny_model

from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.errors import Canceled, CorruptFileError
from alphaedit_core.experiments.files import write_manifest
from alphaedit_core.experiments.folder import load_experiment, session_folder
from alphaedit_core.experiments.plan import ExperimentPlan
from alphaedit_core.experiments.results import ExperimentResult
from alphaedit_core.experiments.runner import run_experiment
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.progress import Monitor, Stage
from alphaedit_core.session.session import EditSession
from alphaedit_core.storage.temporary import temporary_name


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_after_a_kill_it_ends_with_the_same_numbers(
    share: float, whole: ExperimentResult, file: Path, place: Path
) -> None:
    moment = int(share * len(MOMENTS))
    folder = place / f"killed-{moment}"
    assert killed_experiment(file, folder, place, moment)
    before = load_experiment(folder).points if (folder / "experiment.json").exists() else []
    again = run_here(file, folder, place, quiet())
    assert numbers(again.points) == numbers(whole.points)
    assert numbers(again.points[: len(before)]) == numbers(before)
    assert numbers(load_experiment(folder).points) == numbers(whole.points)


def test_a_line_cut_off_by_a_kill_is_found_again(
    whole: ExperimentResult, file: Path, place: Path
) -> None:
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
    whole: ExperimentResult, file: Path, place: Path
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
        warning_text = f"line {number + 1} is damaged and is measured anew"
        assert any(warning_text in words for words in monitor.warnings)
        for one in numbers(whole.points):
            assert one in numbers(again.points)
        assert len(again.points) == len(whole.points)
        assert load_experiment(folder).points == again.points


def test_lines_of_another_place_or_experiment_are_noticed(
    whole: ExperimentResult, tmp_path: Path
) -> None:
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


def test_a_manifest_changed_anywhere_is_noticed(whole: ExperimentResult, tmp_path: Path) -> None:
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
    whole: ExperimentResult, file: Path, place: Path
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
    with pytest.raises(CorruptFileError, match="its edit 1 does not hold the records of batch 1"):
        run_here(file, folder, place, quiet())


def test_an_experiment_without_checksums_is_read_and_gets_them(
    whole: ExperimentResult, file: Path, place: Path
) -> None:
    folder = place / "unchecked"
    shutil.copytree(whole.folder, folder)
    as_the_version_before_wrote_it(folder)
    found = load_experiment(folder)
    assert not found.checked and found.points == whole.points
    assert "FactBatch without checksums" in repr(found)
    monitor = quiet()
    again = run_here(file, folder, place, monitor)
    assert any("an earlier version wrote no checksums" in words for words in monitor.warnings)
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
    whole: ExperimentResult, place: Path
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


def test_canceled_and_continued(
    whole: ExperimentResult, model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "canceled"
    done: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        if stage.name == "experiment":
            done.append(stage.done)

    with pytest.raises(Canceled):
        run_here(file, folder, place, Monitor(show, lambda: bool(done) and done[-1] >= 3))
    assert not load_experiment(folder).complete
    assert numbers(run_here(file, folder, place, quiet()).points) == numbers(whole.points)


def test_a_finished_experiment_is_not_run_again(
    whole: ExperimentResult, file: Path, place: Path
) -> None:
    written = (whole.folder / "points.jsonl").read_bytes()
    again = run_here(file, whole.folder, place, quiet())
    assert again.points == whole.points
    assert (whole.folder / "points.jsonl").read_bytes() == written


def test_an_experiment_of_a_version_that_knew_fewer_hyperparameters_goes_on(
    whole: ExperimentResult, file: Path, place: Path
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


def test_what_a_kill_left_of_a_manifest_does_not_count(
    model: EditableModel, file: Path, place: Path
) -> None:
    folder = place / "half"
    folder.mkdir()
    for name in (".0123456789ab.experiment.json", temporary_name("experiment.json")):
        (folder / name).write_text('{"format":')
    plan = ExperimentPlan((small(place),), edits=2, batch_size=2, metrics=("efficacy",))
    records = read_records(file, "counterfact")
    assert run_experiment(model, records, plan, folder, monitor=quiet()).complete
    assert not [*folder.glob(".*.json")]
