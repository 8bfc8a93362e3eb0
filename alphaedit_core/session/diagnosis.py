"""Explanations of why a fact was not written or was forgotten.

Causes are checked in the order in which they occur during an edit. A fact is written if every token
of its target is the model's first choice after the prompt (``FactResult.written``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.joining import bare
from alphaedit_core.data.superseding import CurrentFacts
from alphaedit_core.inference.matching import begins
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.progress import Monitor

from .results import EditResult, FactResult

if TYPE_CHECKING:
    from .edits import StoredBatch
    from .session import EditSession

#: Remedy for facts that share a key.
ANOTHER_KEY = (
    "word the prompts so that the relation comes before the subject, as in “The birthplace of {} "
    "is”"
)

#: Smallest P(target) at the end of a search that counts as found.
_MIN_PROBABILITY = 0.5
#: Largest share of the target change that may be missing after the write.
_MAX_RESIDUAL = 0.3


def diagnose(result: EditResult, index: int) -> str:
    """Return a sentence that explains why a fact was not written; "" if it was written.

    Args:
        result: result of the edit.
        index: index of the fact in ``result.outcomes``.
    """
    outcome = result.outcomes[index]
    if outcome.written:
        return ""
    for explain in (_other_tokens, _known_before, _not_converged):
        if sentence := explain(outcome):
            return sentence
    if sentence := _shared_key(result, index) or _incomplete_write(outcome):
        return sentence
    if result.batches[index] < result.batches[-1]:
        return (
            "its own write reached the target value, so a later batch of the same edit overwrote "
            "it; write it again, or use a larger batch size"
        )
    step = "it was trained" if _trained(outcome) else "its target value was found and written"
    return (
        f"{step}, but it does not take effect at this prompt "
        f"(P = {outcome.after.new.probability:.2f}); other facts of the same edit may share its "
        "key, or the last edited layer may be too late in the model"
    )


def _other_tokens(outcome: FactResult) -> str:
    """Explain a target that the model writes with other tokens."""
    texts = (outcome.after.completion, bare(outcome.fact.target))
    completion, target = (" ".join(text.split()) for text in texts)
    if not (completion.casefold().startswith(target.casefold()) and begins(completion, [target])):
        return ""
    tokens = " ".join(f"“{token}”" for token in outcome.tokens)
    return (
        f"the model now says “{completion[: len(target)]}”, but not as the tokens {tokens} that "
        "the tokenizer makes of the target here; write the target as the model says it"
    )


def _trained(outcome: FactResult) -> bool:
    """Whether the weights were trained for the fact, without a target search."""
    return outcome.residual_left is None and not _no_change(outcome)


def _no_change(outcome: FactResult) -> bool:
    """Whether the search ended at its first evaluation, without a target change."""
    return outcome.residual_left is None and outcome.trace.delta == [0.0]


def _known_before(outcome: FactResult) -> str:
    if not _no_change(outcome):
        return ""
    return (
        "the model gave this answer before the edit, so nothing was written for it, but the other "
        "facts of the edit overwrote it; write it again"
    )


def _shared_key(result: EditResult, index: int) -> str:
    """Explain a key shared with facts whose prompts are equal up to the subject's last token."""
    fact = result.outcomes[index].fact
    others = [
        f"“{outcome.fact.text}”"
        for outcome in result.outcomes
        if outcome.fact.prompt != fact.prompt
        and _through_subject(outcome.fact) == _through_subject(fact)
    ]
    if not others:
        return ""
    return (
        f"it has the same key as {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}: "
        "the prompts are equal up to the subject's last token, so a write for one of them affects "
        f"all; {ANOTHER_KEY}"
    )


def _through_subject(fact: Fact) -> str:
    return fact.text[: fact.subject_span[1]]


def _not_converged(outcome: FactResult) -> str:
    trace = outcome.trace
    if trace.converged or trace.probability[-1] >= _MIN_PROBABILITY:
        return ""
    if _trained(outcome):
        return (
            f"its training did not converge: loss {trace.loss[-1]:.2f} and P(target) "
            f"{trace.probability[-1]:.2f} after {len(trace.nll)} evaluations; raise target_steps "
            "or ft_learning_rate"
        )
    remedy = (
        ", with its change clamped to the largest norm allowed; raise clamp_norm_factor"
        if trace.clamped
        else "; raise target_steps or target_learning_rate"
    )
    return (
        f"the search for its target value did not converge: loss {trace.loss[-1]:.2f} and "
        f"P(target) {trace.probability[-1]:.2f} after {len(trace.nll)} evaluations{remedy}"
    )


def _incomplete_write(outcome: FactResult) -> str:
    if outcome.residual_left is None or outcome.residual_left <= _MAX_RESIDUAL:
        return ""
    return (
        f"the write fell short: {outcome.residual_left:.0%} of the target change of the hidden "
        "state is missing; lower ridge (or the weight on C), raise the threshold, or check in the "
        "spectrum how much of its key the null space keeps"
    )


@dataclass(frozen=True)
class ForgottenFact:
    """A fact that was written and is no longer the model's first choice.

    Attributes:
        edit: number of the edit that wrote the fact.
        fact: the fact.
        by: number of the edit that overwrote the fact, and its fact with the nearest key; None if
            unknown.
    """

    edit: int
    fact: Fact
    by: tuple[int, Fact] | None

    def __str__(self) -> str:
        text = f"edit {self.edit}: “{self.fact.statement}” is no longer the model's answer"
        if self.by is None:
            return text
        number, fact = self.by
        return f"{text}: overwritten by edit {number}, most likely by “{fact.statement}”"


def lost_facts(session: EditSession, monitor: Monitor | None = None) -> list[ForgottenFact]:
    """Return the facts of applied edits that were written and have been forgotten since.

    Facts that a later edit superseded are not included.

    Args:
        session: the session; its weights are restored afterwards.
        monitor: receives progress.

    Raises:
        SessionError: if another thread uses the model.
        Canceled: if canceled; the session is unchanged.
    """
    monitor = monitor or Monitor()
    entries = session.history[: session.applied]
    outcomes = [
        (number, outcome)
        for number, entry in enumerate(entries, 1)
        for outcome in entry.result.outcomes
    ]
    current_facts = CurrentFacts(batch for entry in entries for batch in entry.batches)
    current = [outcomes[position] for position in current_facts.positions]
    written = [(number, outcome.fact) for number, outcome in current if outcome.written]
    with monitor.stage("facts that still hold", len(written), "fact"), session.model.exclusive():
        scores = target_logprobs(
            session.model, [(fact.text, fact.target) for _, fact in written], monitor=monitor
        )
        monitor.advance(sum(score.exact for score in scores))
        forgotten = []
        for (number, fact), score in zip(written, scores, strict=True):
            if not score.exact:
                forgotten.append(ForgottenFact(number, fact, overwritten_by(session, number, fact)))
                monitor.advance()
    return forgotten


def overwritten_by(session: EditSession, number: int, fact: Fact) -> tuple[int, Fact] | None:
    """Return the edit that made the model forget a fact, and the fact that most likely caused it.

    The edit is the one before the first later state in which the target is no longer the model's
    first choice token by token. Its fact with the most similar key (cosine, mean over the layers)
    is returned.

    Args:
        session: the session; its weights are restored afterwards.
        number: number of the edit that wrote the fact.
        fact: a fact of that edit.

    Returns:
        Number of the later edit, and its fact; None if the fact was never written or is still kept.

    Raises:
        SessionError: if there is no such edit, or another thread uses the model.
    """

    def is_kept(state: int) -> bool:
        with session.at_state(state):
            return target_logprobs(session.model, [(fact.text, fact.target)])[0].exact

    if not is_kept(number):
        return None
    edit = session.history[number - 1]
    for later in range(number + 1, session.applied + 1):
        if not is_kept(later):
            entry = session.history[later - 1]
            [batch] = [b for b in edit.batches if any(f.id == fact.id for f in b.facts)]
            facts = [f for b in entry.batches for f in b.facts]
            similarity = torch.cat([_key_similarity(batch, fact, b) for b in entry.batches])
            return later, facts[int(similarity.argmax())]
    return None


def _key_similarity(batch: StoredBatch, fact: Fact, other: StoredBatch) -> torch.Tensor:
    """Cosine between a fact's key and each key of another batch, mean over the layers, (facts,)."""
    column = [f.id for f in batch.facts].index(fact.id)
    total = torch.zeros(len(other.facts))
    for layer, keys in other.keys.items():
        key = batch.keys[layer][:, column].float()
        total += torch.nn.functional.cosine_similarity(keys.float(), key[:, None], dim=0)
    return total / len(other.keys)
