"""Probes of a fact, and their panel without a browser: what is measured, counted, sorted, added."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from examples import CONTEXTS, FACTS, quiet, small
from tables import rows_of
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core.data.facts import Fact
from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.evaluation import probes as core
from alphaedit_core.evaluation.probes import (
    ProbePrompt,
    ProbeResponse,
    ProbeRow,
    ProbeRunner,
    aggregate,
    probe,
    probes_of,
)
from alphaedit_core.inference.completions import added_text, generate_greedy
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.model.forward import pad_rows
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.probes.panel import ProbesPanel
from alphaedit_widgets.state import State

FACT = FACTS[0].changed(
    paraphrases=["One sees the {} in", "{} stands in the old city of"],
    neighbors=["The Louvre is in the city of", "Newton was born in", "東京は"],
)
#: Only the first token of its target can be judged.
UNTRUE = FACT.changed(target_true=None)


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditSession]:
    """A session with two edits, each far too strong, so that neighbors change too."""
    folder = tmp_path_factory.mktemp("probes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        session = EditSession(
            tiny_model("llama"),
            hyperparameters=small(folder, target_steps=12, clamp_norm_factor=8.0, ridge=1e-3),
            contexts=CONTEXTS[:1],
        )
        session.edit([FACT], monitor=quiet())
        session.edit([FACTS[1]], monitor=quiet())
        yield session


@pytest.fixture
def session(edited: EditSession) -> EditSession:
    edited.restore(2)
    return edited


@pytest.fixture
def panel(session: EditSession) -> ProbesPanel:
    made = ProbesPanel(session)
    made.state.facts = [FACT, FACTS[1]]
    return made


def words(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)


def inside(html: str, testid: str) -> str:
    found = re.search(rf'data-testid="{testid}"[^>]*>([^<]*)<', html)
    assert found is not None
    return found[1]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every prompt that goes through the model from now on."""
    seen: list[str] = []
    read = core.read

    def counting(model: Any, fact: Fact, prompts: Any, monitor: Any = None) -> list[ProbeResponse]:
        seen.extend(prompts)
        return read(model, fact, prompts, monitor)

    monkeypatch.setattr(core, "read", counting)
    return seen


# -- what is measured ------------------------------------------------------------------------------


def test_readings_are_those_of_whole_passes(session: EditSession) -> None:
    model = session.model
    prompts = [one.prompt for one in probes_of(FACT)]
    readings = core.read(model, FACT, prompts)
    new = target_logprobs(model, [(prompt, FACT.target) for prompt in prompts])
    true = target_logprobs(model, [(prompt, "Paris") for prompt in prompts])
    for prompt, reading, first, second in zip(prompts, readings, new, true, strict=True):
        ids = pad_rows([encode(model.tokenizer, prompt)[0]], model.device)
        with torch.no_grad():
            chances = model.model(input_ids=ids).logits[0, -1].softmax(dim=-1)
        assert reading.token == int(chances.argmax())
        assert reading.probability == pytest.approx(float(chances.max()), rel=1e-4)
        assert reading.new.nll == pytest.approx(first.nll, rel=1e-4)
        assert reading.true is not None
        assert reading.true.nll == pytest.approx(second.nll, rel=1e-4)


def test_a_top_token_is_spelled_as_it_stands_in_the_text() -> None:
    model = tiny_model("llama", tiny_tokenizer("pieces"))
    for prompt, word in (("the city of", " Rome"), ("東京は", "日本")):
        token = encode(model.tokenizer, prompt + word)[0][-1]
        ids = encode(model.tokenizer, prompt)[0]
        assert added_text(model.tokenizer, ids, token) == word


def test_rows_in_both_states_and_the_weights_as_before(session: EditSession) -> None:
    digest = session.weights_digest()
    rows = probe(session, FACT, 0, 1, monitor=quiet())
    assert session.weights_digest() == digest
    assert [row.probe for row in rows] == probes_of(FACT)
    assert [row.probe.kind for row in rows] == [
        "reliability", *["generalization"] * 2, *["locality"] * 3
    ]  # fmt: skip
    for number, name in ((0, "before"), (1, "after")):
        with session.at_state(number):
            fresh = core.read(session.model, FACT, [row.probe.prompt for row in rows])
        assert [getattr(row, name).token for row in rows] == [one.token for one in fresh]
        assert [getattr(row, name).new.nll for row in rows] == pytest.approx(
            [one.new.nll for one in fresh], rel=1e-4
        )
    assert rows[0].after.new.probability > rows[0].before.new.probability


def test_extra_rows_and_each_prompt_once(session: EditSession) -> None:
    more = [ProbePrompt("locality", "Rome is in"), ProbePrompt("reliability", f" {FACT.text} ")]
    rows = probe(session, FACT, 0, 2, more, quiet())
    assert [row.probe for row in rows] == [*probes_of(FACT), more[0]]


def reading(token: int, new: float, true: float | None, rank: int = 2) -> ProbeResponse:
    def rated(probability: float) -> Score:
        return Score(1.0, probability, False, rank)

    return ProbeResponse(token, "x", 0.5, rated(new), None if true is None else rated(true))


@pytest.mark.parametrize(
    ("kind", "before", "after", "result", "change"),
    [
        ("reliability", reading(1, 0.1, 0.6), reading(1, 0.5, 0.4), "pass", 0.4),
        ("reliability", reading(1, 0.1, 0.6), reading(2, 0.2, 0.3), "fail", -0.3),
        ("generalization", reading(1, 0.1, 0.2), reading(1, 0.3, 0.3), "fail", 0.2),
        ("generalization", reading(1, 0.1, None), reading(1, 0.9, None, rank=2), "fail", 0.8),
        ("generalization", reading(1, 0.1, None), reading(1, 0.2, None, rank=1), "pass", 0.1),
        ("locality", reading(1, 0.1, 0.6), reading(1, 0.9, 0.0), "kept", 0.8),
        ("locality", reading(1, 0.1, 0.6), reading(2, 0.1, 0.6), "changed", 0.0),
    ],
)
def test_what_passes(
    kind: str, before: ProbeResponse, after: ProbeResponse, result: str, change: float
) -> None:
    row = ProbeRow(ProbePrompt(kind, "a prompt"), before, after)
    assert row.result == result
    assert row.passed == (result in ("pass", "kept"))
    assert row.change == pytest.approx(change)
    expected = (int(row.passed), 1)
    assert aggregate([row]) == {k: expected if k == kind else (0, 0) for k in core.KINDS}


def test_without_a_true_target(session: EditSession) -> None:
    rows = probe(session, UNTRUE, 0, 1, monitor=quiet())
    assert all(row.before.true is None and row.after.true is None for row in rows)
    assert rows[0].passed == (rows[0].after.new.rank == 1)


def test_no_row_is_measured_twice(session: EditSession, monkeypatch: pytest.MonkeyPatch) -> None:
    probes, seen = ProbeRunner(session), count_reads(monkeypatch)
    every = probes_of(FACT)
    first = probes.measure(FACT, every[:4], 0, 1, quiet())
    assert len(seen) == 8
    again = probes.measure(FACT, every, 0, 1, quiet())
    assert seen[8:] == [one.prompt for one in every[4:]] * 2
    assert again[:4] == first
    del seen[:]
    probes.measure(FACT, every, 0, 2, quiet())  # only the new state
    assert len(seen) == len(every)
    del seen[:]
    probes.measure(UNTRUE, every[:1], 0, 1, quiet())  # other targets
    assert len(seen) == 2


def test_states_that_do_not_exist_and_probes_that_are_none(session: EditSession) -> None:
    for number in (3, -1):
        with pytest.raises(SessionError, match="no state"):
            probe(session, FACT, 0, number, monitor=quiet())
    with pytest.raises(InputError, match="blank"):
        ProbePrompt("locality", "  ")
    with pytest.raises(InputError, match="kind"):
        ProbePrompt("other", "a")


def test_canceled(session: EditSession) -> None:
    digest, probes = session.weights_digest(), ProbeRunner(session)
    with pytest.raises(Canceled):
        probes.measure(FACT, probes_of(FACT), 0, 1, Monitor(None, lambda: True))
    assert session.weights_digest() == digest
    assert probes.known(FACT, probes_of(FACT)[0], 0, 1) is None


# -- the panel -------------------------------------------------------------------------------------


def test_counts_are_those_of_the_rows(panel: ProbesPanel) -> None:
    panel.measure(block=True)
    html = panel._counts.value
    for kind in core.KINDS:
        rows = [row for row in panel.rows if row.probe.kind == kind]
        shown = [row for row in rows_of(panel.table) if row["kind"] == kind]
        good = sum(row.result in ("pass", "kept") for row in rows)
        assert inside(html, f"agg-{kind}") == f"{good} of {len(rows)}"
        assert sum(row["result"] in ("pass", "kept") for row in shown) == good
        assert len(shown) == len(rows) > 0


def test_a_changed_neighbor_is_a_failure(panel: ProbesPanel) -> None:
    panel.measure(block=True)
    changed = [row for row in panel.rows if row.result == "changed"]
    assert changed, "the edit of this test is meant to be too strong"
    for row in changed:
        assert row.before.token != row.after.token and not row.passed
    passed, count = panel.counts["locality"]
    assert count - passed == len(changed)
    cells = {row["prompt"]: row["result"] for row in rows_of(panel.table)}
    assert all(cells[row.probe.prompt] == "changed" for row in changed)


def test_a_row_that_is_added_is_measured_alone(
    panel: ProbesPanel, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel.measure(block=True)
    seen = count_reads(monkeypatch)
    before = len(panel.rows)
    panel._prompt.value, panel._kind.value = "Rome is in the city of", "locality"
    panel.add_button.click()
    assert panel.state.job is not None and panel.state.job.wait(20)
    assert seen == ["Rome is in the city of"] * 2
    assert panel.state.job.where == "row 1 / 1"
    assert inside(panel._status.value, "probes-state") == "measured 1 row"
    assert len(panel.rows) == before + 1 and panel.rows[-1].probe.kind == "locality"
    assert panel._prompt.value == ""
    assert panel.state.drafts[0].neighbors[-1] == "Rome is in the city of"
    panel.add("{} rises over", block=True)
    assert [row.probe.prompt for row in panel.rows][3] == "Eiffel Tower rises over"
    assert len(seen) == 4


def test_what_cannot_be_added(panel: ProbesPanel) -> None:
    drafts = panel.state.drafts
    for prompt, kind, message in (
        ("{} is in", "locality", "has {}"),
        (" ", "generalization", "blank"),
        (FACT.neighbors[0], "locality", "already there"),
        ("a prompt", "reliability", "cannot be added"),
    ):
        with pytest.raises(InputError, match=message):
            panel.add(prompt, kind)
    panel._prompt.value = ""
    panel.add_button.click()
    assert "blank" in panel.state.notice
    assert panel.state.drafts == drafts and panel.state.job is None


def test_sorted_by_the_largest_change(panel: ProbesPanel) -> None:
    panel.measure(block=True)
    panel.sort_button.click()
    changes = [abs(float(row["change"])) for row in rows_of(panel.table)]
    assert changes == sorted(changes, reverse=True) and changes[0] > changes[-1]
    largest = max(panel.rows, key=lambda row: abs(row.change))
    assert rows_of(panel.table)[0]["prompt"] == largest.probe.prompt
    panel.table.descending = False
    assert rows_of(panel.table)[-1]["prompt"] == largest.probe.prompt
    for column in panel.table.columns:
        panel.table.sorted_by = column
        assert sorted(panel.table.row_keys) == list(range(len(panel.probes)))


def test_unmeasured_rows_come_last_and_say_so(panel: ProbesPanel) -> None:
    probes = panel.probes
    panel._measure(FACT, probes[2:4], block=True)
    panel.sort_by_change()
    results = [row["result"] for row in rows_of(panel.table)]
    assert "not measured" not in results[:2] and set(results[2:]) == {"not measured"}
    assert panel.missing == [*probes[:2], *probes[4:]]


def test_a_row_that_is_clicked_goes_to_compare(panel: ProbesPanel) -> None:
    panel.measure(block=True)
    panel.sort_by_change()
    key = panel.table.row_keys[2]
    panel.table.selected = key
    assert panel.state.prompt == rows_of(panel.table)[2]["prompt"] == panel.probes[key].prompt
    panel.selected = 0
    assert panel.state.prompt == FACT.text
    panel.state.selected = 1
    assert panel.selected == -1


def test_states_and_reference(panel: ProbesPanel) -> None:
    panel.measure(block=True)
    assert "Before: 0 original; after: edit 2" in words(panel._states.value)
    panel.state.reference = 1
    assert "Before: edit 1; after: edit 2" in words(panel._states.value)
    assert panel.rows == [] and "press Measure" in panel._status.value
    panel.measure(block=True)
    assert len(panel.rows) == len(panel.probes)
    panel.state.reference = 2
    assert "nothing differs" in words(panel._states.value)
    panel.measure(block=True)
    assert {row.change for row in panel.rows} == {0.0}
    assert panel.counts["locality"] == (3, 3)
    panel.state.reference = 0  # known already
    assert len(panel.rows) == len(panel.probes)


def test_by_itself_after_an_edit_once_shown(panel: ProbesPanel) -> None:
    state, session = panel.state, panel.session
    session.restore(1)
    state.notify_weights_changed()
    session.restore(2)
    state.notify_weights_changed()
    assert state.job is None  # not shown yet
    panel.on_first_show()
    assert state.job is not None and state.job.wait(20)
    assert len(panel.rows) == len(panel.probes)
    session.restore(1)
    state.notify_weights_changed()
    assert state.job.wait(20) and panel.rows == []  # an undo is no edit
    job = state.job

    def edit(monitor: Monitor) -> None:
        session.restore(2)

    state.selected = 1
    state.start("edit", edit, lambda _: state.notify_weights_changed(), block=True)
    follower = state.job
    assert follower is not job and follower.name == "probes" and follower.wait(20)
    assert len(panel.rows) == len(panel.probes) == 1


def test_nothing_to_show_is_said(session: EditSession) -> None:
    panel = ProbesPanel(session)
    assert "No fact is selected" in words(panel._states.value)
    assert panel.measure_button.disabled and panel.add_button.disabled
    with pytest.raises(InputError, match="no ready fact is selected"):
        panel.measure()
    assert repr(panel) == "ProbesPanel(no fact is selected)"
    panel.state.facts = [FACTS[1]]
    assert "no paraphrases or neighbors" in words(panel._states.value)
    assert not panel.measure_button.disabled
    assert panel.table.rows[0][-1] == "not measured"


def test_locked_while_other_work_runs(panel: ProbesPanel) -> None:
    locked: list[bool] = []

    def work(_: Monitor) -> None:
        locked.extend([panel.measure_button.disabled, panel.add_button.disabled])
        with pytest.raises(SessionError):
            panel.add("Rome is in", "locality")

    panel.state.start("other", work, block=True)
    assert locked == [True, True]
    assert not panel.measure_button.disabled
    assert len(panel.probes) == 6


def test_static_and_escaped(session: EditSession) -> None:
    panel = ProbesPanel(State(session))
    evil = FACT.changed(subject="<img src=x onerror=alert(1)>")
    panel.state.facts = [evil]
    panel.measure(block=True)
    for html in (panel.static_html(), panel._states.value, panel._counts.value):
        assert "<img" not in html
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel)
    assert re.fullmatch(
        r"ProbesPanel\(<img .*: reliability \d of 1, .*, locality \d of 3\)", repr(panel)
    )
    assert 'data-testid="probes"' in bundle["text/html"]
