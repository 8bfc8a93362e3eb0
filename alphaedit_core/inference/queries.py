"""Questions to a model, and what answers them."""

from __future__ import annotations

from dataclasses import dataclass

from .scores import Score


@dataclass(frozen=True, slots=True)
class LikelihoodQuery:
    """How likely is a target after a prompt? Answered by a :class:`~.scores.Score`.

    Attributes:
        prompt: the prompt.
        target: the target, as it follows the prompt in running text.
    """

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class ArgmaxQuery:
    """What is the likeliest token in place of each of a target's? Answered by token ids.

    The target's own tokens are given one by one, as in :class:`LikelihoodQuery`.

    Attributes:
        prompt: the prompt.
        target: the target, as it follows the prompt in running text.
    """

    prompt: str
    target: str


@dataclass(frozen=True, slots=True)
class GenerationQuery:
    """How does the model go on after a prompt? Answered by the new text, without the prompt.

    Attributes:
        prompt: the prompt.
        tokens: length in tokens; of the new text, or with the prompt where ``whole`` is set.
        whole: whether the prompt counts. Such a text has that length whatever is in it; any other
            ends before a closing token.
        top_k: tokens that are drawn from at each place; 1 for the likeliest one.
        chat: whether the prompt is put as a user's message in the model's chat template.
        draw: which of several texts after the same prompt; each is drawn by itself.
    """

    prompt: str
    tokens: int
    whole: bool = False
    top_k: int = 1
    chat: bool = False
    draw: int = 0


Query = LikelihoodQuery | ArgmaxQuery | GenerationQuery


Answer = Score | tuple[int, ...] | str
