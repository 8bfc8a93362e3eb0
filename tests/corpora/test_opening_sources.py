"""Opening of text sources by name, and invalid names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from word_model import word_model

from alphaedit_core.corpora.hub import HuggingFaceText
from alphaedit_core.corpora.model_samples import ModelSamples
from alphaedit_core.corpora.sources import TextFile, TextSource, WikipediaSample, open_text
from alphaedit_core.errors import InputError


def test_every_source_opens_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    model = word_model()
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
    ("spec", "message"),
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
def test_invalid_source_is_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
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


def test_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(InputError, match="its name is not UTF-8"):
        open_text("te\udcffxt.txt")
