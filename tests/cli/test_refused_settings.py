"""Invalid settings: exit code 2, one line with the remedy, and nothing written."""

from __future__ import annotations

import pytest
from commands import Workplace
from refusals import refused, the_line


class TestSettings:
    @pytest.mark.parametrize(
        ("setting", "parts"),
        [
            ("color=red", ['field "color" does not exist', "layers, editor, target_steps"]),
            ("ridge", ['"ridge" has no value', "FIELD=VALUE"]),
            ("ridge=high", ["ridge", "'high' is not a number"]),
            ("ridge=0", ["ridge: 0.0 is not positive", "give a number > 0"]),
            ("ridge=nan", ["ridge: nan", "give a number > 0"]),
            ("target_steps=2.5", ["target_steps", "'2.5' is not a whole number"]),
            ("layers=9-5", ["layers: [] are not ascending", "5-9"]),
            ("layers=a", ['layers: "a" cannot be parsed', "5-9"]),
            ("threshold=rank:x", ['threshold "rank:x" cannot be parsed', "rank:1000"]),
            ("text=nothing", ['text "nothing"', "wikipedia-sample"]),
            ("text=none.txt", ["none.txt", "no such file"]),
            ("contexts=6", ["contexts: 6", "0 to 5"]),
            ("layer_lambda_factors=1,x", ["layer_lambda_factors", "'x' is not a number"]),
            ("layer_lambda_factors=1,0", ["layer_lambda_factors: 1,0", "give numbers > 0"]),
            ("layer_thresholds=0.02,half", ['threshold "half" cannot be parsed']),
            ("previous_keys_decay=2", ["previous_keys_decay: 2.0", "(0, 1]"]),
        ],
    )
    def test_set(self, unloadable: Workplace, setting: str, parts: list[str]) -> None:
        line = refused(unloadable, "edit", "examples", "--set", setting)
        assert line.startswith("--set")
        for part in parts:
            assert part in line

    def test_editor(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "edit", "examples", "--editor", "nope")
        assert line.startswith('--editor: editor "nope" does not exist; give one of alphaedit')

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ("nope", 'editor "nope" does not exist; give one of alphaedit'),
            (" , ", "names none; give alphaedit,memit"),
            ("rome+previous-keys", "rome does not use previous keys; leave them out"),
        ],
    )
    def test_editors_to_compare(self, unloadable: Workplace, setting: str, message: str) -> None:
        line = refused(unloadable, "compare", "examples", "--editors", setting)
        assert message in line

    def test_the_list_sets_editors_and_switches(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "compare", "examples", "--set", "projection=false")
        assert line == '--set "projection=false": belongs in --editors, as in memit+projection'

    def test_a_switch_that_does_not_apply(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "edit", "examples", "--editor", "rome", "--previous-keys")
        assert line == "--previous-keys: does not apply to the editor rome; leave it out"

    def test_the_text_of_the_perplexity(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "compare", "examples", "--perplexity", "none.txt")
        assert line.startswith("--perplexity none.txt: cannot be read")

    @pytest.mark.parametrize("seed", ["x", "-1", str(1 << 63)])
    def test_seed(self, unloadable: Workplace, seed: str) -> None:
        line = refused(unloadable, "edit", "examples", f"--seed={seed}")
        assert line.startswith("--seed: ")
        assert seed in line

    @pytest.mark.parametrize(
        ("content", "parts"),
        [
            (b'{"ridge": "high"}', ["ridge", "'high' is not a number"]),
            (b'{"color": 1}', ['"color" does not exist']),
            (b'{"ridge": true}', ["ridge", "True is not a number"]),
            (b'{"ridge": null}', ["ridge", "None is not a number"]),
            (b'{"layers": [2, 1]}', ["layers: [2, 1]", "ascending"]),
            (b"[1]", ["is not an object", '{"ridge": 1}']),
            (b"{", ["not valid JSON at line 1, column 2", "correct it"]),
            (b'{"text": "\xe9"}', ["not UTF-8 at byte 10"]),
            (None, ["cannot be read", "No such file", "give a JSON or YAML file"]),
        ],
    )
    def test_config(self, unloadable: Workplace, content: bytes | None, parts: list[str]) -> None:
        file = unloadable.folder / "settings.json"
        if content is not None:
            file.write_bytes(content)
        line = refused(unloadable, "edit", "examples", "--config", file)
        assert line.startswith(f"config {file}: ")
        for part in parts:
            assert part in line

    @pytest.mark.parametrize("option", ["--batch-size", "--limit"])
    @pytest.mark.parametrize("value", ["0", "-3", "many", "1.5"])
    def test_counts(self, unloadable: Workplace, option: str, value: str) -> None:
        line = refused(unloadable, "edit", "examples", f"{option}={value}")
        assert option in line
        assert f'"{value}" is not a whole number above 0; give 1 or more' in line

    def test_layers_outside_the_model(self, place: Workplace) -> None:
        line = refused(place, "edit", place.facts, "--model", place.model, "--set", "layers=1-5")
        assert line == (
            "layers [1, 2, 3, 4, 5] are not all blocks of this model; give indices from 0 to 2"
        )

    def test_threshold_that_keeps_nothing(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--session", place.folder / "s", "--set", "threshold=rank:0")
        assert "no direction is under the threshold rank:0" in the_line(ran)
        assert not (place.folder / "s").exists()

    @pytest.mark.parametrize(
        ("arguments", "parts"),
        [
            (["edit"], ["FACTS", "alphaedit edit --help"]),
            (["edit", "examples", "--color"], ["--color", "--help"]),
            (["paint"], ["paint", "--help"]),
            ([], ["COMMAND", "--help"]),
            (["undo"], ["--session", "alphaedit undo --help"]),
            (["edit", "examples", "--batch", "3"], ["--batch", "--help"]),
        ],
    )
    def test_arguments(self, unloadable: Workplace, arguments: list[str], parts: list[str]) -> None:
        line = refused(unloadable, *arguments)
        for part in parts:
            assert part in line


def test_a_blank_prompt(unloadable: Workplace) -> None:
    assert refused(unloadable, "complete", " ") == ('prompt " " is blank; give some text')
