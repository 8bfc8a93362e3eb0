"""Why a fact failed, in words, and which later edit wrote over it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from examples import CONTEXTS, FACTS, quiet, small
from tiny import tiny_model

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.search_trace import Trace
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.inference.scores import Score
from alphaedit_core.session import diagnosis, outcomes
from alphaedit_core.session.diagnosis import diagnose, lost_facts, overwritten_by
from alphaedit_core.session.results import EditResult, FactResult, ModelResponse
from alphaedit_core.session.session import EditSession

SURE, LOST = Score(0.01, 0.99, True, 1), Score(3.0, 0.05, False, 7)
FOUND = Trace([2.0, 0.1], [0.0, 0.0], [0.0, 0.0], [0.1, 0.9], [0.0, 0.4], False, True)


def outcome(
    after: Score, message: str = "London", trace: Trace = FOUND, left: float = 0.05
) -> FactResult:
    fact = FACTS[0]
    before, now = (
        ModelResponse(completion="Paris", new=LOST, true=None),
        ModelResponse(completion=message, new=after, true=None),
    )
    return FactResult(
        fact=fact, tokens=("Rome", " in"), before=before, after=now, trace=trace, residual_left=left
    )


def why(one: FactResult, batches: tuple[int, ...] = (0,)) -> str:
    return diagnose(
        EditResult(outcomes=[one] * len(batches), writes=[], batches=list(batches), plans=[]), 0
    )


def test_a_written_fact_needs_no_words() -> None:
    assert why(outcome(SURE, "Rome in Italy")) == ""


def test_the_tokenizer_writes_it_otherwise() -> None:
    message = why(outcome(LOST, "rome in Italy, where"))
    assert "not as the tokens “Rome” “ in”" in message and "tokenizer" in message


def test_a_longer_word_is_not_the_target_written_otherwise() -> None:
    romeo = replace(outcome(LOST, " Romeo and Juliet"), fact=FACTS[0].changed(target="Rome"))
    assert "not as the tokens" not in why(romeo)


def test_the_search_did_not_converge() -> None:
    stuck = replace(FOUND, nll=[4.0, 3.0], probability=[0.02, 0.05], converged=False)
    message = why(outcome(LOST, trace=stuck))
    assert "did not converge: loss 3.00 and P(target) 0.05 after 2 evaluations" in message
    assert "target_steps" in message and "clamp_norm_factor" not in message
    assert "clamp_norm_factor" in why(outcome(LOST, trace=replace(stuck, clamped=True)))
    trained = why(replace(outcome(LOST, trace=stuck), residual_left=None))
    assert "its training did not converge: loss 3.00" in trained and "ft_learning_rate" in trained


def test_a_fact_that_was_held_already_wants_nothing() -> None:
    held = replace(FOUND, nll=[0.01], kl=[0.0], decay=[0.0], probability=[0.99], delta=[0.0])
    message = why(replace(outcome(LOST, trace=held), residual_left=None))
    assert "the model gave this answer before the edit" in message and "write it again" in message


def test_several_relations_of_one_subject_share_their_key() -> None:
    def asks(prompt: str, subject: str = "Marie Curie") -> FactResult:
        return replace(outcome(LOST, left=0.8), fact=Fact(subject, prompt, "Oslo"))

    several = [asks("{} was born in"), asks("{} worked as a"), asks("The mother of {} is")]
    facts = [*several, asks("{} was born in", "Marie")]
    result = EditResult(outcomes=facts, writes=[], batches=[0] * 4, plans=[])
    assert "the same key as “Marie Curie worked as a”" in diagnose(result, 0)
    assert "the same key as “Marie Curie was born in”" in diagnose(result, 1)
    assert "the relation comes before the subject" in diagnose(result, 0)
    assert "ridge" not in diagnose(result, 0) and "threshold" not in diagnose(result, 0)
    assert "fell short" in diagnose(result, 2) and "fell short" in diagnose(result, 3)
    # Facts of different batches do not compete for a key.
    apart = EditResult(outcomes=several, writes=[], batches=[0, 1, 1], plans=[])
    assert "same key" in diagnose(apart, 0)


def test_the_write_fell_short() -> None:
    assert "fell short: 80% of the target change" in why(outcome(LOST, left=0.8))


def test_a_later_batch_of_the_same_edit() -> None:
    assert "later batch" in why(outcome(LOST), (0, 1))
    assert "later batch" not in why(outcome(LOST), (0, 0))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditSession]:
    """Three edits of one fact each."""
    folder = tmp_path_factory.mktemp("diagnosis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPHAEDIT_CACHE", str(folder / "cache"))
        patch.setattr(
            outcomes, "generate_greedy", lambda *a, **k: generate_greedy(*a, **{**k, "tokens": 2})
        )
        made = EditSession(
            tiny_model("llama"), hyperparameters=small(folder), contexts=CONTEXTS[:1]
        )
        for facts in (FACTS[:1], FACTS[1:3], FACTS[3:]):
            made.edit(facts, monitor=quiet())
        yield made


def test_the_edit_that_wrote_over_it(session: EditSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which states still say the fact is made up; which fact is nearest is computed here again."""

    def lost_from(state: int | None) -> None:
        digests = {}
        for number in range(session.applied + 1):
            with session.at_state(number):
                digests[session.weights_digest()] = number

        def scored(*_: object, **__: object) -> list[Score]:
            now = digests[session.weights_digest()]
            return [LOST if now == 0 or (state is not None and now >= state) else SURE]

        monkeypatch.setattr(diagnosis, "target_logprobs", scored)

    before = session.weights_digest()
    lost_from(None)
    assert overwritten_by(session, 1, FACTS[0]) is None
    lost_from(3)
    assert overwritten_by(session, 1, FACTS[0]) == (3, FACTS[3])
    lost_from(2)
    found = overwritten_by(session, 1, FACTS[0])
    assert found is not None and found[0] == 2
    own, [batch] = session.history[0].batches[0], session.history[1].batches
    cosines = [
        sum(
            float((own.keys[layer][:, 0] @ batch.keys[layer][:, i])
                  / own.keys[layer][:, 0].norm() / batch.keys[layer][:, i].norm())
            for layer in (0, 1)
        )
        for i in (0, 1)
    ]  # fmt: skip
    assert found[1] == batch.facts[0 if cosines[0] > cosines[1] else 1]
    lost_from(1)
    assert overwritten_by(session, 1, FACTS[0]) is None  # never said
    assert session.weights_digest() == before


def test_facts_that_were_lost(session: EditSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fact goes with edit 2; one that was never said, or was corrected, is not lost."""
    fact, digests = FACTS[0], {}
    for number in range(session.applied + 1):
        with session.at_state(number):
            digests[session.weights_digest()] = number

    def scored(_: object, pairs: list[tuple[str, str]], **__: object) -> list[Score]:
        now = digests[session.weights_digest()]
        return [LOST if text == fact.text and now >= 2 else SURE for text, _ in pairs]

    monkeypatch.setattr(diagnosis, "target_logprobs", scored)
    message = [
        replace(o, after=replace(o.after, new=SURE)) for o in session.history[0].result.outcomes
    ]
    first = session.history[0]
    monkeypatch.setattr(
        session, "_entries",
        [replace(first, result=replace(first.result, outcomes=message)), *session.history[1:]],
    )  # fmt: skip
    [lost] = lost_facts(session, quiet())
    assert (lost.edit, lost.fact) == (1, fact) and lost.by is not None and lost.by[0] == 2
    assert "overwritten by edit 2" in str(lost)
    unsaid = [replace(o, after=replace(o.after, new=LOST)) for o in message]
    monkeypatch.setattr(
        session, "_entries",
        [replace(first, result=replace(first.result, outcomes=unsaid)), *session.history[1:]],
    )  # fmt: skip
    assert lost_facts(session, quiet()) == []
