"""Scores of a target after a prompt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Score of a target after a prompt, with teacher forcing.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens (nats).
        probability: ``exp(-nll)``, the geometric mean of their probabilities.
        exact: True if every target token is the most likely one at its place.
        rank: rank of the first target token among all tokens, 1 for the most likely.
        correct: share of target tokens that are the most likely one, 0 to 1; None if unknown.
    """

    nll: float
    probability: float
    exact: bool
    rank: int
    correct: float | None = None


@dataclass(frozen=True)
class Rating:
    """A score, and the most likely token at each place of the target.

    Attributes:
        score: the score.
        predicted: ids of the most likely tokens, one per target token.
    """

    score: Score
    predicted: tuple[int, ...]
