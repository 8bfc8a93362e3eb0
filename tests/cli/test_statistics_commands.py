"""The commands statistics, spectrum, models and fetch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Workplace

from alphaedit_core.cli import main
from alphaedit_core.model.editable_model import EditableModel


class TestStatistics:
    def test_collected_once_then_from_the_cache(self, place: Workplace) -> None:
        text = place.folder / "text.txt"
        command = ("statistics", "--model", place.model, "--text", text, "--tokens", 1024, "--json")
        first, second = place.run(*command).json, place.run(*command).json
        assert (first["cached"], second["cached"]) == (False, True)
        assert first["layers"] == second["layers"]
        assert [layer["layer"] for layer in first["layers"]] == [0, 1]
        assert all(layer["d_in"] == 48 and layer["trace"] > 0 for layer in first["layers"])
        assert {layer["tokens"] for layer in first["layers"]} == {1024}

    def test_export_and_import(
        self, place: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = place.folder / "shared.safetensors"
        command = ("statistics", "--model", place.model, "--json")
        text = ("--text", place.folder / "text.txt", "--tokens", 1024, "--layers", "1-2")
        exported = place.run(*command, *text, "--export", file).json
        assert place.run(*command, *text, "--export", file).json["layers"] == exported["layers"]
        monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "another"))
        assert place.run(*command, "--import", file).json["layers"] == exported["layers"]
        again = place.run(*command, *text).json
        assert again["cached"]
        assert again["layers"] == exported["layers"]

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

    def test_spectrum_names_equivalent_thresholds(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024, "--layers", 1, "--json")
        command = ("spectrum", "--model", place.model, *text, "--threshold")
        [layer] = place.run(*command, "rank:30").json["layers"]
        assert (layer["layer"], layer["d_in"], layer["rank"]) == (1, 48, 30)
        assert 0 < layer["leakage"] < 1
        assert 1 < layer["effective_rank"] <= 48
        assert layer["orthogonality_error"] < 1e-5
        for threshold in layer["equivalent"].values():
            [same] = place.run(*command, threshold).json["layers"]
            assert same["rank"] == 30

    def test_spectrum_table(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024)
        ran = place.run("spectrum", "--model", place.model, *text, "--threshold", "rank:48")
        assert (ran.code, ran.err) == (0, "")
        lines = ran.out.splitlines()
        assert lines[0].startswith(
            "layer  d_in  kept  leakage  effective rank  massive  orthogonality error"
        )
        assert [line.split()[:3] for line in lines[2:4]] == [["0", "48", "48"], ["1", "48", "48"]]
        assert "nothing is protected" in lines[-1]


class TestCached:
    def test_models_of_an_empty_cache(
        self, cache: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["models", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert not cache.exists()
        assert {item["name"]: item["cached"] for item in report["packaged"]} == {
            "smollm2-135m": False,
            "gemma3-270m": False,
            "wikipedia-sample": False,
        }
        assert all(item["license"] for item in report["packaged"])
        presets = {preset["name"]: preset for preset in report["presets"]}
        assert presets["GPT-J 6B"]["layers"] == [3, 4, 5, 6, 7, 8]
        assert presets["Llama-3 8B"]["target_learning_rate"] == 0.1
        assert (report["cache"], report["bytes"], report["statistics"]) == (str(cache), 0, [])

    def test_models_lists_the_cache(self, place: Workplace, cache: Path) -> None:
        place.edit(place.facts, "--limit", 1)
        (cache / "statistics" / "unfinished").mkdir()
        report = place.run("models", "--json").json
        [statistics] = report["statistics"]
        assert (statistics["tokens"], statistics["layers"]) == (1024, [0, 1])
        assert report["spectra"]["files"] == 2
        assert report["bytes"] > statistics["bytes"] > 2 * 48 * 48 * 4
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
        report = json.loads(capsys.readouterr().out)
        assert [item["cached"] for item in report["packaged"] if item["name"] != "gemma3-270m"] == [
            True,
            True,
        ]
