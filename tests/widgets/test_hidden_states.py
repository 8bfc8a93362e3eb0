"""The drift panel's section on hidden states, without a browser: only on request, and as it is."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.errors import InputError, SessionError
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_core.side_effects.hidden_states import hidden_drift, unrelated_prompts
from alphaedit_widgets.drift.panel import DriftPanel
from alphaedit_widgets.state import State

SENTENCES = (
    "Rome is a very old city.", "Berlin is the <b>capital</b> of Germany.",
    "Tokyo and Japan are far from here.", "You know that the government sits in Paris.",
    "Mechanics is named after Newton himself.",
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("hidden")
    (folder / "probe.txt").write_text(" ".join(SENTENCES), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture
def panel(place: Path) -> DriftPanel:
    hp = small(place, ridge=0.01, target_steps=8, clamp_norm_factor=3.0)
    session = EditSession(tiny_model("llama"), hyperparameters=hp, contexts=CONTEXTS[:1])
    made = DriftPanel(State(session), probe=place / "probe.txt")
    made.auto = False
    return made


def edit(panel: DriftPanel, *facts: Any) -> None:
    panel.session.edit(facts, monitor=quiet())
    panel.state.notify_weights_changed()


def message_of(panel: DriftPanel) -> str:
    return re.sub(r"<[^>]+>", "", panel.hidden._message.value)


def test_nothing_is_made_before_it_is_asked_for(panel: DriftPanel) -> None:
    panel.on_first_show()
    edit(panel, FACTS[0])
    hidden = panel.hidden
    assert hidden.result is None
    assert message_of(panel) == "not compared" and hidden._details.value == ""
    assert hidden in panel.children
    panel.hidden.compare_button.click()
    job = panel.state.job
    assert job is not None and job.wait(20) and job.state == "done"
    assert hidden._details.value.count("<img alt=") == 1 and hidden.result is not None


def test_numbers_and_points_are_those_of_the_core(panel: DriftPanel, place: Path) -> None:
    edit(panel, FACTS[1])
    panel.hidden.compare(block=True)
    found, session = panel.hidden.result, panel.session
    prompts = unrelated_prompts(session, probe=place / "probe.txt")
    assert len(prompts) == 4, "what is said of Newton is not unrelated"
    assert found == hidden_drift(session, 1, prompts, quiet())
    assert found is not None and found.mean_shift > 0
    shown = panel.hidden._details.value
    assert found.figure() in shown and f"Mean shift {found.mean_shift:.2%}" in shown
    for name, value in found.rows():
        assert f">{name}<" in shown and value in shown
    assert 'data-testid="hidden-table"' in shown and 'data-testid="hidden-most"' in shown
    assert "Berlin is the &lt;b&gt;capital&lt;/b&gt; of Germany" in shown
    assert found._repr_html_() in panel.static_html()


def test_another_state_is_not_passed_off_as_the_present_one(panel: DriftPanel) -> None:
    edit(panel, FACTS[0])
    panel.hidden.compare(block=True)
    assert panel.hidden.result is not None
    share = f"{panel.hidden.result.mean_shift:.2%}"
    assert message_of(panel) == f"After edit 1 the mean has moved by {share}."
    panel.session.undo()
    panel.state.notify_weights_changed()
    other = "The state has changed since; compare again to update."
    assert message_of(panel).endswith(other)
    edit(panel, FACTS[2])
    assert panel.session.applied == 1 and message_of(panel).endswith(other), (
        "edit 1, but not the same"
    )
    panel.session.undo()
    panel.hidden.compare(block=True)
    assert message_of(panel) == "After edit 0 the mean has moved by 0.00%."


def test_other_work_comes_first(panel: DriftPanel) -> None:
    entered, leave = threading.Event(), threading.Event()

    def work(_: Monitor) -> None:
        entered.set()
        assert leave.wait(10)

    job = panel.state.start("other", work)
    assert entered.wait(5) and panel.hidden.compare_button.disabled
    with pytest.raises(SessionError, match="other is running"):
        panel.hidden.compare()
    leave.set()
    assert job.wait(5) and not panel.hidden.compare_button.disabled


def test_what_cannot_be_compared_is_said_in_the_header(panel: DriftPanel, place: Path) -> None:
    short = place / "short.txt"
    short.write_text("Rome is very old.", encoding="utf-8")
    panel.state.drifts.probe = short
    panel.hidden.compare_button.click()
    job = panel.state.job
    assert job is not None and job.wait(10)
    assert panel.state.failure is not None and "has 1 sentences" in panel.state.failure.message
    with pytest.raises(InputError, match="has 1 sentences"):
        panel.hidden.compare(block=True)
    assert panel.hidden.result is None and message_of(panel) == "not compared"
