"""Texts that try to become marks of HTML or Markdown, and what a page made of them."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession

#: Out of a cell, an attribute in either kind of quotes, a title, a style, a comment, a code block.
EVIL = (
    '"\'></td></title></style></textarea>--><xss-a xss-b=1 onerror="x"><script>xss</script> '
    "\" xss-c=\"1 ' xss-d='1 &lt;xss-e&gt; [xss](javascript:xss) ![xss](xss:x) <javascript:xss> "
    "`xss` ``xss`` *xss* __xss__ ~~xss~~ $xss$ | xss | # xss ``` --- {xss} %{xss} \\xss"
)
#: The same for the name of a folder, which has no slash.
EVIL_NAME = EVIL.replace("/", "\\")[:200]
#: What stands in its place in a session that is tame.
TAME = "a tame text"


class Parsed(HTMLParser):
    """Tags, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append("!--")


def assert_tame(html: str) -> None:
    """No element, attribute or address in it is of the hostile text."""
    found = Parsed(html)
    foreign = [tag for tag in found.tags if "xss" in tag or tag in ("script", "iframe", "!--")]
    assert not foreign, html
    for name, value in found.attributes:
        assert "xss" not in name and not name.startswith("on"), (name, html)
        if name in ("href", "src"):
            assert (value or "").startswith("data:"), html


def squeezed(words: str) -> str:
    """A text without its white space."""
    return "".join(words.split())


def hostile_fact(of: str, number: int = 0) -> Fact:
    """A fact with a text in every field."""
    return Fact(
        f"{of} subject {number}", f"{of} {{}} {of}", f"{of} target", f"{of} true target",
        id=f"{of} id {number}", relation=f"{of} relation", paraphrases=[f"{of} {{}} again"],
        neighbors=[f"{of} neighbor"],
    )  # fmt: skip


def swapped(stored: Any, of: str) -> Any:
    """A record with every text in it swapped, but for the names of its fields."""
    if isinstance(stored, dict):
        if stored.keys() >= {"subject", "prompt", "target"}:
            return hostile_fact(of).to_dict()
        return {key: swapped(value, of) for key, value in stored.items()}
    if isinstance(stored, list):
        return [swapped(value, of) for value in stored]
    return of if isinstance(stored, str) else stored


def session_of(of: str, place: Path) -> EditSession:
    """A session with one edit, in which every text that a file could hold is this one."""
    folder = place / (EVIL_NAME if of == EVIL else "tame")
    folder.mkdir(exist_ok=True)
    hp = small(folder, target_steps=2, source=of)
    model = tiny_model("llama")
    # Its positions are computed, so that it reads texts of any length.
    model.model.config.max_position_embeddings = 1 << 14
    session = EditSession(model, hyperparameters=hp, contexts=CONTEXTS[:1])
    session.edit(FACTS[:2], monitor=quiet())
    session.model.name = of
    (entry,) = session._entries
    result = EditResult.from_dict(swapped(entry.result.to_dict(), of))
    facts = [hostile_fact(of, number) for number in range(2)]
    outcomes = [
        dataclasses.replace(outcome, fact=fact, note=of)
        for outcome, fact in zip(result.outcomes, facts, strict=True)
    ]
    session._entries = [
        dataclasses.replace(
            entry,
            title=of,
            result=dataclasses.replace(result, outcomes=outcomes),
            batches=[dataclasses.replace(entry.batches[0], facts=facts)],
        )
    ]
    return session
