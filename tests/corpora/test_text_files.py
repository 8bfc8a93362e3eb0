"""Text files as sources: documents, invalid lines and checksums."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphaedit_core.corpora import sources as texts
from alphaedit_core.corpora.sources import TextFile
from alphaedit_core.errors import InputError


def test_form_feeds_separate_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\nstill one\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("\ufeffone\r\n\ftwo\f \n\fdrei ü".encode())
    assert list(TextFile(tmp_path / "a.txt").documents()) == ["one\n\nstill one\n"]
    assert list(TextFile(tmp_path / "b.txt").documents()) == ["one\n", "two", "drei ü"]


@given(
    documents=st.lists(st.text(alphabet="ab \nüß語", max_size=60), min_size=1, max_size=6),
    piece=st.integers(1, 40),
)
def test_chunks_are_complete_and_split_at_line_ends(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], piece: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    path.write_text("\f".join(documents), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "_CHUNK_CHARACTERS", piece)
        pieces = list(texts._read_txt(path))
    remaining = iter(filter(None, pieces))
    for document in filter(None, documents):
        joined = next(remaining)
        while joined != document:
            assert joined.endswith("\n") and document.startswith(joined)
            joined += next(remaining)
    assert list(remaining) == []


def test_a_jsonl_file_has_a_document_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one\\n", "id": 1}\n\n{"text": "語"}', encoding="utf-8")
    assert list(TextFile(path).documents()) == ["one\n", "語"]


@pytest.mark.parametrize(
    "bad", ["{", '"text"', "null", '{"txt": "a"}', '{"text": null}', '{"text": ["a"]}']
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n{bad}\n', encoding="utf-8")
    documents = TextFile(path).documents()
    assert next(documents) == "good"
    with pytest.raises(InputError, match=r"a\.jsonl, line 2: ") as caught:
        next(documents)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfea", "not UTF-8"), (b" \n\n", "nothing but blanks"), (b"", "empty")],
)
def test_file_without_text_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(TextFile(tmp_path / name).documents())


def test_the_checksum_of_a_file_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = TextFile(path).checksum()
    assert before == hashlib.sha256(b"one").hexdigest()
    path.write_text("two")
    assert TextFile(path).checksum() != before
