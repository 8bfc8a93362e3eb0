"""Choosing an editor and its switches, and two editors side by side, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.editing.editors.registry import editor_class, editors
from alphaedit_core.errors import AlphaEditError
from alphaedit_core.evaluation.counterfact_scores import Measures, counterfact_scores
from alphaedit_core.experiments import editor_comparison
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession
from alphaedit_widgets.edit.panel import EditPanel
from alphaedit_widgets.editors.panel import EditorsPanel
from alphaedit_widgets.history.panel import HistoryPanel
from alphaedit_widgets.state import State


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("editors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture
def state(place: Path) -> State:
    made = State(
        EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])
    )
    made.facts = FACTS[:2]
    return made


# -- the next edit's editor ------------------------------------------------------------------------


def test_every_editor_can_be_chosen_and_says_what_it_does(state: State) -> None:
    panel = EditPanel(state)
    assert list(panel.method.editor.options) == list(editors())
    for name, editor in editors().items():
        panel.method.editor.value = name
        html = panel.method._about.value
        assert state.session.editor == name, state.notice  # other layers, too: there are no edits
        assert editor.about.replace("'", "&#x27;") in html and editor.source in html
        assert "as published" in html and state.session.hyperparameters.method in html
        hidden = panel.method.previous_keys.layout.display == "none"
        assert hidden is (editor.previous_keys is None)
        assert panel.method.projection.value is editor.projection


def test_the_switches_are_the_sessions(state: State) -> None:
    panel = EditPanel(state)
    panel.method.projection.value = False
    assert state.session.hyperparameters.projection is False
    assert "not as published: alphaedit -projection +previous-keys" in panel.method._about.value
    state.set_method("projection", True)
    assert panel.method.projection.value is True
    panel.method.editor.value = "memit"
    hp = state.session.hyperparameters
    assert (hp.editor, hp.projection, hp.previous_keys) == ("memit", False, False)
    assert (str(hp.threshold), hp.tokens) == ("rank:30", 1024)
    assert "weight on C" in panel._preflight.value and "ridge" not in panel._preflight.value


def test_an_editor_of_other_layers_is_refused_in_words_where_there_are_edits(state: State) -> None:
    panel = EditPanel(state)
    panel.run(block=True)
    before = state.session.hyperparameters
    panel.method.editor.value = "rome"
    assert "layers cannot change" in state.notice
    assert state.session.hyperparameters == before
    assert panel.method.editor.value == "alphaedit"


@pytest.mark.parametrize("name", ["memit", "ft", "rome"])
def test_an_edit_by_another_editor(state: State, name: str) -> None:
    panel, history = EditPanel(state), HistoryPanel(state)
    panel.method.editor.value = name
    panel.run(block=True)
    assert state.session.history[0].hyperparameters.editor == name
    stages = panel._stages.value
    assert ("training" in stages) is (name == "ft")
    assert ("target values" in stages) is (name != "ft")
    assert ("n/a" in panel._outcome.value) is (name == "ft"), "nothing was searched for"
    assert state.session.hyperparameters.method in history.static_html()


def test_without_projection_no_null_space_is_needed(state: State) -> None:
    panel = EditPanel(state)
    state.session.spectra(quiet())
    state.threshold = "rank:0"
    assert panel.run_button.disabled and "nothing can be written" in panel.problem()
    panel.method.projection.value = False
    assert not panel.run_button.disabled and panel.problem() == ""
    panel.run(block=True)
    assert state.session.applied == 1


# -- side by side ----------------------------------------------------------------------------------


def test_two_editors_side_by_side(state: State) -> None:
    state.session.edit(FACTS[3:], monitor=quiet())
    digest = state.session.weights_digest()
    panel = EditorsPanel(state)
    assert [hp.editor for hp in panel.methods] == ["alphaedit", "memit"]
    assert panel.comparison is None and "not compared yet" in panel.summary()
    panel.with_perplexity = False
    assert panel._with_text.value is panel.with_perplexity is False
    panel.controls[1].projection.value = True
    panel.compare(block=True)
    comparison = panel.comparison
    assert comparison is not None and len(comparison.runs) == 2
    assert [run.hyperparameters for run in comparison.runs] == list(panel.methods)
    for row in comparison.rows():
        assert all(cell in panel._shown.value for cell in row)
    assert "memit +projection -previous-keys" in panel._shown.value
    assert comparison.runs[0].hyperparameters.method in panel.static_html()
    assert state.session.weights_digest() == digest and state.session.applied == 1


def test_threshold_and_seed_are_the_sessions(state: State) -> None:
    panel = EditorsPanel(state)
    state.threshold = "rank:5"
    assert [str(hp.threshold) for hp in panel.methods] == ["rank:5", "rank:5"]
    assert "threshold rank:5" in panel._settings.value and "batch size 100" in panel._settings.value


def test_thresholds_by_layer_are_the_sessions_where_the_layers_are(state: State) -> None:
    hp = state.session.hyperparameters
    own = tuple(f"rank:{5 + place}" for place, _ in enumerate(hp.layers))
    state.session.hyperparameters = hp.replace(layer_thresholds=own)
    panel = EditorsPanel(state)
    used = [tuple(map(str, method.layer_thresholds)) for method in panel.methods]
    assert used == [own, own]
    assert f"threshold {','.join(own)}" in panel._settings.value
    state.threshold = "rank:5"
    assert [method.layer_thresholds for method in panel.methods] == [(), ()]
    assert [str(method.threshold) for method in panel.methods] == ["rank:5", "rank:5"]


def test_curves_are_called_by_the_facts_of_their_search(state: State) -> None:
    """ROME searches for one fact after another."""
    panel = EditPanel(state)
    panel.on_first_show()
    panel.method.editor.value = "rome"
    named: list[list[str]] = []
    kept = panel._set_names
    panel._set_names = lambda names: (named.append(names), kept(names))[1]  # type: ignore[method-assign]
    panel.run(block=True)
    while_it_ran = [names for names in named if len(names) == 1]
    assert while_it_ran == [[FACTS[0].subject], [FACTS[1].subject]]
    assert panel._names == [fact.subject for fact in FACTS[:2]], "at last all are shown"


def test_perplexity_is_of_the_text_that_drift_reads(state: State) -> None:
    panel = EditorsPanel(state)
    panel.compare(block=True)
    assert panel.comparison is not None and panel.comparison.before.perplexity is not None


def test_a_comparison_can_be_canceled(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = state.session.weights_digest()
    panel = EditorsPanel(state)
    edited: list[str] = []

    def then_cancel(*arguments: Any) -> Measures:
        measured = counterfact_scores(*arguments)
        if state.session.weights_digest() != digest:  # an editor has written
            edited.append(state.session.weights_digest())
            state.cancel()
        return measured

    monkeypatch.setattr(editor_comparison, "counterfact_scores", then_cancel)
    job = panel.compare()
    assert job.wait(20) and job.state == "canceled" and len(edited) == 1
    assert "the weights are unchanged" in panel._status.value and panel.comparison is None
    assert state.session.weights_digest() == digest
    assert not panel.run_button.disabled and panel.cancel_button.disabled


def test_without_facts_there_is_nothing_to_compare(state: State) -> None:
    panel = EditorsPanel(state)
    state.facts = []
    assert panel.run_button.disabled
    with pytest.raises(AlphaEditError, match="no fact is ready"):
        panel.compare()


def test_methods_are_set_from_the_next_cell(state: State) -> None:
    panel = EditorsPanel(state)
    one, other = panel.methods
    panel.methods = other, one.replace(projection=False)
    assert panel.controls[0].editor.value == "memit"
    assert panel.controls[1].projection.value is False
    assert editor_class(panel.methods[0].editor).name == "memit"
