"""Downloading a data set: once, completely, from an allowed address, with a fixed checksum."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import listing
from published import COUNTERFACT, ZSRE
from publisher import FILE, Publisher, Reply
from record_files import quiet, write

from alphaedit_core.data.datasets.counterfact import CounterFact
from alphaedit_core.data.datasets.fetching import cached_dataset, fetch_dataset
from alphaedit_core.data.datasets.reading import read_records
from alphaedit_core.data.datasets.registry import dataset
from alphaedit_core.errors import Canceled, CorruptFileError, FetchError, InputError
from alphaedit_core.progress import Monitor, Stage


def test_fetched_once_and_known_ever_after(
    publisher: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = publisher.address("/counterfact.json", Reply(FILE))
    monkeypatch.setattr(CounterFact, "address", address)
    with pytest.raises(InputError, match=r"counterfact is not in the cache; fetch it \(fetch=True"):
        read_records(None, "counterfact")
    assert publisher.asked == [], "nothing is fetched that was not asked for"
    found = read_records(None, "counterfact", fetch=True, monitor=quiet)
    assert found.records == [dataset("counterfact").record(COUNTERFACT, "case 12")]
    path = cache / "datasets" / "counterfact.json"
    assert found.source.file == path and path.read_bytes() == FILE
    note = json.loads((cache / "datasets" / "counterfact.json.json").read_text("utf-8"))
    assert note == {
        "sha256": hashlib.sha256(FILE).hexdigest(), "size": len(FILE), "address": address,
    }  # fmt: skip
    again = read_records(None, "counterfact", fetch=True, monitor=quiet)
    assert again.records == found.records
    assert read_records(None, "counterfact").source == found.source
    assert fetch_dataset("counterfact", quiet) == path == cached_dataset("counterfact")
    assert publisher.asked == ["/counterfact.json"]


def test_a_file_that_has_changed_is_refused(publisher: Publisher, cache: Path) -> None:
    address = publisher.address("/new.json", Reply(FILE))
    path = fetch_dataset("zsre", quiet, address)
    path.write_bytes(FILE + b" ")
    for use in (lambda: fetch_dataset("zsre", quiet, address), lambda: cached_dataset("zsre"),
                lambda: read_records(None, "zsre", fetch=True)):  # fmt: skip
        with pytest.raises(CorruptFileError) as caught:
            use()
        assert str(caught.value) == (
            f"{path}: not the file that was first used (its SHA-256 is not the one noted in "
            "zsre.json.json); remove both and fetch it again"
        )
    # The remedy helps.
    for file in path.parent.iterdir():
        file.unlink()
    assert fetch_dataset("zsre", quiet, address).read_bytes() == FILE
    path.with_name("zsre.json.json").write_text("[]")
    with pytest.raises(CorruptFileError):
        cached_dataset("zsre")


def test_a_file_placed_by_hand_is_known_from_its_first_use(cache: Path) -> None:
    path = cache / "datasets" / "zsre.json"
    path.parent.mkdir(parents=True)
    write(path, ZSRE)
    assert len(read_records(None, "zsre")) == 1
    assert json.loads(path.with_name("zsre.json.json").read_text("utf-8"))["address"] is None
    write(path, ZSRE, ZSRE)
    with pytest.raises(CorruptFileError):
        read_records(None, "zsre")


def unknown(publisher: Publisher) -> str:
    return publisher.address("/none.json")


def moved_page(publisher: Publisher) -> str:
    return publisher.address("/page.json", Reply(b"<html>we have moved</html>"))


def empty_answer(publisher: Publisher) -> str:
    return publisher.address("/empty.json", Reply(b""))


def broken_off(publisher: Publisher) -> str:
    return publisher.address("/short.json", Reply(FILE, length=len(FILE) + 5))


def leads_away(publisher: Publisher) -> str:
    headers = {"Location": "http://example.org/counterfact.json"}
    return publisher.address("/away.json", Reply(b"", 302, headers))


def leads_to_a_file(publisher: Publisher) -> str:
    return publisher.address("/file.json", Reply(b"", 302, {"Location": "file:///etc/hostname"}))


def nobody(publisher: Publisher) -> str:
    return "http://127.0.0.1:9/counterfact.json"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (unknown, "/none.json cannot be fetched (404 Not Found); check the network, or download"),
        (moved_page, "/page.json is not a file of records (not valid JSON at line 1, column 1"),
        (empty_answer, "/empty.json is not a file of records (the file is empty"),
        (broken_off, f"/short.json broke off after {len(FILE)} of {len(FILE) + 5} bytes"),
        (leads_away, "leads to http://example.org/counterfact.json, which is not https"),
        (leads_to_a_file, "Redirection to url 'file:///etc/hostname' is not allowed"),
        (nobody, "http://127.0.0.1:9/counterfact.json cannot be fetched ("),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(
    publisher: Publisher, cache: Path, where: Any, expected: str
) -> None:
    address = where(publisher)
    with pytest.raises(FetchError) as caught:
        fetch_dataset("counterfact", quiet, address)
    message = str(caught.value)
    assert expected in message and len(message.splitlines()) == 1
    assert set(listing(cache)) == {str(cache / "datasets")}


def test_a_redirect_on_this_machine_is_followed(publisher: Publisher) -> None:
    place = publisher.address("/new/zsre.json", Reply(FILE))
    address = publisher.address("/old.json", Reply(b"", 302, {"Location": place}))
    assert fetch_dataset("zsre", quiet, address).read_bytes() == FILE


@pytest.mark.parametrize(
    "address",
    ["http://example.org/a.json", "file:///etc/hostname", "ftp://127.0.0.1/a", "a.json", "https://",
     "http://127.0.0.1.example.org/a", "http://[::1/a"],
)  # fmt: skip
def test_refused_address(cache: Path, address: str) -> None:
    with pytest.raises(InputError, match="is not an https one; give one that is"):
        fetch_dataset("zsre", quiet, address)


def test_without_an_address_the_publisher_is_named(cache: Path) -> None:
    for use in (lambda: fetch_dataset("longform", quiet), lambda: read_records(None, "longform"),
                lambda: read_records(None, "longform", fetch=True)):  # fmt: skip
        with pytest.raises(InputError) as caught:
            use()
        message = str(caught.value)
        assert message.startswith("longform has no lasting address to fetch it from; download it")
        assert "zsre_mend_eval_with_coupled_entities.json, and give its path" in message


@pytest.mark.parametrize("claimed", [None, -1], ids=["length", "no length"])
def test_progress_is_the_bytes_that_have_come(publisher: Publisher, claimed: int | None) -> None:
    content = json.dumps([COUNTERFACT] * 400).encode()
    reply = Reply(content, length=claimed, first=len(content) // 2)
    seen: list[float] = []

    def show(stage: Stage, *, closed: bool) -> None:
        assert stage.name == "fetching CounterFact" and stage.unit == "B"
        assert stage.total == (len(content) if claimed is None else None)
        seen.append(stage.done)
        if stage.done == len(content) // 2:
            publisher.go_on.set()

    fetch_dataset("counterfact", Monitor(show=show), publisher.address("/big.json", reply))
    assert seen == sorted(seen) and seen[-1] == len(content)
    assert len(content) // 2 in seen


def test_cancel_in_the_middle_leaves_nothing(publisher: Publisher, cache: Path) -> None:
    stop = threading.Event()
    reply = Reply(FILE, first=len(FILE) // 2)

    def show(stage: Stage, *, closed: bool) -> None:
        if stage.done:
            stop.set()

    address = publisher.address("/slow.json", reply)
    with pytest.raises(Canceled):
        fetch_dataset("counterfact", Monitor(show=show, cancel=stop), address)
    assert set(listing(cache)) == {str(cache / "datasets")}
    with pytest.raises(Canceled):
        fetch_dataset("counterfact", Monitor(show=None, cancel=stop), address)
    assert publisher.asked == ["/slow.json"], "and nothing is asked for when it is too late"


def test_a_cache_that_cannot_be_made_is_one_line(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHAEDIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FetchError, match="ALPHAEDIT_CACHE") as caught:
        fetch_dataset("zsre", quiet, publisher.address("/a.json", Reply(FILE)))
    assert "\n" not in str(caught.value)
