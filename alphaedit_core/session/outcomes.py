"""What a model says of facts before and after an edit, as results."""

from __future__ import annotations

import math
from collections.abc import Sequence

from alphaedit_core.data.facts import Fact
from alphaedit_core.editing.batch import BatchWrite
from alphaedit_core.errors import (
    DivergedError,
)
from alphaedit_core.inference.completions import added_text, generate_greedy
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact
from alphaedit_core.progress import Monitor

from .results import EditResult, FactResult, ModelResponse


def query_facts(
    model: EditableModel, facts: Sequence[Fact], monitor: Monitor
) -> list[ModelResponse]:
    """What a model says of facts: completions and scores of both targets."""
    completions = generate_greedy(model, [fact.text for fact in facts], monitor=monitor)
    new = target_logprobs(model, [(fact.text, fact.target) for fact in facts], monitor=monitor)
    known = [fact for fact in facts if fact.target_true]
    pairs = [(fact.text, fact.target_true) for fact in known if fact.target_true]
    known_scores = target_logprobs(model, pairs, monitor=monitor)
    true = {id(fact): own for fact, own in zip(known, known_scores, strict=True)}
    monitor.advance(len(facts))
    return [
        ModelResponse(text, own, true.get(id(fact)))
        for fact, text, own in zip(facts, completions, new, strict=True)
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
        for place, request in enumerate(part):
            index = len(outcomes)
            outcomes.append(
                FactResult(
                    request.fact,
                    _token_texts(model, request),
                    before[index],
                    after[index],
                    written.traces[place],
                    written.residual_left[place],
                    request.note,
                )
            )
            batches.append(number)
    plans = [written.plan.tokens for written in writes]
    return EditResult(outcomes, [written.writes for written in writes], batches, plans, seconds)


def _check_finite(facts: Sequence[Fact], after: Sequence[ModelResponse]) -> None:
    """Refuse an edit behind which the model's output is no number: it cannot be used, nor saved."""
    for fact, seen in zip(facts, after, strict=True):
        scores = [
            target_logprobs
            for target_logprobs in (seen.new, seen.true)
            if target_logprobs is not None
        ]
        if not all(math.isfinite(target_logprobs.nll) for target_logprobs in scores):
            raise DivergedError(
                f'fact "{fact.text}": after the edit the model\'s output is no number; lower '
                "target_learning_rate or ft_learning_rate, or load the model in float32"
            )


def _token_texts(model: EditableModel, request: TokenizedFact) -> tuple[str, ...]:
    """The target's tokens as they are spelled behind the prompt."""
    ids = [*request.rows[0].ids, *request.target]
    return tuple(
        added_text(model.tokenizer, ids[:place], ids[place])
        for place in range(len(ids) - len(request.target), len(ids))
    )
