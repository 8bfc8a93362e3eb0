"""How well edits hold: CounterFact's measures, before and after (Meng et al. 2022, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import Fact
from .likelihood import perplexity, score
from .models import EditableModel
from .progress import Monitor


@dataclass(frozen=True)
class Measures:
    """What a model makes of facts, each but the perplexity a mean over the facts, times 100.

    A prompt counts if the mean negative log-likelihood of the wanted target's tokens is the smaller
    one. None where no fact has what the measure asks for.

    Attributes:
        efficacy: the new target is the likelier one after the prompt. Higher is better.
        generalisation: the same after the paraphrases, mean within a fact. Higher is better.
        specificity: the true target is the likelier one after the neighbours. Higher is better.
        exact: every token of the new target is the model's first choice after the prompt. Higher is
            better.
        perplexity: of a running text, see :func:`~.likelihood.perplexity`. Lower is better.
    """

    efficacy: float | None
    generalisation: float | None
    specificity: float | None
    exact: float
    perplexity: float | None = None


def measure(
    model: EditableModel,
    facts: Sequence[Fact],
    text: str | None = None,
    monitor: Monitor | None = None,
) -> Measures:
    """Measure a model as it stands.

    Args:
        model: the model.
        facts: at least one; facts without a true target count for ``exact`` alone.
        text: running text for the perplexity; None for none.
        monitor: what to report to.

    Raises:
        Cancelled: if cancelled.
    """
    monitor = monitor or Monitor()
    asked: list[tuple[str, int, str, bool]] = []  # measure, fact, prompt, whether new is wanted
    for index, fact in enumerate(facts):
        if fact.target_true is not None:
            asked.append(("efficacy", index, fact.text, True))
            asked += [("generalisation", index, prompt, True) for prompt in fact.paraphrases]
            asked += [("specificity", index, prompt, False) for prompt in fact.neighbours]
    with monitor.stage("measures", 2, "part"):
        # All at once: a prompt that is asked for several targets is read once.
        pairs = [(fact.text, fact.target) for fact in facts]
        pairs += [(prompt, facts[i].target) for _, i, prompt, _ in asked]
        pairs += [(prompt, facts[i].target_true or "") for _, i, prompt, _ in asked]
        scores = score(model, pairs, monitor=monitor)
        said, rest = scores[: len(facts)], scores[len(facts) :]
        new, true = rest[: len(asked)], rest[len(asked) :]
        monitor.advance()
        read = None if text is None else perplexity(model, text, monitor)
        monitor.advance()
    hits: dict[str, dict[int, list[bool]]] = {}
    for (name, index, _, wants_new), a, b in zip(asked, new, true, strict=True):
        hit = a.nll < b.nll if wants_new else b.nll < a.nll
        hits.setdefault(name, {}).setdefault(index, []).append(hit)

    def mean(name: str) -> float | None:
        own = hits.get(name, {}).values()
        return 100 * sum(sum(h) / len(h) for h in own) / len(own) if own else None

    exact = 100 * sum(one.exact for one in said) / len(said)
    return Measures(mean("efficacy"), mean("generalisation"), mean("specificity"), exact, read)
