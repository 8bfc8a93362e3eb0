"""The commands edit, editors and compare, with tiny models and the default model."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import Workplace
from examples import FACTS, quiet
from transformers import AutoModelForCausalLM, AutoTokenizer

from alphaedit_core.cli import main, output
from alphaedit_core.editing.configs import config_from_dict
from alphaedit_core.editing.editors.registry import editors
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.session.session import EditSession


class TestEditors:
    def test_the_list(self, place: Workplace) -> None:
        entries = place.run("editors", "--json").json["editors"]
        assert [entry["name"] for entry in entries] == list(editors())
        assert entries[0]["projection"] is True and entries[1]["projection"] is False
        out = place.run("editors").out
        for name in editors():
            assert f"\n{name} " in out

    def test_an_edit_by_another_editor_with_the_projection(self, place: Workplace) -> None:
        report = place.edit(place.facts, "--editor", "memit", "--projection", "--json").json
        assert report["hyperparameters"]["editor"] == report["editor"] == "memit"
        assert report["hyperparameters"]["projection"] is True
        ran = place.edit(place.facts, "--editor", "memit", "--no-projection", "--previous-keys")
        assert "memit -projection +previous-keys on" in ran.out

    def test_a_session_keeps_its_editor(self, place: Workplace) -> None:
        folder = place.folder / "s"
        place.edit(place.facts, "--session", folder, "--editor", "memit")
        again = place.facts_file("more.json", FACTS[0].changed(target="Berlin"))
        report = place.run("edit", again, "--session", folder, "--json").json
        assert report["editor"] == "memit"
        history = place.run("history", "--session", folder)
        assert history.out.count("memit") == 2
        edits = place.run("history", "--session", folder, "--json").json["edits"]
        assert {edit["method"] for edit in edits} == {report_method(report)}
        refused = place.run("edit", again, "--session", folder, "--editor", "alphaedit")
        assert refused.code == 2 and "its editor is memit, not alphaedit" in refused.err

    def test_compare(self, place: Workplace) -> None:
        command = ("compare", place.facts, "--model", place.model, "--config", place.config)
        text = place.folder / "text.txt"
        ran = place.run(*command, "--editors", "memit, memit+projection", "--perplexity", text)
        rows = [line.split()[0] for line in ran.out.splitlines()[2:]]
        assert (ran.code, rows) == (0, ["unedited", "memit", "memit"])
        report = place.run(*command, "--editors", "memit,alphaedit-projection", "--json").json
        methods = [run["method"] for run in report["runs"]]
        assert methods == [
            "memit -projection -previous-keys", "alphaedit -projection +previous-keys",
        ]  # fmt: skip
        assert report["before"]["efficacy"] is not None


def report_method(report: dict[str, Any]) -> str:
    return config_from_dict(report["hyperparameters"]).method


class TestEdit:
    def test_matches_the_library(self, place: Workplace) -> None:
        report = place.edit(place.facts, "--session", place.folder / "s", "--json").json

        session = EditSession(
            load_model(place.model, monitor=quiet()),
            hyperparameters=config_from_dict(json.loads(place.config.read_text())),
        )
        result = session.edit(FACTS, monitor=quiet())
        assert report["weights_digest"] == session.weights_digest()
        assert report["fingerprint"] == session.model.fingerprint
        assert (report["device"], report["dtype"]) == ("cpu", "float32")
        assert report["editor"] == "alphaedit"
        assert report["hyperparameters"] == session.hyperparameters.to_dict()
        for stored, outcome in zip(report["facts"], result.outcomes, strict=True):
            assert stored["fact"]["subject"] == outcome.fact.subject
            for state in ("before", "after"):
                response = getattr(outcome, state)
                assert stored[state]["completion"] == response.completion
                assert stored[state]["new"]["probability"] == response.new.probability
                assert stored[state]["new"]["exact"] == response.new.exact
        assert [write["layer"] for write in report["writes"][0]] == [0, 1]
        assert report["written"] == result.written
        assert {"load", "statistics", "null space", "before", "after"} <= set(report["seconds"])
        assert all(seconds >= 0 for seconds in report["seconds"].values())

        loaded = EditSession.load(place.folder / "s", monitor=quiet())
        assert loaded.weights_digest() == report["weights_digest"]
        assert report["session"] == str(place.folder / "s")

    def test_shows_before_and_after_and_the_saved_session(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--session", place.folder / "s", "--limit", 2)
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].split() == ["prompt", "before", "after", "P(new)", "P(true)"]
        assert lines[2].startswith("Eiffel Tower is in the city of ")
        assert lines[3].startswith("The old mechanics of Newton is named in ")
        assert "of 2 facts written" in ran.out
        assert f"session saved in {place.folder / 's'} (1 edit)" in ran.out

    def test_saves_nothing_without_an_option(self, place: Workplace) -> None:
        before = sorted(place.folder.rglob("*"))
        ran = place.edit(place.facts, "--limit", 1)
        assert ran.code == 0
        assert "edit not kept" in ran.out
        assert sorted(place.folder.rglob("*")) == before

    def test_batches_and_limit(self, place: Workplace) -> None:
        report = place.edit(place.facts, "--limit", 3, "--batch-size", 2, "--json").json
        assert [fact["batch"] for fact in report["facts"]] == [0, 0, 1]
        assert len(report["writes"]) == 2

    def test_set_wins_over_seed_and_both_over_the_file(self, place: Workplace) -> None:
        place.config.write_text(
            json.dumps(json.loads(place.config.read_text()) | {"seed": 1, "ridge": 2})
        )
        more = ("--limit", 1, "--json", "--seed", 3, "--set", "ridge=4", "--set", "kl_factor = 0")
        used = place.edit(place.facts, *more).json["hyperparameters"]
        assert (used["seed"], used["ridge"], used["kl_factor"], used["target_steps"]) == (
            3,
            4,
            0,
            4,
        )

    def test_layers_have_their_own_settings(self, place: Workplace) -> None:
        fields = json.loads(place.config.read_text())
        count = len(fields["layers"])
        fields["layer_lambda_factors"] = [2, *[1] * (count - 1)]
        place.config.write_text(json.dumps(fields))
        thresholds = ",".join(f"rank:{20 + n}" for n in range(count))
        more = ("--limit", 1, "--json", "--set", f"layer_thresholds={thresholds}")
        used = place.edit(place.facts, *more).json["hyperparameters"]
        assert used["layer_thresholds"] == thresholds.split(",")
        assert used["layer_lambda_factors"] == fields["layer_lambda_factors"]

    def test_the_source_names_the_changed_fields(self, place: Workplace) -> None:
        fields = json.loads(place.config.read_text())
        del fields["source"]
        place.config.write_text(json.dumps(fields))
        used = place.edit(place.facts, "--limit", 1, "--json").json["hyperparameters"]
        assert used["source"].startswith("derived from the shape (3 blocks, hidden 32)")
        assert "changed: " in used["source"]
        assert "threshold" in used["source"]

    def test_an_interrupt_leaves_nothing_behind(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--limit", 1)  # import everything and collect the statistics
        before = sorted(place.folder.rglob("*"))
        # A test run in the background inherits an ignored SIGINT.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            slow = ("--set", "target_steps=100000", "--set", "loss_stop=0")
            ran = place.edit(place.facts, "--session", session, *slow)
        finally:
            timer.cancel()
            timer.join()
            signal.signal(signal.SIGINT, previous)
        assert (ran.code, ran.err, ran.out) == (130, "alphaedit: interrupted\n", "")
        assert sorted(place.folder.rglob("*")) == before

    def test_a_warning_is_one_line(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--limit", 1, "--set", "tokens=100000")
        assert ran.code == 0
        [line] = ran.err.splitlines()
        assert line.startswith("alphaedit: warning: text ")
        assert "tokens" in line
        assert not logging.getLogger("alphaedit_core").handlers

    def test_no_progress_bar_without_a_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
        assert output.make_monitor()._show is None
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert output.make_monitor()._show is not None


def test_the_default_model_is_edited(
    default_model: EditableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, folder = tmp_path / "session", tmp_path / "model"
    more = ["--session", str(session), "--save-model", str(folder)]
    assert main(["edit", "examples", "--limit", "1", "--json", *more]) == 0
    report = json.loads(capsys.readouterr().out)
    [fact] = report["facts"]
    assert "Paris" in fact["before"]["completion"]
    assert "Rome" in fact["after"]["completion"]
    assert fact["after"]["new"]["exact"]
    assert not fact["before"]["new"]["exact"]

    prompt = "Eiffel Tower is located in the city of"
    assert main(["complete", prompt, "--session", str(session)]) == 0
    completion = capsys.readouterr().out.removesuffix("\n")
    assert completion.startswith(f"{prompt} Rome")

    # The exported folder gives the same completion without this library.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True) == completion

    # The model shared with other tests is unchanged.
    [plain] = generate_greedy(default_model, [prompt])
    assert "Paris" in plain
