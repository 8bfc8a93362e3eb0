"""Hugging Face data sets as streamed sources."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from alphaedit_core.corpora.hub import HuggingFaceText
from alphaedit_core.errors import FetchError, InputError


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a local data set, which is read in the same way as one on the Hub."""
    pytest.importorskip("datasets")
    folder = tmp_path / "data_set"
    folder.mkdir()
    rows = [{"text": "first", "n": 1}, {"text": " ", "n": 2}, {"text": "third", "n": 3}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(lines)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    return folder


def test_a_data_set_is_streamed(data_set: Path) -> None:
    source = HuggingFaceText(str(data_set), config=None)
    assert list(source.documents()) == ["first", "third"]


def test_the_checksum_of_a_data_set_follows_its_content_and_settings(data_set: Path) -> None:
    def checksum(**settings: str) -> str:
        return HuggingFaceText(str(data_set), config=None, **settings).checksum()

    before = checksum()
    assert checksum() == before
    assert len({before, checksum(field="title"), checksum(split="test")}) == 3
    (data_set / "train.jsonl").write_text('{"text": "other"}\n')
    assert checksum() != before


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"field": "title"}, InputError, 'field "title" has no text; its fields are text, n'),
        ({"field": "n"}, InputError, 'field "n" has no text'),
        ({"split": "test"}, FetchError, "test"),
    ],
)
def test_missing_field_or_split_is_refused(
    data_set: Path, settings: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        list(HuggingFaceText(str(data_set), config=None, **settings).documents())
    assert "\n" not in str(caught.value)


def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError) as caught:
        next(HuggingFaceText(str(tmp_path), config=None).documents())
    assert str(caught.value) == (
        f"text hf:{tmp_path} needs datasets; "
        'install it: pip install "alphaedit-workbench[datasets]"'
    )


def test_unreachable_hub_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    # The address is read when the hub's library is first imported: hence a process of its own.
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    script = (
        "from alphaedit_core.errors import FetchError\n"
        "from alphaedit_core.corpora.sources import open_text\n"
        "source = open_text('hf:wikimedia/wikipedia')\n"
        "for use in (source.checksum, lambda: next(source.documents())):\n"
        "    try:\n"
        "        use()\n"
        "    except FetchError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(line.startswith("text hf:wikimedia/wikipedia:20231101.en: ") for line in lines)
