"""JSON and files from untrusted sources: limits of every reader."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from alphaedit_core.cli import hyperparameter_options, main, options
from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.data.fact_files import facts_from_bytes, read_facts
from alphaedit_core.data.reference_texts import read_references
from alphaedit_core.display.line_chart import curves_html
from alphaedit_core.editing.configs import field_editors, make_config
from alphaedit_core.editing.editors.alphaedit import AlphaEditConfig
from alphaedit_core.errors import AlphaEditError, CorruptFileError, InputError
from alphaedit_core.experiments.folder import load_experiment, session_folder
from alphaedit_core.session.files import check_place, load_manifest
from alphaedit_core.side_effects import ability_tasks
from alphaedit_core.storage import json_text
from alphaedit_core.storage.files import check_name, read_json, write_json_atomic
from alphaedit_core.storage.json_text import MOST_NESTED, parse_json, to_json

DEEP, LONG = "[" * 100_000, '[{"a": ' + "9" * 5_000 + "}]"


def texts(path: Path) -> object:
    return list(TextFile(path).documents())


def config(path: Path) -> object:
    given = SimpleNamespace(config=str(path), editor=None, seed=None, set=[])
    return hyperparameter_options.changes(given)  # type: ignore[arg-type]


def task(path: Path) -> object:
    return ability_tasks.read_tasks(path)


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "facts": ("facts.json", read_facts),
    "fact lines": ("facts.jsonl", read_facts),
    "records": ("records.json", lambda path: read_records(path, "counterfact")),
    "record lines": ("records.jsonl", lambda path: read_records(path, "counterfact")),
    "references": ("references.json", read_references),
    "a task": ("sst2.json", task),
    "texts": ("texts.jsonl", texts),
    "a configuration": ("config.json", config),
    "a session": ("session.json", lambda path: load_manifest(path.parent)),
    "an experiment": ("experiment.json", lambda path: load_experiment(path.parent)),
    "any": ("any.json", read_json),
}


@pytest.mark.parametrize("text", [DEEP, LONG, '{"a":' * 50_000], ids=["deep", "long", "objects"])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_excessive_json(reader: str, text: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(AlphaEditError) as refusal:
        read(file)
    assert str(file) in str(refusal.value) and "\n" not in str(refusal.value)
    assert ("100 levels" in str(refusal.value)) == (text != LONG)
    assert ("4300 digits" in str(refusal.value)) == (text == LONG)


def test_upload_is_read_like_a_file() -> None:
    for text in (DEEP, LONG):
        with pytest.raises(InputError, match=r"levels deep|digits"):
            facts_from_bytes(text.encode(), "facts.json")


def test_error_position_is_first_excess_character() -> None:
    text = '{"[[[": "\\"[",\n "b": ' + "[" * 200 + "]" * 200 + "}"
    with pytest.raises(json.JSONDecodeError) as refusal:
        parse_json(text)
    assert (refusal.value.lineno, refusal.value.colno) == (2, len(' "b": ') + MOST_NESTED)
    with pytest.raises(json.JSONDecodeError) as refusal:
        parse_json('{"a":\n  ' + "9" * 5_000 + "}")
    assert (refusal.value.lineno, refusal.value.colno) == (2, 3)


def test_json_within_limits_is_read() -> None:
    inner: object = 1.5
    for _ in range(MOST_NESTED):
        inner = [inner]
    for value in (inner, {"a": [1, {"b": None}]}, 10**4000, "x", []):
        assert parse_json(json.dumps(value)) == value


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
@pytest.mark.parametrize("reader", ["facts", "records", "references", "a configuration"])
def test_pipe_and_device_are_refused(reader: str, tmp_path: Path) -> None:
    name, read = READERS[reader]
    pipe, link = tmp_path / "pipe.json", tmp_path / name
    os.mkfifo(pipe)
    link.symlink_to("/dev/zero")
    for place, word in ((pipe, "pipe"), (link, "device"), (Path("/dev/zero"), "device")):
        with pytest.raises(InputError, match=f"it is a {word}, not a file") as refusal:
            read(place)
        assert str(place) in str(refusal.value)


@pytest.mark.skipif(sys.platform == "win32", reason="has no such files")
def test_command_does_not_wait_for_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "facts.json"
    os.mkfifo(pipe)
    done = subprocess.run(
        [sys.executable, "-m", "alphaedit_core", "edit", str(pipe)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"alphaedit: {pipe}: the file cannot be read (it is a pipe, not a file); name another"
    )


def test_too_large_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "facts.json"
    file.write_text("[]" + " " * 100)
    with pytest.raises(OSError, match="it has 102 bytes, of which at most 50 are read"):
        json_text.read_bytes(file, 50)
    assert len(json_text.read_bytes(file, 102)) == 102


def test_huge_file_is_refused_before_reading(tmp_path: Path) -> None:
    """Uses a sparse file."""
    for name, read in READERS.values():
        if name in ("texts.jsonl",):
            continue  # read line by line
        file = tmp_path / name
        with file.open("wb") as sparse:
            try:
                sparse.truncate(1 << 40)
            except OSError:
                pytest.skip("the file system has no files with holes")
        with pytest.raises(AlphaEditError, match="are read"):
            read(file)
        file.unlink()


@pytest.mark.parametrize("layers", ["0-3000000000", "3000000000", "0-" + "9" * 5000])
def test_a_range_of_layers_is_bounded_before_it_is_counted(
    layers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["spectrum", "--layers", layers]) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "layers" in output and "5-9" in output


def test_a_range_of_states_is_bounded_before_it_is_counted() -> None:
    parser = options.Parser()
    parser.add_argument("--states", type=options.state_numbers)
    for given in ("0-3000000000", "9" * 5000):
        with pytest.raises(InputError, match="states that no session has"):
            parser.parse_args(["--states", given])
    assert parser.parse_args(["--states", "0-3,7"]).states == [0, 1, 2, 3, 7]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ridge", 1e-300), ("target_learning_rate", 1e300), ("covariance_weight", 1e300),
        ("clamp_norm_factor", 1e-60), ("weight_decay", 1e300), ("target_steps", 10**12),
        ("tokens", 10**30), ("context_tokens", 10**9), ("ft_max_change", 1e-200), ("seed", 1 << 64),
    ],
)  # fmt: skip
def test_numbers_beyond_float32_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^{field}: .*give") as refusal:
        make_config(field_editors()[field][0], layers=(0,), **{field: value})
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 160


def test_layer_factors_stay_within_float32() -> None:
    with pytest.raises(InputError, match=r"layer_lambda_factors: 1e-18 times ridge 0\.1"):
        AlphaEditConfig(layers=(0,), ridge=0.1, layer_lambda_factors=(1e-18,))


def test_invalid_file_names_are_refused(tmp_path: Path) -> None:
    place = tmp_path / ("é" * 150)
    for refused in (
        lambda: check_place(place),
        lambda: options.check_writable("session", place),
        lambda: check_name("session", "a\0b"),
    ):
        with pytest.raises(InputError, match=r"session: the name .* bytes cannot be used; give"):
            refused()
    long = session_folder(tmp_path, 1, "alphaedit, text " + "/long/" * 100)
    other = session_folder(tmp_path, 1, "alphaedit, text " + "/long/" * 101)
    long.mkdir()
    assert other != long and not other.exists()


def test_a_dollar_in_a_name_is_no_mathematics() -> None:
    curves = {"text /a$b_$/x": ([1, 2], [1, 2]), "b": ([1, 2], [2, 1])}
    assert "text /a$b_$/x" in curves_html(curves, "x", "y", "s.")


def test_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "any.json").write_text(DEEP)
    with pytest.raises(CorruptFileError, match=r"any\.json: not JSON at line 1 \(nested more than"):
        read_json(tmp_path / "any.json")


def test_infinity_and_nan_as_json() -> None:
    """The output is valid JSON, and infinity is preserved."""
    content = {"a": [math.inf, -math.inf, 1.5], "b": 'Infinity, \\"NaN"', "NaN": math.nan}
    text = to_json(content, indent=1, sort_keys=True)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(text, parse_constant=refuse)
    assert found == {**content, "NaN": None}
    assert to_json({"a": "é", "b": 1.5}) == '{"a": "é", "b": 1.5}'
    with pytest.raises(TypeError):
        to_json({"a": object()})


def test_files_have_no_python_number_names(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"perplexity": math.inf})
    assert "Infinity" not in (tmp_path / "a.json").read_text()
    assert read_json(tmp_path / "a.json") == {"perplexity": math.inf}
