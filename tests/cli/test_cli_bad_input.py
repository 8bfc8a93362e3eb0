"""Bad input of every sort: exit code 2, one line that says what to do, and nothing written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from commands import Ran, Workplace, listing
from examples import FACTS
from tiny import tiny_model

GOOD = {"subject": "Eiffel Tower", "prompt": "{} is in the city of", "target": "Rome"}


@pytest.fixture
def place(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    """A tiny model, with a cache of its own."""
    return Workplace(tmp_path / "place", capsys)


@pytest.fixture
def unloadable(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The same, with a model that says so if anyone comes to load it."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded before the input was checked")

    monkeypatch.setattr("alphaedit_core.model.loading.load_model", load)
    monkeypatch.setattr("alphaedit_core.session.model_check.load_model", load)
    return place


def refused(place: Workplace, *arguments: object) -> str:
    """The one line that a run is refused with; it wrote nothing and printed nothing."""
    before = listing(place.folder.parent)
    ran = place.run(*arguments)
    assert listing(place.folder.parent) == before
    return the_line(ran)


def the_line(ran: Ran) -> str:
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("alphaedit: ")
    assert ran.err.endswith("\n")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err.removeprefix("alphaedit: ").rstrip("\n")


def without(field: str) -> dict[str, str]:
    return {name: value for name, value in GOOD.items() if name != field}


RECORDS = {
    "no place for the subject": (
        GOOD | {"prompt": "The city is"},
        ["fact 2", "prompt", '"The city is"', "has no {}", "write {} where the subject stands"],
    ),
    "two places for it": (
        GOOD | {"prompt": "{} and {}"},
        ["fact 2", "prompt", '"{} and {}"', "has 2 {}", "keep one"],
    ),
    "empty subject": (GOOD | {"subject": ""}, ["fact 2", "subject", '""', "give a text"]),
    "blank subject": (GOOD | {"subject": " \t"}, ["fact 2", "subject", "blank", "give a text"]),
    "empty target": (GOOD | {"target": ""}, ["fact 2", "target", '""', "give a text"]),
    "blank target": (GOOD | {"target": "\u200b"}, ["fact 2", "target", "blank", "give a text"]),
    "missing subject": (without("subject"), ["fact 2", '"subject"', "missing", "add it"]),
    "missing prompt": (without("prompt"), ["fact 2", '"prompt"', "missing", "add it"]),
    "missing target": (without("target"), ["fact 2", '"target"', "missing", "add it"]),
    "number as target": (GOOD | {"target": 7}, ["fact 2", "target", "7", 'write "7"']),
    "list as subject": (GOOD | {"subject": ["a"]}, ["fact 2", "subject", '["a"]', "give a text"]),
    "text as neighbours": (
        GOOD | {"neighbours": "Rome"},
        ["fact 2", "neighbours", '"Rome"', 'give a list: ["Rome"]'],
    ),
    "null as target": (GOOD | {"target": None}, ["fact 2", "target", "null", "give a text"]),
    "null as record": (None, ["fact 2", "null", "an object with the fields"]),
    "unknown field": (GOOD | {"colour": "red"}, ["fact 2", '"colour"', "not known", "remove it"]),
    "another target for the same": (
        GOOD | {"subject": "Eiffel  Tower", "prompt": "{}  is in the city of", "target": "Oslo"},
        ["fact 1 and fact 2", '"Rome"', '"Oslo"', "keep one of them"],
    ),
}

FILES = {
    "not JSON": ('[{"subject": }]', ["not valid JSON", "line 1, column 14", "correct it"]),
    "nothing in it": ("", ["empty", "put at least one fact"]),
    "empty list": ("[]", ["list of facts is empty", "put at least one"]),
    "a dictionary": (json.dumps(GOOD), ["one object", "put it into a list"]),
    "not UTF-8": (
        b'[{"subject": "Caf\xe9", "prompt": "{} is", "target": "x"}]',
        ["not UTF-8", "byte 17", "save the file in UTF-8"],
    ),
}


class TestFacts:
    @pytest.mark.parametrize("record, parts", RECORDS.values(), ids=RECORDS)
    @pytest.mark.parametrize("suffix", [".json", ".jsonl"])
    def test_a_record(
        self, unloadable: Workplace, record: object, parts: list[str], suffix: str
    ) -> None:
        file = unloadable.folder / f"bad{suffix}"
        records = [GOOD, record]
        lines = "\n".join(json.dumps(one) for one in records)
        file.write_text(json.dumps(records) if suffix == ".json" else lines)
        outputs = ("--session", unloadable.folder / "s", "--save-model", unloadable.folder / "m")
        line = refused(unloadable, "edit", file, "--model", unloadable.model, *outputs)
        assert line.startswith(f"{file}: ")
        for part in parts:
            assert part.replace("fact ", "fact " if suffix == ".json" else "line ") in line

    @pytest.mark.parametrize("content, parts", FILES.values(), ids=FILES)
    def test_a_file(self, unloadable: Workplace, content: str | bytes, parts: list[str]) -> None:
        file = unloadable.folder / "bad.json"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        line = refused(unloadable, "edit", file, "--session", unloadable.folder / "s")
        assert line.startswith(f"{file}: ")
        for part in parts:
            assert part in line

    def test_a_missing_file(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "edit", unloadable.folder / "none.json")
        assert "none.json" in line
        assert "no such file" in line
        assert '"examples"' in line


class TestSettings:
    @pytest.mark.parametrize(
        "given, parts",
        [
            ("colour=red", ['field "colour" does not exist', "layers, steps"]),
            ("ridge", ['"ridge" has no value', "FIELD=VALUE"]),
            ("ridge=high", ["ridge", "'high' is not a number"]),
            ("ridge=0", ["ridge 0.0 is not positive", "give more than 0"]),
            ("ridge=nan", ["ridge nan", "give more than 0"]),
            ("steps=2.5", ["steps", "'2.5' is not a whole number"]),
            ("layers=9-5", ["layers [] are not ascending", "5-9"]),
            ("layers=a", ['layers "a" are not understood', "5-9"]),
            ("threshold=rank:x", ['threshold "rank:x" is not understood', "rank:1000"]),
            ("text=nothing", ['text "nothing"', "wikipedia-sample"]),
            ("text=none.txt", ["none.txt", "no such file"]),
            ("contexts=6", ["contexts 6", "0 to 5"]),
            ("layer_lambda_factors=1,x", ["layer_lambda_factors", "'x' is not a number"]),
            ("layer_lambda_factors=1,0", ["layer_lambda_factors 1,0", "give more than 0"]),
            ("layer_thresholds=0.02,half", ['threshold "half" is not understood']),
            ("previous_keys_decay=2", ["previous_keys_decay 2.0", "at most 1"]),
        ],
    )
    def test_set(self, unloadable: Workplace, given: str, parts: list[str]) -> None:
        line = refused(unloadable, "edit", "examples", "--set", given)
        assert line.startswith("--set")
        for part in parts:
            assert part in line

    def test_editor(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "edit", "examples", "--editor", "nope")
        assert line.startswith('--editor: editor "nope" does not exist; give one of alphaedit')

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("nope", 'editor "nope" does not exist; give one of alphaedit'),
            (" , ", "names none; give alphaedit,memit"),
            ("rome+previous-keys", "previous keys mean nothing for rome; leave them out"),
        ],
    )
    def test_editors_to_compare(self, unloadable: Workplace, given: str, message: str) -> None:
        line = refused(unloadable, "compare", "examples", "--editors", given)
        assert message in line

    def test_an_editor_is_not_set_beside_the_list(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "compare", "examples", "--set", "projection=false")
        assert line == '--set "projection=false": say it in --editors, as in memit+projection'

    def test_a_switch_that_means_nothing(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "edit", "examples", "--editor", "rome", "--previous-keys")
        assert line == "--previous-keys: means nothing for the editor rome; leave it out"

    def test_the_text_of_the_perplexity(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "compare", "examples", "--perplexity", "none.txt")
        assert line.startswith("--perplexity none.txt: cannot be read")

    @pytest.mark.parametrize("seed", ["x", "-1", str(1 << 63)])
    def test_seed(self, unloadable: Workplace, seed: str) -> None:
        line = refused(unloadable, "edit", "examples", f"--seed={seed}")
        assert line.startswith("--seed: ")
        assert seed in line

    @pytest.mark.parametrize(
        "content, parts",
        [
            (b'{"ridge": "high"}', ["ridge", "'high' is not a number"]),
            (b'{"colour": 1}', ['"colour" does not exist']),
            (b'{"ridge": true}', ["ridge", "True is not a number"]),
            (b'{"ridge": null}', ["ridge", "None is not a number"]),
            (b'{"layers": [2, 1]}', ["layers [2, 1]", "ascending"]),
            (b"[1]", ["holds no object", '{"ridge": 1}']),
            (b"{", ["not valid JSON at line 1, column 2", "correct it"]),
            (b'{"text": "\xe9"}', ["not UTF-8 at byte 10"]),
            (None, ["cannot be read", "No such file", "give a JSON file"]),
        ],
    )
    def test_config(self, unloadable: Workplace, content: bytes | None, parts: list[str]) -> None:
        file = unloadable.folder / "given.json"
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

    def test_layers_that_this_model_has_not(self, place: Workplace) -> None:
        line = refused(place, "edit", place.facts, "--model", place.model, "--set", "layers=1-5")
        assert line == (
            "layers [1, 2, 3, 4, 5] are not all blocks of this model; give indices from 0 to 2"
        )

    def test_threshold_that_keeps_nothing(self, place: Workplace) -> None:
        ran = place.edit(place.facts, "--session", place.folder / "s", "--set", "threshold=rank:0")
        assert "no direction is under the threshold rank:0" in the_line(ran)
        assert not (place.folder / "s").exists()

    @pytest.mark.parametrize(
        "arguments, parts",
        [
            (["edit"], ["FACTS", "alphaedit edit --help"]),
            (["edit", "examples", "--colour"], ["--colour", "--help"]),
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


class TestModels:
    @pytest.mark.parametrize("command", ["edit", "complete", "spectrum", "statistics"])
    def test_a_folder_that_is_none(self, place: Workplace, command: str) -> None:
        (place.folder / "empty").mkdir()
        given = ["examples"] if command == "edit" else ["Rome"] if command == "complete" else []
        line = refused(place, command, *given, "--model", place.folder / "empty")
        assert str(place.folder / "empty") in line
        assert "without config.json; give a folder" in line

    @pytest.mark.parametrize("option, value", [("--device", "toaster"), ("--dtype", "int8")])
    def test_device_and_dtype(self, place: Workplace, option: str, value: str) -> None:
        line = refused(place, "edit", "examples", "--model", place.model, option, value)
        assert f'"{value}"' in line
        assert "give auto or one of" in line

    @pytest.mark.parametrize("name", ["none.gguf", "/no/such/model", "no model"])
    def test_a_name_that_no_hub_can_have(self, place: Workplace, name: str) -> None:
        line = refused(place, "edit", "examples", "--model", name)
        assert f'model "{name}" does not exist; give ' in line

    def test_a_hub_that_cannot_be_reached(self, place: Workplace) -> None:
        with socket.socket() as nobody:  # a port that nobody listens on
            nobody.bind(("127.0.0.1", 0))
            started = time.monotonic()
            ran = hub_run(place, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        line = the_line(ran)
        assert line.startswith('model "nope/nope" is not on this machine and the hub cannot be')
        assert "give smollm2-135m, " in line
        assert time.monotonic() - started < 60  # nearly all of it imports on a busy machine

    def test_a_hub_that_has_no_such_model(self, place: Workplace, hub: str) -> None:
        line = the_line(hub_run(place, hub))
        assert line.startswith('model "nope/nope" does not exist or is private; give smollm2-135m')

    def test_fetch_of_something_else(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "fetch", "nope/nope")
        assert line.startswith('"nope/nope" is not packaged; give smollm2-135m, ')


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub that has no models."""

    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def hub_run(place: Workplace, address: str) -> Ran:
    """The command as a process of its own (the hub's address is read when its client starts)."""
    ran = subprocess.run(
        [sys.executable, "-m", "alphaedit_core", "edit", "examples", "--model", "nope/nope"],
        capture_output=True,
        text=True,
        env=os.environ | {"HF_ENDPOINT": address, "HF_HUB_CACHE": str(place.folder / "hub")},
    )
    assert not (place.folder / "hub").exists()
    return Ran(ran.returncode, ran.stdout, ran.stderr)


class TestFolders:
    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_of_somebody_else(self, unloadable: Workplace, option: str) -> None:
        thesis = unloadable.folder / "thesis"
        thesis.mkdir()
        (thesis / "chapter-1.tex").write_text("All that I know.")
        line = refused(unloadable, "edit", unloadable.facts, option, thesis)
        assert str(thesis) in line
        assert '"chapter-1.tex"' in line
        assert "give a new folder" in line

    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_that_is_a_file(self, unloadable: Workplace, option: str) -> None:
        line = refused(unloadable, "edit", unloadable.facts, option, unloadable.config)
        assert f"{unloadable.config}: is a file; give a new folder" in line

    @pytest.mark.parametrize("option", ["--session", "--save-model"])
    def test_below_a_file(self, unloadable: Workplace, option: str) -> None:
        below = unloadable.config / "below"
        line = refused(unloadable, "edit", unloadable.facts, option, below)
        assert f"{below}: {unloadable.config} cannot be written to; give another folder" in line

    @pytest.mark.parametrize("session", ["m", "m/session"])
    def test_session_in_a_folder_that_is_replaced(
        self, unloadable: Workplace, session: str
    ) -> None:
        out, inside = unloadable.folder / "m", unloadable.folder / session
        line = refused(
            unloadable, "edit", unloadable.facts, "--save-model", out, "--session", inside
        )
        assert f"output folder {out}: holds the session {inside}" in line

    @pytest.mark.parametrize("command", ["history", "undo", "redo", "complete"])
    def test_without_a_session(self, unloadable: Workplace, command: str) -> None:
        given = ["Rome"] if command == "complete" else []
        line = refused(unloadable, command, *given, "--session", unloadable.folder / "none")
        assert line.startswith(f"session {unloadable.folder / 'none'}: ")
        assert "give a folder that has one" in line


class TestSessions:
    @pytest.fixture
    def session(self, place: Workplace) -> Path:
        """A session with one edit."""
        folder = place.folder / "s"
        assert place.edit(place.facts, "--session", folder).code == 0
        return folder

    def test_nothing_left_to_undo_or_redo(self, place: Workplace, session: Path) -> None:
        assert "there is no undone edit to redo" in refused(place, "redo", "--session", session)
        place.run("undo", "--session", session)
        assert "there is no edit to undo" in refused(place, "undo", "--session", session)

    @pytest.mark.parametrize("command", ["history", "undo", "edit", "complete"])
    @pytest.mark.parametrize(
        "content", [b"{", b"[]", b'{"format": "another"}', b'{"a": "\xe9"}', b"damaged"]
    )
    def test_a_damaged_manifest(
        self, place: Workplace, session: Path, command: str, content: bytes
    ) -> None:
        file = session / "session.json"
        if content == b"damaged":
            manifest = json.loads(file.read_text())
            del manifest["applied"], manifest["hyperparameters"]
            content = json.dumps(manifest).encode()
        file.write_bytes(content)
        given = {"edit": ["examples"], "complete": ["Rome"]}.get(command, [])
        line = refused(place, command, *given, "--session", session)
        assert str(session) in line

    @pytest.mark.parametrize("kind", ["json", "safetensors"])
    @pytest.mark.parametrize("command", ["history", "undo", "edit", "complete"])
    def test_a_damaged_edit(self, place: Workplace, session: Path, command: str, kind: str) -> None:
        [file] = session.glob(f"entry-*.{kind}")
        content = bytearray(file.read_bytes())
        content[-20] ^= 1
        file.write_bytes(content)
        given = {"edit": ["examples"], "complete": ["Rome"]}.get(command, [])
        line = refused(place, command, *given, "--session", session)
        assert str(file) in line

    @pytest.mark.parametrize(
        "more, parts",
        [
            (["--set", "ridge=3"], ["its ridge is 10.0, not 3.0"]),
            (["--set", "layers=1-2"], ["its layers is 0,1, not 1,2"]),
            (["--seed", "5"], ["its seed is 0, not 5"]),
            (["--dtype", "bfloat16"], ["its dtype is float32, not bfloat16"]),
        ],
    )
    def test_other_settings_than_its_own(
        self,
        place: Workplace,
        session: Path,
        monkeypatch: pytest.MonkeyPatch,
        more: list[str],
        parts: list[str],
    ) -> None:
        def load(*_: object, **__: object) -> None:
            raise AssertionError("loaded")

        monkeypatch.setattr("alphaedit_core.session.model_check.load_model", load)
        line = refused(place, "edit", place.facts, "--session", session, *more)
        assert line.startswith(f"session {session}: ")
        assert "leave " in line
        assert "or give a new folder" in line
        for part in parts:
            assert part in line

    @pytest.mark.parametrize("command", ["edit", "complete"])
    def test_another_model_than_its_own(
        self, place: Workplace, session: Path, command: str
    ) -> None:
        other = tiny_model(seed=1)
        other.model.save_pretrained(place.folder / "other")
        other.tokenizer.save_pretrained(place.folder / "other")
        place.run("models")  # takes what transformers said meanwhile
        own = json.loads((session / "session.json").read_text())["fingerprint"]
        given = place.facts if command == "edit" else "Rome"
        line = refused(
            place, command, given, "--session", session, "--model", place.folder / "other"
        )
        assert own in line
        assert other.fingerprint in line


class TestStatistics:
    @pytest.mark.parametrize("command", ["statistics", "spectrum"])
    @pytest.mark.parametrize(
        "more, parts",
        [
            (["--layers", "five"], ['layers "five" are not understood; give 5-9 or 5,7,9']),
            (["--layers", "9-5"], ["layers [] are not ascending", "5-9"]),
            (["--layers=-1"], ['layers "-1"', "5-9"]),
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
        assert line.startswith(f'threshold "{threshold}" is not understood; give a number such as')

    def test_what_only_the_model_can_tell(self, place: Workplace) -> None:
        text = ("--text", place.folder / "text.txt", "--model", place.model)
        line = refused(place, "statistics", *text, "--layers", 7)
        assert line == "layers [7] are not all blocks of this model; give indices from 0 to 2"
        line = refused(place, "statistics", *text, "--tokens", 5)
        assert line == "tokens 5 is less than one window; give at least 64"

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

    def test_import_with_other_wishes(self, unloadable: Workplace) -> None:
        line = refused(unloadable, "statistics", "--import", "f", "--layers", "1")
        assert "leave --layers out" in line
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


def test_a_blank_prompt(unloadable: Workplace) -> None:
    assert refused(unloadable, "complete", " ") == (
        'prompt " " is blank; give the beginning of a text'
    )


def test_as_a_process(place: Workplace) -> None:
    file = place.folder / "bad.json"
    file.write_text(json.dumps([GOOD | {"prompt": "nothing"}]))
    before = listing(place.folder)
    ran = subprocess.run(
        [sys.executable, "-m", "alphaedit_core", "edit", str(file), "--session", "s"],
        capture_output=True,
        text=True,
        cwd=place.folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    line = the_line(Ran(ran.returncode, ran.stdout, ran.stderr))
    assert line.startswith(f'{file}: fact 1: prompt "nothing" has no {{}} for the subject; ')
    assert listing(place.folder) == before


def test_a_disk_that_refuses(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(place.folder / "s"))

    monkeypatch.setattr("alphaedit_core.session.files.write_json_atomic", full)
    ran = place.edit(place.facts_file("one.json", FACTS[0]), "--session", place.folder / "s")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"alphaedit: {place.folder / 's'}: No space left on device\n"
