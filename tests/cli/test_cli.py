"""The command ``alphaedit``: every subcommand with real models, tiny ones and the default one."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import Workplace
from examples import FACTS, quiet
from transformers import AutoModelForCausalLM, AutoTokenizer

from alphaedit_core import __version__
from alphaedit_core.cli import main, output
from alphaedit_core.editing.editors import editors
from alphaedit_core.editing.hyperparameters import HyperParameters
from alphaedit_core.inference.completions import complete
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import load_model
from alphaedit_core.session.session import EditSession

COMMANDS = (
    "edit",
    "editors",
    "compare",
    "ability",
    "retention",
    "datasets",
    "experiment",
    "evaluate",
    "metrics",
    "statistics",
    "spectrum",
    "complete",
    "history",
    "undo",
    "redo",
    "models",
    "fetch",
)


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """A tiny model, with a cache of its own."""
    return Workplace(tmp_path / "place", capsys)


class TestHelp:
    def test_every_help_comes_without_what_is_slow_to_import(self) -> None:
        script = (
            "import sys\n"
            "from alphaedit_core.cli import main\n"
            f"for command in {COMMANDS!r}:\n"
            "    assert main([command, '--help']) == 0\n"
            "slow = {'torch', 'transformers', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
            "assert not slow, slow\n"
        )
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "")
        for command in COMMANDS:
            assert f"usage: alphaedit {command}" in ran.stdout

    def test_the_list_names_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--help"]) == 0
        out = capsys.readouterr().out
        assert all(f"\n    {command}" in out for command in COMMANDS)

    def test_version_of_the_module_run_as_a_program(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-m", "alphaedit_core", "--version"], capture_output=True, text=True
        )
        assert (ran.returncode, ran.stdout) == (0, f"alphaedit {__version__}\n")


class TestEditors:
    def test_the_list(self, place: Workplace) -> None:
        listed = place.run("editors", "--json").json["editors"]
        assert [one["name"] for one in listed] == list(editors())
        assert listed[0]["projection"] is True and listed[1]["projection"] is False
        out = place.run("editors").out
        for name in editors():
            assert f"\n{name} " in out

    def test_an_edit_by_another_editor_with_the_projection(self, place: Workplace) -> None:
        report = place.edit(place.facts, "--editor", "memit", "--projection", "--json").json
        assert report["hyperparameters"]["editor"] == report["editor"] == "memit"
        assert report["hyperparameters"]["projection"] is True
        words = place.edit(place.facts, "--editor", "memit", "--no-projection", "--previous-keys")
        assert "memit -projection +previous-keys on" in words.out

    def test_a_session_keeps_its_editor(self, place: Workplace) -> None:
        folder = place.folder / "s"
        place.edit(place.facts, "--session", folder, "--editor", "memit")
        again = place.facts_file("more.json", FACTS[0].changed(target="Berlin"))
        report = place.run("edit", again, "--session", folder, "--json").json
        assert report["editor"] == "memit"
        told = place.run("history", "--session", folder)
        assert told.out.count("memit") == 2
        edits = place.run("history", "--session", folder, "--json").json["edits"]
        assert {edit["method"] for edit in edits} == {report_method(report)}
        refused = place.run("edit", again, "--session", folder, "--editor", "alphaedit")
        assert refused.code == 2 and "its editor is memit, not alphaedit" in refused.err

    def test_several_at_once(self, place: Workplace) -> None:
        given = ("compare", place.facts, "--model", place.model, "--config", place.config)
        text = place.folder / "text.txt"
        ran = place.run(*given, "--editors", "memit, memit+projection", "--perplexity", text)
        rows = [line.split()[0] for line in ran.out.splitlines()[2:]]
        assert (ran.code, rows) == (0, ["unedited", "memit", "memit"])
        report = place.run(*given, "--editors", "memit,alphaedit-projection", "--json").json
        methods = [rival["method"] for rival in report["rivals"]]
        assert methods == [
            "memit -projection -previous-keys", "alphaedit -projection +previous-keys",
        ]  # fmt: skip
        assert report["before"]["efficacy"] is not None


def report_method(report: dict[str, Any]) -> str:
    return HyperParameters.from_dict(report["hyperparameters"]).method


class TestEdit:
    def test_does_what_the_library_does(self, place: Workplace) -> None:
        report = place.edit(place.facts, "--session", place.folder / "s", "--json").json

        session = EditSession(
            load_model(place.model, monitor=quiet()),
            hyperparameters=HyperParameters.from_dict(json.loads(place.config.read_text())),
        )
        result = session.edit(FACTS, monitor=quiet())
        assert report["weights_digest"] == session.weights_digest()
        assert report["fingerprint"] == session.model.fingerprint
        assert (report["device"], report["dtype"]) == ("cpu", "float32")
        assert report["editor"] == "alphaedit"
        assert report["hyperparameters"] == session.hyperparameters.to_dict()
        for told, outcome in zip(report["facts"], result.outcomes, strict=True):
            assert told["fact"]["subject"] == outcome.fact.subject
            for when in ("before", "after"):
                seen = getattr(outcome, when)
                assert told[when]["completion"] == seen.completion
                assert told[when]["new"]["probability"] == seen.new.probability
                assert told[when]["new"]["exact"] == seen.new.exact
        assert [write["layer"] for write in report["writes"][0]] == [0, 1]
        assert report["written"] == result.written
        assert {"load", "statistics", "null space", "before", "after"} <= set(report["seconds"])
        assert all(spent >= 0 for spent in report["seconds"].values())

        loaded = EditSession.load(place.folder / "s", monitor=quiet())
        assert loaded.weights_digest() == report["weights_digest"]
        assert report["session"] == str(place.folder / "s")

    def test_shows_before_and_after_and_what_was_kept(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--session", place.folder / "s", "--limit", 2)
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].split() == ["prompt", "before", "after", "P(new)", "P(true)"]
        assert lines[2].startswith("Eiffel Tower is in the city of ")
        assert lines[3].startswith("The old mechanics of Newton is named in ")
        assert "of 2 facts written" in ran.out
        assert f"session saved in {place.folder / 's'} (1 edit)" in ran.out

    def test_keeps_nothing_that_was_not_asked_for(self, place: Workplace) -> None:
        before = sorted(place.folder.rglob("*"))
        ran = place.edit(place.facts, "--limit", 1)
        assert ran.code == 0
        assert "nothing kept" in ran.out
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
        assert (used["seed"], used["ridge"], used["kl_factor"], used["steps"]) == (3, 4, 0, 4)

    def test_every_layer_can_be_set_by_itself(self, place: Workplace) -> None:
        fields = json.loads(place.config.read_text())
        count = len(fields["layers"])
        fields["layer_lambda_factors"] = [2, *[1] * (count - 1)]
        place.config.write_text(json.dumps(fields))
        thresholds = ",".join(f"rank:{20 + n}" for n in range(count))
        more = ("--limit", 1, "--json", "--set", f"layer_thresholds={thresholds}")
        used = place.edit(place.facts, *more).json["hyperparameters"]
        assert used["layer_thresholds"] == thresholds.split(",")
        assert used["layer_lambda_factors"] == fields["layer_lambda_factors"]

    def test_the_origin_says_what_was_changed(self, place: Workplace) -> None:
        fields = json.loads(place.config.read_text())
        del fields["origin"]
        place.config.write_text(json.dumps(fields))
        used = place.edit(place.facts, "--limit", 1, "--json").json["hyperparameters"]
        assert used["origin"].startswith("derived from the shape (3 blocks, hidden 32)")
        assert "changed: " in used["origin"]
        assert "threshold" in used["origin"]

    def test_an_interrupt_leaves_nothing_behind(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--limit", 1)  # all is imported, all statistics are there
        before = sorted(place.folder.rglob("*"))
        # Whoever started the tests in the background made this process deaf to the signal.
        was = signal.signal(signal.SIGINT, signal.default_int_handler)
        timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        try:
            long = ("--set", "steps=100000", "--set", "loss_stop=0")
            ran = place.edit(place.facts, "--session", session, *long)
        finally:
            timer.cancel()
            timer.join()
            signal.signal(signal.SIGINT, was)
        assert (ran.code, ran.err, ran.out) == (130, "alphaedit: interrupted\n", "")
        assert sorted(place.folder.rglob("*")) == before

    def test_a_warning_is_one_line(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--limit", 1, "--set", "tokens=100000")
        assert ran.code == 0
        [line] = ran.err.splitlines()
        assert line.startswith("alphaedit: warning: text ")
        assert "tokens" in line
        assert not logging.getLogger("alphaedit_core").handlers

    def test_no_bar_where_nobody_watches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
        assert output.reporting()._show is None
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert output.reporting()._show is not None


class TestSessions:
    def test_edit_b_taken_back_leaves_no_trace_in_c(self, place: Workplace) -> None:
        a, b, c = (place.facts_file(f"{i}.json", FACTS[i]) for i in range(3))
        s, t = place.folder / "s", place.folder / "t"
        for facts in (a, b):
            assert place.edit(facts, "--session", s).code == 0
        undone = place.run("undo", "--session", s)
        assert (undone.code, undone.err) == (0, "")
        assert undone.out == (
            f"undone: {FACTS[1].text} → {FACTS[1].target}; 1 of 2 edits applied\n"
        )
        # Continued without being told the model and its settings again.
        first = place.run("edit", c, "--session", s, "--json").json
        place.edit(a, "--session", t)
        second = place.edit(c, "--session", t, "--json").json
        assert first["weights_digest"] == second["weights_digest"]
        assert first["edits"] == second["edits"] == 2

    def test_an_edit_says_what_it_replaced_unless_both_are_kept(self, place: Workplace) -> None:
        other = FACTS[0].changed(target="Berlin")
        first, second = (place.facts_file(f"r{i}.json", f) for i, f in enumerate((FACTS[0], other)))
        session = place.folder / "corrected"
        assert "replaced:" not in place.edit(first, "--session", session).out
        said = f"“{other.text} Berlin” replaces “{other.text} {FACTS[0].target}” of edit 1"
        assert f"replaced: {said}" in place.run("edit", second, "--session", session).out
        place.run("undo", "--session", session)
        asked = ("edit", second, "--session", session, "--keep-both", "--json")
        kept = place.run(*asked).json
        assert kept["superseded"] == []
        assert kept["facts"][0]["fact"]["replaces"] == "nothing"
        place.run("undo", "--session", session)
        [one] = place.run(*asked[:-2], "--json").json["superseded"]
        assert one["edit"] == 1 and one["by"] == other.to_dict()

    def test_undo_and_redo_change_what_the_session_says(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session, "--set", "steps=25")
        prompt = FACTS[0].text
        say = ("complete", prompt, "--tokens", 8, "--json")
        plain = place.run(*say, "--model", place.model).json
        edited = place.run(*say, "--session", session).json
        assert (plain["edits"], edited["edits"]) == (0, 1)
        assert plain["completion"] != edited["completion"]

        assert place.run("undo", "--session", session, "--json").json["applied"] == 0
        undone = place.run(*say, "--session", session).json
        assert undone["completion"] == plain["completion"]
        assert place.run("redo", "--session", session).out.startswith("applied again: ")
        assert place.run(*say, "--session", session).json["completion"] == edited["completion"]

    def test_undo_and_redo_do_not_need_the_model(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session)
        place.model.rename(place.folder / "elsewhere")
        for command in ("undo", "redo", "history"):
            assert place.run(command, "--session", session).code == 0
        assert place.run("complete", "Rome", "--session", session).code == 2
        moved = place.folder / "elsewhere"
        assert place.run("complete", "Rome", "--session", session, "--model", moved).code == 0

    def test_history(self, place: Workplace) -> None:
        session = place.folder / "s"
        place.edit(place.facts, "--session", session)
        place.edit(place.facts_file("one.json", FACTS[0]), "--session", session)
        place.run("undo", "--session", session)
        shown = place.run("history", "--session", session).out.splitlines()[2:]
        assert [line.split()[:2] for line in shown[:2]] == [["undone", "2"], ["current", "1"]]
        told = place.run("history", "--session", session, "--json").json
        assert told["model"] == str(place.model)
        assert [edit["applied"] for edit in told["edits"]] == [True, False]
        assert [len(edit["facts"]) for edit in told["edits"]] == [4, 1]

    def test_a_session_is_found_from_another_folder(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(place.folder)
        own = ("--config", place.config, "--set", "text=text.txt", "--session", "s")
        assert place.run("edit", place.facts, "--model", "tiny", *own).code == 0
        monkeypatch.chdir(tmp_path)
        assert place.run("edit", place.facts, "--session", place.folder / "s").code == 0


class TestStatistics:
    def test_collected_once_then_from_the_cache(self, place: Workplace) -> None:
        text = place.folder / "text.txt"
        ask = ("statistics", "--model", place.model, "--text", text, "--tokens", 1024, "--json")
        first, second = place.run(*ask).json, place.run(*ask).json
        assert (first["cached"], second["cached"]) == (False, True)
        assert first["layers"] == second["layers"]
        assert [layer["layer"] for layer in first["layers"]] == [0, 1]
        assert all(layer["d_in"] == 48 and layer["trace"] > 0 for layer in first["layers"])
        assert {layer["tokens"] for layer in first["layers"]} == {1024}

    def test_export_and_import(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = place.folder / "shared.safetensors"
        ask = ("statistics", "--model", place.model, "--json")
        text = ("--text", place.folder / "text.txt", "--tokens", 1024, "--layers", "1-2")
        made = place.run(*ask, *text, "--export", file).json
        assert place.run(*ask, *text, "--export", file).json["layers"] == made["layers"]
        monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "another"))
        assert place.run(*ask, "--import", file).json["layers"] == made["layers"]
        again = place.run(*ask, *text).json
        assert again["cached"]
        assert again["layers"] == made["layers"]

    def test_table(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024, "--layers", "0,2")
        ran = place.run("statistics", "--model", place.model, *text)
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].split() == ["layer", "d_in", "tokens", "trace", "checksum"]
        assert [line.split()[:3] for line in lines[2:4]] == [
            ["0", "48", "1,024"],
            ["2", "48", "1,024"],
        ]
        assert lines[-1].endswith("collected now")

    def test_spectrum_names_equal_thresholds_of_every_rule(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024, "--layers", 1, "--json")
        ask = ("spectrum", "--model", place.model, *text, "--threshold")
        [layer] = place.run(*ask, "rank:30").json["layers"]
        assert (layer["layer"], layer["d_in"], layer["rank"]) == (1, 48, 30)
        assert 0 < layer["leakage"] < 1
        assert 1 < layer["effective_rank"] <= 48
        assert layer["health"] < 1e-5
        for threshold in layer["equivalent"].values():
            [same] = place.run(*ask, threshold).json["layers"]
            assert same["rank"] == 30

    def test_spectrum_table(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024)
        ran = place.run("spectrum", "--model", place.model, *text, "--threshold", "rank:48")
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].startswith("layer  d_in  kept  leakage  effective rank  massive  health")
        assert [line.split()[:3] for line in lines[2:4]] == [["0", "48", "48"], ["1", "48", "48"]]
        assert "nothing is protected" in lines[-1]


class TestCached:
    def test_models_of_an_empty_cache(
        self, cache: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["models", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert not cache.exists()
        assert {one["name"]: one["cached"] for one in told["packaged"]} == {
            "smollm2-135m": False,
            "gemma3-270m": False,
            "wikipedia-sample": False,
        }
        assert all(one["licence"] for one in told["packaged"])
        presets = {preset["name"]: preset for preset in told["presets"]}
        assert presets["GPT-J 6B"]["layers"] == [3, 4, 5, 6, 7, 8]
        assert presets["Llama-3 8B"]["learning_rate"] == 0.1
        assert (told["cache"], told["bytes"], told["statistics"]) == (str(cache), 0, [])

    def test_models_lists_what_was_made(self, place: Workplace, cache: Path) -> None:
        place.edit(place.facts, "--limit", 1)
        (cache / "statistics" / "unfinished").mkdir()
        told = place.run("models", "--json").json
        [statistics] = told["statistics"]
        assert (statistics["tokens"], statistics["layers"]) == (1024, [0, 1])
        assert told["spectra"]["files"] == 2
        assert told["bytes"] > statistics["bytes"] > 2 * 48 * 48 * 4
        shown = place.run("models").out
        assert statistics["fingerprint"] in shown
        assert "Apache-2.0" in shown
        assert "SmolLM2-135M" in shown

    def test_fetch_is_done_once(
        self, default_model: EditableModel, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["fetch"]) == 0
        first = capsys.readouterr()
        assert main(["fetch"]) == 0
        assert capsys.readouterr() == first
        model, text = first.out.splitlines()
        folder = Path(model.removeprefix("smollm2-135m: "))
        assert (folder / "model.safetensors").is_file()
        assert text.startswith("wikipedia-sample: 9")
        assert main(["models", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [one["cached"] for one in told["packaged"] if one["name"] != "gemma3-270m"] == [
            True,
            True,
        ]


class TestOutput:
    HEADINGS = ("prompt", "before", "P(new)")
    ROWS = (("a long prompt " * 5, "said\nbefore " * 4, "0.004 → 0.981"),)

    def test_nothing_is_cut_without_a_terminal(self) -> None:
        [row] = output.fitted(self.HEADINGS, self.ROWS)
        assert row[0] == ("a long prompt " * 5).strip()
        assert "\n" not in row[1]

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_the_longest_text_is_cut_first(self, width: int) -> None:
        [row] = output.fitted(self.HEADINGS, self.ROWS, width)
        assert sum(map(len, row)) + 4 == width
        assert row[0].endswith("…")
        assert row[2] == "0.004 → 0.981"

    def test_columns_stay_readable_in_a_very_narrow_terminal(self) -> None:
        [row] = output.fitted(self.HEADINGS, self.ROWS, 20)
        assert [len(cell) for cell in row] == [12, 12, 12]

    def test_numbers_that_json_has_no_form_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        output.show_json({"a": [float("nan"), 1.5], "b": {"c": float("inf")}, "d": "é"})
        out = capsys.readouterr().out
        assert json.loads(out) == {"a": [None, 1.5], "b": {"c": None}, "d": "é"}
        assert "é" in out

    @pytest.mark.parametrize("arguments", [["--help"], ["models"]])
    def test_a_reader_that_goes_away(self, arguments: list[str]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "alphaedit_core", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": ""},  # argparse keeps quiet about it otherwise
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_the_default_model_really_edited(
    default_model: EditableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, folder = tmp_path / "session", tmp_path / "model"
    more = ["--session", str(session), "--save-model", str(folder)]
    assert main(["edit", "examples", "--limit", "1", "--json", *more]) == 0
    told = json.loads(capsys.readouterr().out)
    [fact] = told["facts"]
    assert "Paris" in fact["before"]["completion"]
    assert "Rome" in fact["after"]["completion"]
    assert fact["after"]["new"]["exact"]
    assert not fact["before"]["new"]["exact"]

    prompt = "Eiffel Tower is located in the city of"
    assert main(["complete", prompt, "--session", str(session)]) == 0
    said = capsys.readouterr().out.removesuffix("\n")
    assert said.startswith(f"{prompt} Rome")

    # The exported folder says the same without this library.
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True) == said

    # The model that the other tests use was left alone.
    [plain] = complete(default_model, [prompt])
    assert "Paris" in plain


class TestExperiment:
    def test_it_runs_goes_on_and_writes_a_report(self, place: Workplace) -> None:
        records = place.folder / "records.json"
        rewrites = [
            {
                "subject": fact.subject,
                "prompt": fact.prompt,
                "target_new": {"str": "Rome"},
                "target_true": {"str": "Berlin"},
            }
            for fact in FACTS[:2]
        ]
        records.write_text(json.dumps([{"requested_rewrite": one} for one in rewrites]))
        folder = place.folder / "kept"
        words = (
            "experiment", "--dataset", "counterfact", "--path", records, "--edits", "2",
            "--batch-size", "1", "--editor", "alphaedit,memit+previous-keys", "--evaluate-every",
            "1", "--metrics", "efficacy,efficacy_accuracy", "--model", place.model, "--config",
            place.config, "--output", folder,
        )  # fmt: skip
        shown = place.run(*words)
        assert shown.code == 0, shown.err
        assert "alphaedit +projection +previous-keys" in shown.out
        assert "memit -projection +previous-keys" in shown.out
        assert (folder / "report.html").is_file()
        again = place.run(*words, "--json").json
        points = [json.loads(line) for line in (folder / "points.jsonl").open()]
        assert all(point.pop("checksum") for point in points)
        assert again["points"] == points and len(points) == 5
        refused = place.run(*words, "--compat", "easyedit")
        assert refused.code == 2 and "another compat of its plan" in refused.err

    def test_what_cannot_be_run_is_refused_before_a_model_is_loaded(self, place: Workplace) -> None:
        for words, said in (
            (("--dataset", "nobodys", "--path", "x.json"), "nobodys"),
            (("--dataset", "zsre", "--path", place.folder / "x.json"), "no such file"),
            (("--dataset", "zsre", "--path", place.facts, "--editor", ","), "names none"),
            (("--dataset", "zsre", "--path", place.facts, "--editor", "romeo"), "romeo"),
            (
                ("--dataset", "zsre", "--path", place.facts, "--set", "projection=true"),
                'projection=true": say it in --editor',
            ),
        ):
            refused = place.run("experiment", "--model", "no-such-model", *words)
            assert refused.code == 2 and said in refused.err and not refused.out
