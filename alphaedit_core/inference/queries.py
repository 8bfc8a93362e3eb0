"""Queries to a model, and the types of their answers."""

from __future__ import annotations

from dataclasses import dataclass

from .scores import Score


@dataclass(frozen=True, slots=True)
class LikelihoodQuery:
    """Score a target after a prompt; the answer is a :class:`~.scores.Score`.

    Attributes:
        prompt: the prompt.
        target: the target, as it follows the prompt in running text.
    """

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class ArgmaxQuery:
    """Ask for the most likely token at each place of a target; the answer is token ids.

    Each place is conditioned on the target's own tokens before it, as in :class:`LikelihoodQuery`.

    Attributes:
        prompt: the prompt.
        target: the target, as it follows the prompt in running text.
    """

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class GenerationQuery:
    """Generate a continuation of a prompt; the answer is the new text, without the prompt.

    Attributes:
        prompt: the prompt.
        tokens: maximum number of new tokens; with ``whole``, of prompt and new tokens together.
        whole: True to count the prompt and to generate the full length; otherwise a closing token
            ends the text.
        top_k: number of most likely tokens to sample from; 1 for greedy.
        chat: True to send the prompt as a user message in the model's chat template.
        draw: index of the text among several independent ones after the same prompt.
    """

    prompt: str
    tokens: int
    whole: bool = False
    top_k: int = 1
    chat: bool = False
    draw: int = 0


Query = LikelihoodQuery | ArgmaxQuery | GenerationQuery
Answer = Score | tuple[int, ...] | str
