"""The export panel without a browser: what each button hands over, writes, loads and refuses."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model
from transformers import AutoModelForCausalLM

from alphaedit_core.data.fact_files import facts_text, read_facts, write_facts
from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import CorruptFileError, FingerprintError, InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.model.fingerprints import fingerprint
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.components.download import Download
from alphaedit_widgets.export.panel import ExportPanel

#: Not in the model, and with texts that formats stumble over.
DRAFT = Fact(
    'A "quoted", one',
    "{} is,\nin",
    "Rome",
    "Paris",
    paraphrases=['Where "is" {}', "x, y"],
    neighbors=["a | b", "the Louvre"],
    relation="P276",
    id="own",
)
PLAIN = DRAFT.changed(neighbors=["the Louvre", "a|b"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_session(place: Path, layout: str = "llama", edits: int = 1) -> EditSession:
    session = EditSession(
        tiny_model(layout), hyperparameters=small(place), contexts=CONTEXTS[:1]
    )  # fmt: skip
    for facts in (FACTS[:2], FACTS[2:3])[:edits]:
        session.edit(facts, monitor=quiet())
    return session


@pytest.fixture
def panel(place: Path) -> ExportPanel:
    made = ExportPanel(new_session(place), loaded=lambda _: None)
    made.state.facts = [*FACTS[:2], DRAFT]
    return made


class Browser:
    """What a browser does with a download button: press it, and keep the files that come."""

    def __init__(self, button: Download, monkeypatch: pytest.MonkeyPatch) -> None:
        self.button = button
        self.files: list[tuple[dict[str, Any], bytes]] = []
        monkeypatch.setattr(button, "send", self._take)

    def press(self, token: str = "t1") -> None:
        self.button._handle_custom_msg({"kind": "press", "token": token}, [])

    def _take(self, content: dict[str, Any], buffers: list[bytes]) -> None:
        self.files.append((content, bytes(buffers[0])))

    @property
    def file(self) -> tuple[str, str]:
        """Name and text of the only file."""
        ((content, data),) = self.files
        assert content["kind"] == "file" and content["token"] == "t1" and content["type"]
        return content["name"], data.decode("utf-8")


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", " ", html).strip()


# -- the download button ---------------------------------------------------------------------------


def test_a_file_is_no_part_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"\x00\xffbytes" * 1000
    button: Download = Download("Save", "save-it", lambda: button.deliver("a.bin", content, "x/y"))
    before = dict(button.get_state())
    browser = Browser(button, monkeypatch)
    browser.press("one")
    browser.press("two")
    assert [message["token"] for message, _ in browser.files] == ["one", "two"]
    assert browser.files[0][1] == content
    assert browser.files[0][0] | {"token": ""} == {
        "kind": "file", "token": "", "name": "a.bin", "type": "x/y"
    }  # fmt: skip
    assert dict(button.get_state()) == before
    assert before["label"] == "Save" and before["hook"] == "ae-save-it"
    button.disabled = True
    browser.press("three")
    assert len(browser.files) == 2
    button._handle_custom_msg({"kind": "other"}, [])
    assert len(browser.files) == 2


# -- files -----------------------------------------------------------------------------------------


def test_the_script_is_shown_and_downloaded(
    panel: ExportPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert panel._code.value == ""  # nothing is made before it is looked at
    panel.on_first_show()
    code = panel.code
    assert panel._code.value == code and panel._code.description == "Python"
    assert f'check("{panel.session.weights_digest()}")' in code
    assert "Not applied yet" in code and panel.drafts == [DRAFT]
    panel._code.value = "something else"
    assert panel._code.value == code  # not to be changed by typing
    browser = Browser(panel.downloads["python"], monkeypatch)
    browser.press()
    assert browser.file == ("alphaedit-edits.py", code)
    panel.state.set_method("projection", False)
    assert panel._code.value == panel.code != code
    panel.state.set_method("projection", True)
    panel.session.undo()
    panel.state.notify_weights_changed()
    assert panel._code.value == panel.code != code
    assert panel.drafts == [*FACTS[:2], DRAFT]
    panel.state.facts = []
    assert panel._code.value == panel.code and "Fact(" not in panel.code


def test_a_long_script_is_cut_on_the_page_only(panel: ExportPanel) -> None:
    panel.on_first_show()
    panel.state.facts = [FACTS[0].changed(subject=f"Tower {n}") for n in range(800)]
    shown = panel._code.value
    assert len(panel.code) > 60_000 > len(shown)
    assert shown.splitlines()[-1].startswith("# … truncated; the downloaded script has")
    assert panel.code.startswith(shown.rpartition("\n# …")[0])


def test_the_session_as_json(panel: ExportPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(panel.downloads["json"], monkeypatch)
    browser.press()
    name, content = browser.file
    assert name == "alphaedit-session.json" and content == panel.json()
    record = json.loads(content)
    assert record["schema"] and record["model"] == "tiny llama" and record["seeds"] == [0]
    assert {"torch", "transformers", "python"} <= set(record["made_with"])
    assert record["hyperparameters"] == panel.session.hyperparameters.to_dict()
    facts = [one["fact"] for one in record["edits"][0]["outcomes"]]
    assert [Fact.from_dict(fact) for fact in facts] == list(FACTS[:2])
    assert [Fact.from_dict(fact) for fact in record["drafts"]] == [DRAFT]


@pytest.mark.parametrize("layout", ["json", "jsonl", "csv"])
def test_facts_come_back_from_their_files(tmp_path: Path, layout: str) -> None:
    file = tmp_path / f"facts.{layout}"
    facts = [*FACTS, PLAIN]
    write_facts(file, facts)
    assert read_facts(file) == facts
    assert file.read_bytes().decode() == facts_text(facts, layout)


def test_facts_of_the_table_or_of_the_model(
    panel: ExportPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = Browser(panel.downloads["facts-csv"], monkeypatch)
    browser.press()  # a neighbor has the separator in it
    assert browser.files == [] and "write JSON instead" in panel.state.notice
    panel.state.facts = [*FACTS[:2], PLAIN]
    browser.press()
    name, content = browser.file
    rows = list(csv.DictReader(io.StringIO(content, newline="")))
    assert name == "alphaedit-facts.csv" and [row["subject"] for row in rows][2] == PLAIN.subject
    (tmp_path / name).write_bytes(content.encode())
    assert read_facts(tmp_path / name) == panel.state.facts

    panel.state.facts = []
    browser = Browser(panel.downloads["facts-json"], monkeypatch)
    browser.press()
    (tmp_path / "f.json").write_text(browser.file[1], "utf-8")
    assert read_facts(tmp_path / "f.json") == list(FACTS[:2])  # those in the model
    panel.session.reset()
    with pytest.raises(InputError, match="no facts"):
        panel.facts()


def test_the_report(panel: ExportPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    panel.session._spectra = None  # as after loading: they come from the cache
    browser = Browser(panel.downloads["report"], monkeypatch)
    browser.press()
    assert panel.state.job is not None and panel.state.job.wait(50)
    name, page = browser.file
    assert name == "alphaedit-report.html" and page.startswith("<!doctype html>")
    assert 'alt="Spectrum of layer 1' in page and FACTS[1].text in page
    assert "Paraphrases and neighbors" not in page
    monkeypatch.setattr(
        "alphaedit_widgets.export.panel.report_html", lambda _s, _m, rows: repr(rows)
    )
    panel.with_probes = True
    digest = panel.session.weights_digest()
    assert panel.report().count("ProbeRow(") == 2
    assert panel.session.weights_digest() == digest


def test_the_card(panel: ExportPanel, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(panel.downloads["card"], monkeypatch)
    browser.press()
    assert browser.file == ("alphaedit-card.md", panel.card())
    assert panel.card().startswith("## Edited facts")


# -- folders ---------------------------------------------------------------------------------------


def test_saved_and_loaded(place: Path, tmp_path: Path) -> None:
    got: list[EditSession] = []
    session = new_session(place, edits=2)
    session.undo()
    panel = ExportPanel(session, loaded=got.append)
    folder = tmp_path / "saved"
    panel.folder = str(folder)
    panel.save(block=True)
    assert f"session saved in {folder}" in words(panel._status.value)
    digest, last = session.weights_digest(), session.history[1].digest

    panel.session.restore(2)
    panel.load(folder, block=True)
    (loaded,) = got
    assert loaded is not session and loaded.model is session.model
    assert loaded.weights_digest() == digest and loaded.applied == 1
    loaded.redo()
    assert loaded.weights_digest() == last
    with pytest.raises(SessionError, match="closed"):
        session.undo()


def test_a_session_of_another_model_is_refused_with_both_names(place: Path, tmp_path: Path) -> None:
    ExportPanel(new_session(place, "gpt2")).save(tmp_path / "other", block=True)
    session = new_session(place)
    digest, applied = session.weights_digest(), session.applied
    panel = ExportPanel(session, loaded=lambda _: pytest.fail("nothing was to be loaded"))
    with pytest.raises(FingerprintError) as refused:
        panel.load(tmp_path / "other", block=True)
    assert '"tiny gpt2"' in str(refused.value) and '"tiny llama"' in str(refused.value)
    failure = panel.state.failure
    assert failure is not None and '"tiny gpt2"' in failure.message
    assert "tiny gpt2" in words(panel._status.value)
    # This session is as it was, and its folder is not written over with another model's.
    assert (session.weights_digest(), session.applied) == (digest, applied)
    session.undo()
    session.redo()
    assert session.weights_digest() == digest
    with pytest.raises(InputError, match='"tiny gpt2", not of "tiny llama"'):
        panel.save(tmp_path / "other")


def test_a_damaged_session_leaves_this_one(place: Path, tmp_path: Path) -> None:
    session = new_session(place)
    panel = ExportPanel(session, loaded=lambda _: pytest.fail("nothing was to be loaded"))
    panel.save(tmp_path / "saved", block=True)
    next((tmp_path / "saved").glob("entry-*.safetensors")).write_bytes(b"no")
    digest = session.weights_digest()
    with pytest.raises(CorruptFileError):
        panel.load(tmp_path / "saved", block=True)
    assert session.weights_digest() == digest
    session.undo()
    with pytest.raises(InputError, match="no saved session"):
        panel.load(tmp_path / "none", block=True)
    assert fingerprint(session.model.model) == session.model.fingerprint


def test_loading_needs_a_place(place: Path, tmp_path: Path) -> None:
    panel = ExportPanel(new_session(place, edits=0))
    with pytest.raises(SessionError, match=r"EditSession\.load"):
        panel.load(tmp_path)
    assert panel.load_button not in [
        w for row in panel.children for w in getattr(row, "children", ())
    ]


def test_the_edited_model(panel: ExportPanel, tmp_path: Path) -> None:
    panel.model_folder = str(tmp_path / "model")
    panel.model_button.click()
    assert panel.state.job is not None and panel.state.job.wait(50)
    assert "edited model saved in" in words(panel._status.value)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert fingerprint(loaded) == fingerprint(panel.session.model.model)
    assert fingerprint(loaded) != panel.session.model.fingerprint


def test_folders_that_cannot_be_used(panel: ExportPanel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt"):
        panel.save_model(tmp_path)
    with pytest.raises(InputError, match=r"mine\.txt"):
        panel.save(tmp_path)
    panel.folder = str(tmp_path)
    panel.save_button.click()
    assert "mine.txt" in panel.state.notice and "mine.txt" in words(panel._status.value)
    panel.folder = "  "
    with pytest.raises(InputError, match="no folder given"):
        panel.save()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_everything_is_refused_while_a_job_runs(
    panel: ExportPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers = [Browser(button, monkeypatch) for button in panel.downloads.values()]
    disabled: list[bool] = []

    def work(_: Monitor) -> None:
        buttons = [panel.save_button, panel.load_button, panel.model_button]
        disabled.extend(button.disabled for button in [*buttons, *panel.downloads.values()])
        for browser in browsers:
            browser.press()
        for refused in (panel.json, panel.card, panel.facts, panel.report):
            with pytest.raises(SessionError, match="other is running"):
                refused()
        for other in (panel.save, panel.load, panel.save_model):
            with pytest.raises(SessionError, match="other is running"):
                other(tmp_path / "folder")

    panel.state.start("other", work, block=True)
    assert len(disabled) == 9 and all(disabled)
    assert all(browser.files == [] for browser in browsers)
    assert not panel.save_button.disabled and not panel.downloads["json"].disabled
    assert list(tmp_path.iterdir()) == []


def test_static_and_escaped(panel: ExportPanel) -> None:
    panel.state.facts = [FACTS[0].changed(subject="<img src=x onerror=alert(1)>")]
    bundle = panel._repr_mimebundle_()
    assert "<img src=x" not in bundle["text/html"] and "&lt;img src=x" in bundle["text/html"]
    assert re.fullmatch(
        r"ExportPanel\(edits: 1, facts not applied: 1, script: \d+ lines\)", bundle["text/plain"]
    )
    panel._say("<b>x</b>")
    assert "<b>" not in panel._status.value
