"""Editors side by side, and the measures by which they are compared."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import prose, tiny_model

from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.evaluation.counterfact_scores import counterfact_scores
from alphaedit_core.experiments import editor_comparison
from alphaedit_core.experiments.editor_comparison import compare_editors, parse_method
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.inference.scoring import perplexity, target_logprobs
from alphaedit_core.progress import Monitor
from alphaedit_core.session import outcomes
from alphaedit_core.session.session import EditSession

#: With paraphrases and neighbors; the third has no true target.
TOLD = (
    FACTS[0].changed(
        paraphrases=["One sees the Eiffel Tower in", "Everyone goes to the city of"],
        neighbors=["The Louvre is in the city of", "Newton was born in", "You know that"],
    ),
    FACTS[1].changed(neighbors=["The old city of"]),
    FACTS[2],
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("comparison")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(outcomes, "generate_greedy", partial(generate_greedy, tokens=2))
        yield folder


@pytest.fixture
def session(place: Path) -> EditSession:
    return EditSession(tiny_model("llama"), hyperparameters=small(place), contexts=CONTEXTS[:1])


def methods(place: Path, *names: str) -> list[Any]:
    return [
        small(place, editor=name, projection=on, previous_keys=False, covariance_weight=0.5)
        for name in names
        for on in (False, True)
    ]


# -- measures --------------------------------------------------------------------------------------


def test_measures_by_hand() -> None:
    model = tiny_model("llama")

    def nll(prompt: str, target: str) -> float:
        return target_logprobs(model, [(prompt, target)])[0].nll

    first, second, third = TOLD
    hit = [nll(f.text, f.target) < nll(f.text, f.target_true or "") for f in (first, second)]
    same = [nll(p, first.target) < nll(p, first.target_true or "") for p in first.paraphrases]
    kept = [
        [nll(p, f.target_true or "") < nll(p, f.target) for p in f.neighbors]
        for f in (first, second)
    ]
    text = prose(900, seed=3)
    found = counterfact_scores(model, TOLD, text, quiet())
    assert found.efficacy == 100 * sum(hit) / 2
    assert found.generalization == 100 * sum(same) / 2  # of the one fact that has paraphrases
    assert found.specificity == pytest.approx(
        100 * (sum(kept[0]) / 3 + sum(kept[1]) / 1) / 2  # the mean within a fact comes first
    )
    exact = [target_logprobs(model, [(f.text, f.target)])[0].exact for f in TOLD]
    assert found.exact == pytest.approx(100 * sum(exact) / 3)
    assert found.perplexity == perplexity(model, text)
    alone = counterfact_scores(model, [third], monitor=quiet())
    assert (alone.efficacy, alone.generalization, alone.specificity) == (None, None, None)
    assert alone.perplexity is None


# -- side by side ----------------------------------------------------------------------------------


def test_each_editor_begins_on_the_unedited_model_and_all_is_put_back(
    session: EditSession, place: Path
) -> None:
    session.edit(FACTS[3:], monitor=quiet())
    digest = session.weights_digest()
    wanted = methods(place, "memit", "alphaedit")
    comparison = compare_editors(session, TOLD, wanted, monitor=quiet())
    assert session.weights_digest() == digest and session.applied == 1
    session.undo()
    assert comparison.before == counterfact_scores(session.model, TOLD, monitor=quiet())
    session.close()
    for run, hp in zip(comparison.runs, wanted, strict=True):
        alone = EditSession(session.model, hyperparameters=hp, contexts=CONTEXTS[:1])
        result = alone.edit(TOLD, monitor=quiet())
        assert run.hyperparameters == hp
        assert run.after == counterfact_scores(session.model, TOLD, monitor=quiet())
        assert [o.after for o in run.result.outcomes] == [o.after for o in result.outcomes]
        alone.close()


def test_target_values_that_the_session_keeps_are_not_searched_for_again(place: Path) -> None:
    [hp, _] = methods(place, "alphaedit")
    session = EditSession(
        tiny_model(), hyperparameters=hp, contexts=CONTEXTS[:1], targets=(kept := {})
    )
    session.edit(TOLD, monitor=quiet())
    compare_editors(session, TOLD, [hp], monitor=quiet())
    assert len(kept) == 1
    compare_editors(session, TOLD[:2], [hp], monitor=quiet())
    assert len(kept) == 2
    session.close()


def test_the_table_states_both_switches(session: EditSession, place: Path) -> None:
    comparison = compare_editors(session, TOLD, methods(place, "memit"), monitor=quiet())
    names = [row[0] for row in comparison.rows()]
    assert names == [
        "unedited", "memit -projection -previous-keys", "memit +projection -previous-keys",
    ]  # fmt: skip
    assert "memit +projection -previous-keys" in repr(comparison)
    assert "memit +projection -previous-keys" in comparison._repr_html_()
    stored = comparison.to_dict()["runs"][1]
    assert stored["method"] == names[2] and stored["hyperparameters"]["projection"] is True


@pytest.mark.parametrize("calls", [1, 30, 100])
def test_a_cancel_puts_everything_back(session: EditSession, place: Path, calls: int) -> None:
    session.edit(FACTS[3:], monitor=quiet())
    digest, seen = session.weights_digest(), 0

    def late() -> bool:
        nonlocal seen
        seen += 1
        return seen > calls

    with pytest.raises(Canceled):
        compare_editors(session, TOLD, methods(place, "memit"), monitor=Monitor(None, late))
    assert session.weights_digest() == digest
    session.edit(FACTS[:1], monitor=quiet())
    session.undo()
    assert session.weights_digest() == digest


def test_a_lent_model_is_nobody_elses(session: EditSession) -> None:
    refused: list[str] = []

    def other() -> None:
        try:
            session.weights_digest()
        except Exception as error:
            refused.append(type(error).__name__)

    with session.lend_model() as model:
        assert model.owner is None
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert refused == ["SessionError"] and model.owner is session


@pytest.mark.parametrize(
    ("text", "editor", "projection", "previous"),
    [
        ("memit", "memit", False, False),
        ("memit+projection", "memit", True, False),
        ("memit +projection +previous-keys", "memit", True, True),
        ("alphaedit-previous-keys", "alphaedit", True, False),
        ("alphaedit-projection", "alphaedit", False, True),
        ("r-rome+projection", "r-rome", True, False),
        ("ft-l", "ft-l", False, False),
    ],
)
def test_a_method_in_words(text: str, editor: str, projection: bool, previous: bool) -> None:
    model = tiny_model("llama")
    hp = parse_method(text, model)
    assert (hp.editor, hp.projection, hp.previous_keys) == (editor, projection, previous)
    assert parse_method(hp.method, model) == hp, "what every table prints is understood"


def test_a_method_that_cannot_be_is_refused_before_any_work(
    session: EditSession, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        editor_comparison, "counterfact_scores", lambda *_: pytest.fail("work was begun")
    )
    bad = small(place, editor="rome", previous_keys=False)  # two layers
    with pytest.raises(InputError, match=r"rome writes into one layer, not \[0, 1\]; give one"):
        compare_editors(session, TOLD, [*methods(place, "memit"), bad], monitor=quiet())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nope", 'editor "nope" does not exist; give one of'),
        ("memit+color", r'editor "memit\+color" does not exist'),
        ("", "is not understood; give for example memit"),
        ("rome+previous-keys", "rome does not use previous keys; leave them out"),
    ],
)
def test_a_method_that_is_none(text: str, message: str, session: EditSession) -> None:
    digest = session.weights_digest()
    with pytest.raises(InputError, match=message):
        compare_editors(session, TOLD, ["memit", text], monitor=quiet())
    with pytest.raises(InputError, match="no editor is given"):
        compare_editors(session, TOLD, [], monitor=quiet())
    assert session.weights_digest() == digest
