"""The workbench's page for experiments, without a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model

from alphaedit_core.errors import InputError
from alphaedit_core.experiments.folder import load_experiment
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.experiment.panel import ExperimentPanel
from alphaedit_widgets.state import State


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("experiment-panel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture(scope="module")
def file(place: Path) -> Path:
    """Three zsRE records."""
    records = [
        {
            "subject": fact.subject,
            "src": fact.text,
            "rephrase": f"What of {fact.subject}?",
            "alt": "Berlin",
            "answers": ["Rome"],
            "loc": "nq question: where is the old city",
            "loc_ans": "Paris",
        }
        for fact in FACTS[:3]
    ]
    path = place / "zsre.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


@pytest.fixture
def panel(place: Path, file: Path, tmp_path: Path) -> ExperimentPanel:
    session = EditSession(
        tiny_model("llama", max_position_embeddings=256),  # room for texts of 100 tokens
        hyperparameters=small(place, contexts=1, context_tokens=2, layers=(0,)),
        contexts=CONTEXTS[:1],
    )
    made = ExperimentPanel(State(session))
    made.dataset.value, made.path.value = "zsre", str(file)
    made.edits.value, made.batch_size.value, made.evaluate_every.value = 3, 1, 1
    made.editors.value = "rome, rome +projection"
    made.folder.value = str(tmp_path / "kept")
    return made


def test_it_runs_shows_and_leaves_the_session_as_it_was(
    panel: ExperimentPanel, tmp_path: Path
) -> None:
    panel.session.edit(FACTS[:1], monitor=quiet())
    digest = panel.session.weights_digest()
    text = tmp_path / "read.txt"
    text.write_text(prose(900), encoding="utf-8")
    panel.perplexity.value = str(text)
    job = panel.run(block=True)
    assert job.state == "done" and panel.result is not None and panel.result.complete
    assert panel.session.weights_digest() == digest
    assert [p.edits for p in panel.result.for_method("rome +projection -previous-keys")] == [
        1,
        2,
        3,
    ]
    shown = panel._shown.value
    for name in ("unedited", "rome -projection -previous-keys", "rewrite_acc", "perplexity"):
        assert name in shown, name
    assert "the new target&#x27;s tokens that are the argmax" in shown  # the metric's card
    assert shown.count("<img alt=") == 2
    assert Path(panel.folder.value, "report.html").is_file()
    static = panel.static_html()
    assert repr(panel).endswith(": complete)") and static.count("<img alt=") == 1
    # Where no kernel runs the picture has the columns of the table and perplexity, not everything.
    assert "rewrite_acc: " in static and "perplexity: " in static
    assert "mean of layers: " in shown and "mean of layers: " not in static


def test_what_was_canceled_goes_on(panel: ExperimentPanel) -> None:
    kept = Path(panel.folder.value)

    def cancel(_: object) -> None:
        if (kept / "points.jsonl").exists() and len(load_experiment(kept).points) == 2:
            panel.state.cancel()

    panel.state.observe(cancel, "job_updates")
    job = panel.run()
    assert job.wait(60) and job.state == "canceled"
    assert "run again to resume" in panel._status.value
    panel.state.unobserve(cancel, "job_updates")
    found = panel.load()
    assert not found.complete and "Not complete yet" in panel._shown.value
    assert len(found.points) < 7
    panel.run(block=True)
    assert panel.result is not None
    assert panel.result.complete and len(panel.result.points) == 7
    assert panel.result.points[: len(found.points)] == found.points


def test_what_cannot_be_run_is_refused_before_anything_starts(panel: ExperimentPanel) -> None:
    for field, value, words in (
        ("path", "/nowhere.json", "no such file"),
        ("editors", " , ", 'field "Editors" is empty'),
        ("editors", "rome, nobody", "nobody"),
        ("folder", " ", "Output folder"),
        ("choices", "target", "is not NAME=VALUE"),
        ("choices", "target=both", "both"),
        ("perplexity", "/nowhere.txt", "Text for perplexity"),
        ("drift", "/nowhere.txt", "nowhere.txt"),
        ("final_only", "fluency, none", 'the metric "fluency" is not measured'),
        ("ability", "/nowhere", "nowhere"),
        ("metrics", "efficiency", "efficiency"),
        ("references", "/nowhere.json", "nowhere.json"),
    ):
        widget = getattr(panel, field)
        before, widget.value = widget.value, value
        with pytest.raises(InputError, match=words):
            panel.run()
        widget.value = before
    panel.evaluate_every.value, panel.batch_size.value = 3, 2
    with pytest.raises(InputError, match="evaluate_every 3 is not a multiple of batch_size 2"):
        panel.run()
    assert panel.state.job is None and not Path(panel.folder.value).exists()


def test_metrics_definitions_and_reference_texts_can_be_chosen(
    panel: ExperimentPanel, tmp_path: Path
) -> None:
    panel.edits.value, panel.editors.value, panel.evaluate_every.value = 1, "rome", 0
    panel.metrics.value = "rewrite_acc, consistency"
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps({"Rome": ["Rome is the capital of Italy"]}), encoding="utf-8")
    panel.references.value = str(texts)
    panel.run(block=True)
    assert panel.result is not None
    assert panel.result.metrics == ["rewrite_acc", "consistency"]
    assert panel.result.manifest["probes"]["references"] is not None
    assert panel._shown.value.count("rewrite_acc") > 1  # in the table, though it is not the paper's

    panel.metrics.value, panel.compat.value = "", "easyedit"
    panel.folder.value = str(tmp_path / "easyedit")
    panel.run(block=True)
    assert panel.result.plan.compat == "easyedit" and "locality_acc" in panel.result.metrics
    assert "neighborhood_acc" not in panel.result.metrics
    assert "target=true" in panel._shown.value and "EasyEdit" in panel._shown.value
    assert "numbers are of target=alt" in panel.state.notice


def test_a_metric_can_be_left_to_the_end(panel: ExperimentPanel) -> None:
    panel.edits.value, panel.editors.value = 2, "rome"
    panel.final_only.value = " neighborhood_acc ,"
    panel.run(block=True)
    assert panel.result is not None
    _, early, last = panel.result.points
    assert "neighborhood_acc" in last.values and "neighborhood_acc" not in early.values


@pytest.mark.parametrize(("asked", "measured"), [("", True), ("none", False)])
def test_drift_is_measured_unless_it_is_not_wanted(
    panel: ExperimentPanel, asked: str, measured: bool, place: Path
) -> None:
    panel.edits.value, panel.editors.value, panel.drift.value = 1, "rome", asked
    panel.run(block=True)
    assert panel.result is not None
    drift = panel.result.manifest["probes"]["drift"]
    assert drift == (str(place / "text.txt") if measured else None)
    assert bool(panel.result.points[-1].drift) is measured


def test_the_options_of_the_data_set_are_kept(panel: ExperimentPanel) -> None:
    assert "target=alt" in panel.choices.placeholder
    panel.choices.value, panel.edits.value, panel.editors.value = "target=alt", 1, "rome"
    panel.run(block=True)
    assert panel.result is not None
    assert panel.result.manifest["records"]["options"] == {"target": "alt"}


def test_a_refusal_is_said_on_the_screen(panel: ExperimentPanel) -> None:
    panel.path.value = "/nowhere.json"
    panel.run_button.click()
    assert "no such file" in panel.state.notice
    panel.open_button.click()
    assert "holds none" in panel.state.notice
    assert repr(panel) == "ExperimentPanel(zsre: nothing run yet)"
