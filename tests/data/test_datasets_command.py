"""The command ``alphaedit datasets``: it lists, checks and fetches."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from published import ZSRE
from publisher import FILE, Publisher, Reply
from record_files import ABSENT, write

from alphaedit_core.cli import main
from alphaedit_core.data.datasets.counterfact import CounterFact
from alphaedit_core.data.datasets.registry import datasets


def ran(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["datasets", *map(str, words)])
    return code, *capsys.readouterr()


def test_the_command_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ran(capsys)
    assert (code, err) == (0, "")
    rows = out.splitlines()[2:]
    assert [row.split()[0] for row in rows] == list(datasets())
    for row, one in zip(rows, datasets().values(), strict=True):
        assert one.license in row and (one.address or one.publisher) in row
    code, out, err = ran(capsys, "--json")
    listed = json.loads(out)["datasets"]
    assert [one["name"] for one in listed] == list(datasets())
    assert listed[1]["options"] == {"target": ["true", "alt"]}
    assert all(one["layout"] and one["source"] for one in listed)


def test_the_command_checks_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "zsre.json", ZSRE, ABSENT, ZSRE)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--option", "target=alt")
    assert code == 0
    assert "zsre.json: zsRE, target=alt\nSHA-256 " in out
    assert re.search(r"^records +2$", out, re.MULTILINE)
    assert re.search(r"^locality +2$", out, re.MULTILINE)
    assert "records left out: 1\n  record 2: subject" in out
    assert out.endswith("questions not asked: 0\n")
    assert "1 of 3 records left out" in err
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--json")
    assert (code, json.loads(out)["counts"]["facts"]) == (0, 2)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre", "--strict")
    assert (code, out) == (2, "") and f"{file}: record 2: subject" in err
    write(file, *[ABSENT] * 30, ZSRE)
    code, out, err = ran(capsys, "--check", file, "--dataset", "zsre")
    assert "  record 20: " in out and "  record 21: " not in out
    assert "  … and 10 more (--json lists all)" in out


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["--check", "FILE"], "--check needs --dataset; give one of counterfact, "),
        (["--dataset", "zsre"], "--dataset needs a file to check; add --check FILE"),
        (["--option", "target=alt"], "--option needs a file to check"),
        (["--fetch", "zsre", "--strict"], "--strict needs a file to check"),
        (["--fetch", "nope"], 'data set "nope" does not exist'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "alt"],
         '--option "alt" is not understood; give for example target=alt'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "fetch=yes"],
         'zsre has no option "fetch"; its options: target'),
        (["--check", "FILE", "--dataset", "zsre", "--option", "target=no"],
         'zsre: target "no" is not known'),
        (["--check", "FILE", "--fetch", "zsre"], "not allowed with argument --check"),
        (["--check", "none.json", "--dataset", "zsre"], "none.json: there is no such file"),
    ],
)  # fmt: skip
def test_refused_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], output: str
) -> None:
    file = write(tmp_path / "zsre.json", ZSRE)
    code, out, err = ran(capsys, *(file if word == "FILE" else word for word in words))
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert output in err


def test_the_command_fetches(
    publisher: Publisher,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(CounterFact, "address", publisher.address("/c.json", Reply(FILE)))
    path = cache / "datasets" / "counterfact.json"
    output = f"counterfact: {path}\n"
    assert ran(capsys, "--fetch", "counterfact") == (0, output, "")
    code, out, _ = ran(capsys, "--fetch", "counterfact", "--json")
    assert (code, json.loads(out)) == (0, {"dataset": "counterfact", "file": str(path)})
