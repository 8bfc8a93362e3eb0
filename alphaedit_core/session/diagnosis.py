"""Why a fact was not written, in words: what can go wrong, looked for in the order it would happen.

A fact counts as written when every token of its target is the model's first choice after the
prompt (``FactResult.written``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.joining import bare
from alphaedit_core.data.superseding import Standing
from alphaedit_core.inference.matching import begins
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.progress import Monitor

from .results import EditResult, FactResult

if TYPE_CHECKING:
    from .edits import StoredBatch
    from .session import EditSession

#: What helps where facts of one subject share their key.
ANOTHER_KEY = (
    "word the prompts so that the relation stands before the subject, as in “The birthplace of {} "
    "is”"
)

#: A search that ends with a smaller probability of the target than this did not find a value.
_FOUND = 0.5
#: A write that leaves more than this share of the wanted change fell short.
_SHORT = 0.3


def diagnose(result: EditResult, index: int) -> str:
    """One sentence on a fact of an edit that was not written; "" for one that was.

    Args:
        result: the edit.
        index: of the fact among its outcomes.
    """
    outcome = result.outcomes[index]
    if outcome.written:
        return ""
    for look in (_worded_otherwise, _held_before, _not_converged):
        if sentence := look(outcome):
            return sentence
    if sentence := _one_key(result, index) or _fell_short(outcome):
        return sentence
    if result.batches[index] < result.batches[-1]:
        return (
            "its own write reached the target value, so a later batch of the same edit wrote over "
            "it; write it again, or use a larger batch size"
        )
    trained = _trained(outcome)
    done = "it was trained" if trained else "its target value was found and written"
    return (
        f"{done}, but the model does not carry it through this "
        f"prompt (P = {outcome.after.new.probability:.2f}); other facts of the same edit may share "
        "its key, or the last edited layer may be too late for it"
    )


def _worded_otherwise(outcome: FactResult) -> str:
    texts = (outcome.after.completion, bare(outcome.fact.target))
    said, target = (" ".join(text.split()) for text in texts)
    if not (said.casefold().startswith(target.casefold()) and begins(said, [target])):
        return ""
    tokens = " ".join(f"“{token}”" for token in outcome.tokens)
    return (
        f"the model now says “{said[: len(target)]}”, but not as the tokens {tokens}: the "
        "tokenizer does not write the target that way here; write the target as the model says it"
    )


def _trained(outcome: FactResult) -> bool:
    """Whether a weight was trained for the fact, so that nothing was searched for."""
    return outcome.residual_left is None and not _nothing_wanted(outcome)


def _nothing_wanted(outcome: FactResult) -> bool:
    """Whether the search ended at its first evaluation, so that no change was asked for."""
    return outcome.residual_left is None and outcome.trace.delta == [0.0]


def _held_before(outcome: FactResult) -> str:
    if not _nothing_wanted(outcome):
        return ""
    return (
        "the model said it before this edit, so nothing was written for it, and what was written "
        "for other facts took it away; write it again"
    )


def _one_key(result: EditResult, index: int) -> str:
    """The facts of the edit that are read alike up to the subject's last token."""
    fact = result.outcomes[index].fact
    others = [
        f"“{outcome.fact.text}”"
        for outcome in result.outcomes
        if outcome.fact.prompt != fact.prompt
        and _up_to_the_subject(outcome.fact) == _up_to_the_subject(fact)
    ]
    if not others:
        return ""
    return (
        f"it has the same key as {', '.join(others[:3])}{' and more' if len(others) > 3 else ''}: "
        "up to the subject's last token the prompts are one text, so what is written for one is "
        f"written for all of them; {ANOTHER_KEY}"
    )


def _up_to_the_subject(fact: Fact) -> str:
    return fact.text[: fact.subject_span[1]]


def _not_converged(outcome: FactResult) -> str:
    trace = outcome.trace
    if trace.converged or trace.probability[-1] >= _FOUND:
        return ""
    if _trained(outcome):
        return (
            f"its training did not converge: loss {trace.loss[-1]:.2f} and P(target) "
            f"{trace.probability[-1]:.2f} after {len(trace.nll)} evaluations, so raise "
            "target_steps or ft_learning_rate"
        )
    clamp = (
        "; its change was cut back to the longest allowed, so raise clamp_norm_factor"
        if trace.clamped
        else ", so raise target_steps or target_learning_rate"
    )
    return (
        f"the search for its target value did not converge: loss {trace.loss[-1]:.2f} and "
        f"P(target) {trace.probability[-1]:.2f} after {len(trace.nll)} evaluations{clamp}"
    )


def _fell_short(outcome: FactResult) -> str:
    if outcome.residual_left is None or outcome.residual_left <= _SHORT:
        return ""
    return (
        f"the write fell short: {outcome.residual_left:.0%} of the wanted change of the hidden "
        "state is missing; lower ridge (or the weight on C), raise the threshold, or look in the "
        "spectrum at how much of its key the null space keeps"
    )


@dataclass(frozen=True)
class ForgottenFact:
    """A fact that was written and is no longer said.

    Attributes:
        edit: number of the edit that wrote it.
        fact: the fact.
        by: number of the edit after which it was gone, and that edit's fact with the nearest key.
    """

    edit: int
    fact: Fact
    by: tuple[int, Fact] | None

    def __str__(self) -> str:
        said = f"edit {self.edit}: “{self.fact.statement}” is no longer said"
        if self.by is None:
            return said
        number, fact = self.by
        return f"{said}: overwritten by edit {number}, likeliest by “{fact.statement}”"


def lost_facts(session: EditSession, monitor: Monitor | None = None) -> list[ForgottenFact]:
    """Which facts of the applied edits were said after their edit and are not any more.

    A fact that a later edit took the place of is not lost.

    Args:
        session: the session; its weights are changed only while this runs.
        monitor: what to report to.

    Raises:
        SessionError: if another thread uses the model.
        Canceled: if canceled; nothing was changed.
    """
    monitor = monitor or Monitor()
    entries = session.history[: session.applied]
    everything = [(n, one) for n, entry in enumerate(entries, 1) for one in entry.result.outcomes]
    standing = Standing(batch for entry in entries for batch in entry.batches)
    among = [everything[position] for position in standing.positions]
    held = [(number, outcome.fact) for number, outcome in among if outcome.written]
    with monitor.stage("facts that still hold", len(held), "fact"), session.model.exclusive():
        scores = target_logprobs(
            session.model, [(f.text, f.target) for _, f in held], monitor=monitor
        )
        monitor.advance(sum(own.exact for own in scores))
        lost = []
        for (number, fact), own in zip(held, scores, strict=True):
            if not own.exact:
                lost.append(ForgottenFact(number, fact, overwritten_by(session, number, fact)))
                monitor.advance()
    return lost


def overwritten_by(session: EditSession, number: int, fact: Fact) -> tuple[int, Fact] | None:
    """The later edit that made the model forget a fact, and the likeliest fact of it.

    The states after the edit are looked at in turn; the first in which the fact is no longer said
    token by token names the edit. Of its facts, the one whose key points most in the direction of
    this fact's (largest cosine, mean over the layers) is named.

    Args:
        session: the session; its weights are changed only while this runs.
        number: of the edit that wrote the fact.
        fact: one of its facts.

    Returns:
        Number of the later edit and its fact; None if the fact was never said, or still is.

    Raises:
        SessionError: if there is no such edit, or another thread uses the model.
    """

    def said(state: int) -> bool:
        with session.at_state(state):
            return target_logprobs(session.model, [(fact.text, fact.target)])[0].exact

    if not said(number):
        return None
    own = session.history[number - 1]
    for later in range(number + 1, session.applied + 1):
        if not said(later):
            entry = session.history[later - 1]
            [batch] = [b for b in own.batches if any(f.id == fact.id for f in b.facts)]
            facts = [f for b in entry.batches for f in b.facts]
            near = torch.cat([_nearness(batch, fact, b) for b in entry.batches])
            return later, facts[int(near.argmax())]
    return None


def _nearness(own: StoredBatch, fact: Fact, other: StoredBatch) -> torch.Tensor:
    """Cosine of each key of another batch with a fact's, mean over the layers, (n,)."""
    column = [f.id for f in own.facts].index(fact.id)
    total = torch.zeros(len(other.facts))
    for layer, keys in other.keys.items():
        key = own.keys[layer][:, column].float()
        total += torch.nn.functional.cosine_similarity(keys.float(), key[:, None], dim=0)
    return total / len(other.keys)
