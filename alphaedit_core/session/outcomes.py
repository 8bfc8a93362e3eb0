"""Responses of a model to facts before and after an edit, as results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.batch import BatchWrite
from alphaedit_core.errors import DivergedError
from alphaedit_core.inference.completions import added_text, generate_greedy
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.progress import Monitor

from .results import EditResult, FactResult, ModelResponse


def query_facts(
    model: EditableModel, facts: Sequence[Fact], monitor: Monitor
) -> list[ModelResponse]:
    """Return a model's completion and the scores of both targets for each fact.

    Args:
        model: the model.
        facts: the facts.
        monitor: advanced by the number of facts.
    """
    completions = generate_greedy(model, [fact.text for fact in facts], monitor=monitor)
    new = target_logprobs(model, [(fact.text, fact.target) for fact in facts], monitor=monitor)
    rated = [fact for fact in facts if fact.target_true]
    pairs = [(fact.text, fact.target_true) for fact in rated if fact.target_true]
    true_scores = target_logprobs(model, pairs, monitor=monitor)
    true = {id(fact): score for fact, score in zip(rated, true_scores, strict=True)}
    monitor.advance(len(facts))
    return [
        ModelResponse(completion=text, new=score, true=true.get(id(fact)))
        for fact, text, score in zip(facts, completions, new, strict=True)
    ]


def _result(
    model: EditableModel,
    parts: Sequence[Sequence[TokenizedFact]],
    writes: Sequence[BatchWrite],
    before: Sequence[ModelResponse],
    after: Sequence[ModelResponse],
    seconds: dict[str, float],
) -> EditResult:
    outcomes: list[FactResult] = []
    batches: list[int] = []
    for number, (part, written) in enumerate(zip(parts, writes, strict=True)):
        for position, request in enumerate(part):
            index = len(outcomes)
            outcomes.append(
                FactResult(
                    fact=request.fact,
                    tokens=_token_texts(model, request),
                    before=before[index],
                    after=after[index],
                    trace=written.traces[position],
                    residual_left=written.residual_left[position],
                    note=request.note,
                )
            )
            batches.append(number)
    plans = [written.plan.tokens for written in writes]
    return EditResult(
        outcomes=outcomes,
        writes=[written.writes for written in writes],
        batches=batches,
        plans=plans,
        seconds=seconds,
    )


def _check_finite(facts: Sequence[Fact], after: Sequence[ModelResponse]) -> None:
    """Check that the scores after an edit are finite; otherwise the edit cannot be saved."""
    for fact, response in zip(facts, after, strict=True):
        scores = [score for score in (response.new, response.true) if score is not None]
        if not all(math.isfinite(score.nll) for score in scores):
            raise DivergedError(
                f'fact "{fact.text}": after the edit the model\'s output is not finite; lower '
                "target_learning_rate or ft_learning_rate, or load the model in float32"
            )


def _token_texts(model: EditableModel, request: TokenizedFact) -> tuple[str, ...]:
    """Return the text of each target token after the prompt."""
    ids = [*request.rows[0].ids, *request.target]
    return tuple(
        added_text(model.tokenizer, ids[:position], ids[position])
        for position in range(len(ids) - len(request.target), len(ids))
    )
