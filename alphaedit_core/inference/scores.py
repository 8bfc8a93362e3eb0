"""How a model rates a target after a prompt, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """How a model rates a target after a prompt, the target's tokens being given one by one.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens (nats).
        probability: ``exp(-nll)``, the geometric mean of their probabilities.
        exact: True if every token of the target is the most likely one at its place.
        correct: share of the target's tokens that are, from 0 to 1; None where it was not noted.
        rank: place of the target's first token among all tokens, 1 for the most likely.
    """

    nll: float
    probability: float
    exact: bool
    rank: int
    correct: float | None = None


@dataclass(frozen=True)
class Rating:
    """A score, and what the model would have said in place of each of the target's tokens.

    Attributes:
        score: the score.
        said: token ids, as many as the target has.
    """

    score: Score
    said: tuple[int, ...]
