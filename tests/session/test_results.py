"""What a session has to show: results and history, as records, as text and as HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.display.tables import html_table, text_table
from alphaedit_core.session.results import EditResult
from alphaedit_core.session.session import EditSession

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditSession]:
    """Three edits, the last one undone."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        session = EditSession(
            tiny_model(max_position_embeddings=128),  # the hostile texts are long
            hyperparameters=small(folder, target_steps=2),
            contexts=CONTEXTS[:1],
        )
        session.edit(FACTS[:3], batch_size=2, monitor=quiet())
        hostile = Fact(f"{HOSTILE} & co", "{} is\nin", f"{HOSTILE}", target_true=f"{HOSTILE}?")
        session.edit([hostile], monitor=quiet())
        session.edit(FACTS[3:], monitor=quiet())
        session.undo()
        yield session


class _Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_result_comes_back_from_json_as_it_was(session: EditSession) -> None:
    for entry in session.history:
        written = json.dumps(entry.result.to_dict(), allow_nan=False)
        assert EditResult.from_dict(json.loads(written)) == entry.result


def test_the_table_of_before_and_after(session: EditSession) -> None:
    result = session.history[0].result
    lines = repr(result).splitlines()
    assert lines[0] == f"EditResult: {result.summary()}"
    assert result.summary().startswith(f"{result.written} of 3 facts written, ")
    assert lines[1].split() == ["prompt", "before", "after", "P(new)", "P(true)"]
    assert len(lines) == 3 + 3
    for line, outcome in zip(lines[3:], result.outcomes, strict=True):
        assert line.startswith(outcome.fact.text)
        before, after = outcome.before.new.probability, outcome.after.new.probability
        assert f"{before:.3f} → {after:.3f}" in line
    assert lines[5].endswith("–")  # 東京 names no true target
    assert result.rows()[0][4] != "–"


def test_written_is_what_the_model_says_token_by_token(session: EditSession) -> None:
    result = session.history[0].result
    first = result.outcomes[0]
    for exact in (True, False):
        after = replace(first.after, new=replace(first.after.new, exact=exact))
        assert replace(first, after=after).written is exact
    exact = [outcome.after.new.exact for outcome in result.outcomes]
    assert result.written == sum(exact)


def test_the_history_marks_where_the_model_stands(session: EditSession) -> None:
    rows = session.history.rows()
    assert [row[:2] for row in rows] == [
        ("undone", "3"),
        ("current", "2"),
        ("", "1"),
        ("", "0"),
    ]
    assert [row[3] for row in rows] == ["1", "1", "3", ""]
    assert rows[2][6] == f"{FACTS[0].text} → {FACTS[0].target} and 2 more"
    assert rows[3][6] == "original"
    assert rows[2][5] == "alphaedit +projection +previous-keys"
    text = repr(session.history)
    assert len(text.splitlines()) == 2 + 4
    assert FACTS[3].text in text
    assert len(session.history) == 3
    assert next(entry.facts for entry in session.history) == list(FACTS[:3])
    assert session.history[-1].facts == list(FACTS[3:])


def test_history_is_a_snapshot(session: EditSession) -> None:
    before = session.history
    rows = before.rows()
    session.restore(0)
    assert before.rows() == rows
    assert session.history.rows()[-1][0] == "current"
    session.restore(2)


def test_what_facts_and_models_say_is_escaped(session: EditSession) -> None:
    entry = session.history[1]
    outcome = entry.result.outcomes[0]
    outcome = replace(
        outcome,
        before=replace(outcome.before, completion=HOSTILE),
        after=replace(outcome.after, completion=f"</td><script>{HOSTILE}</script>"),
        note=HOSTILE,
    )
    result = replace(entry.result, outcomes=[outcome])
    for shown in (result, session.history, entry.facts[0]):
        html = _Elements(shown._repr_html_())
        assert HOSTILE in html.text
        assert "script" not in html.tags
        assert "alert(1)" not in str(html.attributes)
        assert not [name for name, _ in html.attributes if name.startswith("on")]
        assert ("src", "x") not in html.attributes


def test_a_text_table_keeps_every_row_on_one_line(session: EditSession) -> None:
    """A prompt of two lines is shown as one."""
    assert "\n" in session.history[1].facts[0].text
    assert len(repr(session.history[1].result).splitlines()) == 1 + 3
    assert text_table(("a", "bb"), [("x\ny", "1"), ("", "2")]) == "a    bb\n───  ──\nx y  1\n     2"


def test_an_html_table_escapes_headings_too() -> None:
    html = _Elements(html_table((HOSTILE,), [("<b>",)]))
    assert html.text == f"{HOSTILE}<b>"
    assert set(html.tags) == {"table", "thead", "tbody", "tr", "th", "td"}
