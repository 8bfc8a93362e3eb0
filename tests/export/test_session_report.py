"""The report is one page that fetches nothing and says what was edited; so does the card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.evaluation.probes import probe
from alphaedit_core.export.session_report import model_card, report_html
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession

EVIL = Fact("<img src=x onerror=alert(1)>", "{} | is", "<b>bold</b>", "Paris", neighbors=["<i>x"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


def new_session(place: Path) -> EditSession:
    return EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])


@pytest.fixture(scope="module")
def edited(place: Path) -> EditSession:
    session = new_session(place)
    session.edit(FACTS[:3], monitor=quiet())
    session.rename(1, "the <first>")
    session.hyperparameters = session.hyperparameters.replace(threshold="rank:20")
    session.edit([FACTS[3], EVIL], monitor=quiet())
    return session


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    #: Tags that have no end.
    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(edited: EditSession) -> str:
    return report_html(edited)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_nothing_is_fetched(html: str, page: Page) -> None:
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "video", "a"})
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset"):
            assert attributes.get(name, "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    style = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert "url(" not in "".join(style) and "@import" not in "".join(style)
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "prefers-color-scheme: dark" in style[0]


def test_pictures_with_what_they_say(edited: EditSession, page: Page) -> None:
    alts = [image["alt"] for image in page.all("img")]
    for layer in (0, 1):
        assert any(
            alt.startswith(f"Spectrum of layer {layer}:") and "threshold rank:20 keeps" in alt
            for alt in alts
        )
    assert sum(alt.startswith("Search for the target values of") for alt in alts) == 2


def test_every_layer_is_drawn_with_its_own_threshold(place: Path) -> None:
    session = new_session(place)
    hp = session.hyperparameters
    session.hyperparameters = hp.replace(
        layer_thresholds=("rank:12", "rank:25"), layer_lambda_factors=(2, 0.5)
    )
    session.edit(FACTS[:1], monitor=quiet())
    drawn = Page(report_html(session, session.spectra(quiet())))
    alts = [image["alt"] for image in drawn.all("img")]
    for layer, threshold in ((0, "rank:12"), (1, "rank:25")):
        about = next(alt for alt in alts if alt.startswith(f"Spectrum of layer {layer}:"))
        assert f"threshold {threshold} keeps" in about
    settings = "layers 0–1 · threshold rank:12,rank:25 · ridge 10 · by layer times 2, 0.5"
    assert settings in drawn.text and settings in model_card(session)


def test_before_and_after_of_every_edit(edited: EditSession, page: Page) -> None:
    for entry in edited.history:
        for outcome, row in zip(entry.result.outcomes, entry.result.rows(), strict=True):
            assert outcome.fact.text in page.text
            for cell in row[3:]:
                assert cell.replace(" ", "\u00a0") in page.text or cell in page.text
    assert "Edit 1: the <first>" in page.text
    assert page.text.count("written") >= 5


def test_model_and_settings(edited: EditSession, page: Page) -> None:
    made = edited.manifest()["made_with"]
    for message in (
        "tiny llama", edited.model.fingerprint, edited.weights_digest(), made["torch"],
        made["transformers"], "seed", "rank:20", CONTEXTS[0], "alphaedit",
    ):  # fmt: skip
        assert message in page.text
    assert "edit 1" in page.text and "rank:30" in page.text  # made with another threshold


def test_texts_are_escaped_and_folders_are_left_out(
    edited: EditSession, place: Path, html: str, page: Page
) -> None:
    assert "<img src=x" not in html
    assert "<img src=x onerror=alert(1)>" in page.text
    assert str(place) not in html and str(place) not in model_card(edited)


def test_only_what_is_applied(place: Path) -> None:
    session = new_session(place)
    session.spectra(quiet())
    session.edit(FACTS[:1], monitor=quiet())
    session.undo()
    page = Page(report_html(session))
    assert "No edit is applied" in page.text and "Search for" not in str(page.tags)
    assert "undone" in page.text  # in the history
    page = Page(report_html(session, spectra={}))
    assert page.all("img") == [] and "were not computed" in page.text


def test_probes_on_the_page(edited: EditSession, html: str) -> None:
    rows = probe(edited, EVIL, 0, 2, monitor=quiet())
    page = Page(report_html(edited, spectra={}, probes=rows))
    assert "Paraphrases and neighbors" in page.text
    for row in rows:
        assert row.probe.prompt in page.text and row.result in page.text
    assert "of 1" in page.text
    assert "Paraphrases and neighbors" not in html


def test_the_card(edited: EditSession, place: Path) -> None:
    card = model_card(edited)
    lines = card.splitlines()
    assert lines[0] == "## Edited facts"
    rows = [line for line in lines if line.startswith("| ") and "prompt" not in line]
    assert len(rows) == 5
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
    assert "\\<img src=x onerror=alert(1)\\> \\| is" in card
    assert edited.weights_digest() in card and edited.model.fingerprint in card
    edited.edit([FACTS[0].changed(target="Berlin")], monitor=quiet())
    corrected = model_card(edited)
    page = Page(report_html(edited, spectra={})).text
    edited.undo()
    current, replaced = corrected.split("Replaced by later edits, and no longer protected:")
    assert "Berlin" in current and "Rome in Italy" not in current
    assert f"- {FACTS[0].text} Rome in Italy → {FACTS[0].text} Berlin\n" in replaced
    assert f"“{FACTS[0].text} Berlin” replaces “{FACTS[0].text} Rome in Italy” of edit 1" in page
    assert "Replaced" not in card
    empty = model_card(new_session(place))
    assert "No edit is applied." in empty and "|---" not in empty
