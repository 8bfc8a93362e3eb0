"""The registry of data sets: names, options and plug-ins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from published import PUBLISHED
from record_files import write

import alphaedit_core
from alphaedit_core import Fact
from alphaedit_core.data import datasets as package
from alphaedit_core.data.datasets import registry
from alphaedit_core.data.datasets.counterfact import CounterFact
from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.data.datasets.registry import dataset, datasets, register
from alphaedit_core.errors import InputError


def test_each_data_set_says_what_it_is() -> None:
    known = datasets()
    assert list(known) == list(PUBLISHED)
    for name, one in known.items():
        assert one.name == name
        for message in (one.title, one.about, one.source, one.license, one.publisher, one.layout):
            assert message and "\n" not in message
        assert one.address is None or one.address.startswith("https://")
        assert dict(one.chosen) == {option: values[0] for option, values in one.options.items()}
    assert alphaedit_core.read_records is read_records


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("zsrE", {}, 'data set "zsrE" does not exist; give one of counterfact, zsre, mquake-cf, '),
        ("zsre", {"target": "new"}, 'zsre: target "new" is not known; give one of true, alt'),
        ("zsre", {"goal": "alt"}, 'zsre has no option "goal"; its options: target'),
        ("zsre", {"name": "alt"}, 'zsre has no option "name"; its options: target'),
        ("zsre", {"self": "alt"}, 'zsre has no option "self"; its options: target'),
        ("longform", {"target": "alt"}, 'longform has no option "target"; its options: none'),
    ],
)
def test_refused_choice(name: str, chosen: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as caught:
        dataset(name, **chosen)
    assert str(caught.value).startswith(message)


NEW = """
from alphaedit_core.data.datasets.base import Dataset
from alphaedit_core.data.facts import Fact
from alphaedit_core.data.records import Record


class Pairs(Dataset):
    name = "pairs"
    title = about = source = license = publisher = layout = "pairs"

    def record(self, raw, name):
        return Record(self.name, name, (Fact(raw["s"], "{} is", raw["t"]),))
"""


def test_a_new_file_is_found_by_being_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pairs_of_mine.py").write_text(NEW, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setattr(registry._REGISTRY, "_classes", {})
    monkeypatch.setattr(registry._REGISTRY, "_is_scanned", False)
    try:
        assert list(datasets()) == [*PUBLISHED, "pairs"], "after those whose order is known"
        file = write(tmp_path / "pairs.json", {"s": "Snow", "t": "white"})
        assert read_records(file, "pairs").facts == [Fact("Snow", "{} is", "white")]
    finally:
        sys.modules.pop("alphaedit_core.data.datasets.pairs_of_mine", None)


def test_refused_registration() -> None:
    class Nameless(CounterFact):
        name = None  # type: ignore[assignment]

    class Second(CounterFact):
        name = "zsre"

    datasets()
    with pytest.raises(InputError, match="data set Nameless: has no name; set it to a string"):
        register(Nameless)
    with pytest.raises(InputError, match='data set "zsre" exists already'):
        register(Second)
    assert register(CounterFact) is CounterFact, "once more is no harm"
