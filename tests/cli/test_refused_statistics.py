"""Statistics that cannot be used: exit code 2, one line, and nothing written."""

from __future__ import annotations

import pytest
from commands import Workplace
from refusals import refused
from tiny import tiny_model


class TestStatistics:
    @pytest.mark.parametrize("command", ["statistics", "spectrum"])
    @pytest.mark.parametrize(
        ("more", "parts"),
        [
            (["--layers", "five"], ['layers: "five" cannot be parsed; give 5-9 or 5,7,9']),
            (["--layers", "9-5"], ["layers: [] are not ascending", "5-9"]),
            (["--layers=-1"], ['layers: "-1"', "5-9"]),
            (["--text", "nothing"], ['text "nothing"', "wikipedia-sample"]),
            (["--tokens", "0"], ["--tokens", '"0" is not a whole number above 0']),
        ],
    )
    def test_arguments(
        self, unloadable: Workplace, command: str, more: list[str], parts: list[str]
    ) -> None:
        line = refused(unloadable, command, *more)
        for part in parts:
            assert part in line

    @pytest.mark.parametrize("threshold", ["low", "energy:2", "rank:1.5", "-1", "depth:3", "nan"])
    def test_threshold(self, unloadable: Workplace, threshold: str) -> None:
        line = refused(unloadable, "spectrum", f"--threshold={threshold}")
        assert line.startswith(f'threshold "{threshold}" cannot be parsed; use a number such as')

    def test_values_that_depend_on_the_model(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--model", place.model)
        line = refused(place, "statistics", *text, "--layers", 7)
        assert line == "layers [7] are not all blocks of this model; give indices from 0 to 2"
        line = refused(place, "statistics", *text, "--tokens", 5)
        assert line == "tokens: 5 is less than one window; give at least 64"

    def test_export_over_another_file(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "statistics", "--export", unloadable.config)
        assert line.startswith(f"export {unloadable.config}: exists and is not a file of key")
        assert "give a new name" in line

    def test_import_of_nothing(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "statistics", "--import", unloadable.folder / "none")
        assert f"{unloadable.folder / 'none'}: does not exist; give a file" in line

    def test_import_of_something_else(self, place: Workplace) -> None:
        ask = ("statistics", "--model", place.model, "--import")
        assert str(place.config) in refused(place, *ask, place.config)
        weights = place.model / "model.safetensors"
        assert str(weights) in refused(place, *ask, weights)

    def test_import_with_conflicting_options(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "statistics", "--import", "f", "--layers", "1")
        assert "leave out --layers" in line
        line = refused(unloadable, "statistics", "--import", "f", "--export", "g")
        assert "not allowed with" in line

    def test_import_for_other_weights(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--tokens", 1024)
        file = place.folder / "shared.safetensors"
        place.run("statistics", "--model", place.model, *text, "--export", file)
        other = tiny_model(seed=1)
        other.model.save_pretrained(place.folder / "other")
        other.tokenizer.save_pretrained(place.folder / "other")
        place.run("models")
        line = refused(place, "statistics", "--model", place.folder / "other", "--import", file)
        assert str(file) in line
        assert other.fingerprint in line
