"""Invalid facts: exit code 2, one line with the remedy, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import Ran, Workplace, listing
from refusals import refused, the_line

GOOD = {"subject": "Eiffel Tower", "prompt": "{} is in the city of", "target": "Rome"}


def without(field: str) -> dict[str, str]:
    return {name: value for name, value in GOOD.items() if name != field}


RECORDS = {
    "no place for the subject": (
        GOOD | {"prompt": "The city is"},
        ["fact 2", "prompt", '"The city is"', "has no {}", "write {} in place of the subject"],
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
    "text as neighbors": (
        GOOD | {"neighbors": "Rome"},
        ["fact 2", "neighbors", '"Rome"', 'give a list: ["Rome"]'],
    ),
    "null as target": (GOOD | {"target": None}, ["fact 2", "target", "null", "give a text"]),
    "null as record": (None, ["fact 2", "null", "an object with the fields"]),
    "unknown field": (GOOD | {"color": "red"}, ["fact 2", '"color"', "not known", "remove it"]),
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
    @pytest.mark.parametrize(("record", "parts"), RECORDS.values(), ids=RECORDS)
    @pytest.mark.parametrize("suffix", [".json", ".jsonl"])
    def test_a_record(
        self, unloadable: Workplace, record: object, parts: list[str], suffix: str
    ) -> None:
        file = unloadable.folder / f"bad{suffix}"
        records = [GOOD, record]
        lines = "\n".join(json.dumps(item) for item in records)
        file.write_text(json.dumps(records) if suffix == ".json" else lines)
        outputs = ("--session", unloadable.folder / "s", "--save-model", unloadable.folder / "m")
        line = refused(unloadable, "edit", file, "--model", unloadable.model, *outputs)
        assert line.startswith(f"{file}: ")
        for part in parts:
            assert part.replace("fact ", "fact " if suffix == ".json" else "line ") in line

    @pytest.mark.parametrize(("content", "parts"), FILES.values(), ids=FILES)
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
