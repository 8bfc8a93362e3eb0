"""How the answer to a prompt counts: by likelihood, by argmax tokens, or by generated text."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from alphaedit_core.inference.matching import begins, mentions
from alphaedit_core.inference.queries import (
    Answer,
    ArgmaxQuery,
    GenerationQuery,
    LikelihoodQuery,
    Query,
)

from .base import MetricContext, scores, texts
from .prompt_sets import Prompt


class Judgment(ABC):
    """What to ask after a prompt, and how much the answer counts, 0 to 1."""

    #: Whether the answers are compared with those of the unedited model.
    needs_baseline = False

    def unavailable_reason(self, context: MetricContext) -> str:
        """Return why the judgment cannot be made, with the remedy; "" if it can."""
        return ""

    @abstractmethod
    def queries(self, prompt: Prompt) -> list[Query]:
        """Return the queries of a prompt; none if the judgment does not apply to it."""

    @abstractmethod
    def hit(
        self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext
    ) -> float | None:
        """Return the prompt's value, given the answers to :meth:`queries`; None to skip it."""


class LikelihoodSuccess(Judgment):
    """1 if the target is more likely than the foil (mean NLL per token)."""

    def queries(self, prompt: Prompt) -> list[Query]:
        """Ask for both likelihoods."""
        if not prompt.foil:
            return []
        return [LikelihoodQuery(prompt.text, text) for text in (prompt.targets[0], prompt.foil)]

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Compare the two."""
        target, foil = scores(answers)
        return float(target.nll < foil.nll)


class ExactMatch(Judgment):
    """1 if every token of the first target is the argmax, given the tokens before it."""

    def queries(self, prompt: Prompt) -> list[Query]:
        """Ask for the likelihood of the first target."""
        return [LikelihoodQuery(prompt.text, prompt.targets[0])]

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Return 1 if any of the targets asked for matches."""
        return float(any(score.exact for score in scores(answers)))


class ExactMatchOfAny(ExactMatch):
    """1 if every token of one of the targets is the argmax."""

    def queries(self, prompt: Prompt) -> list[Query]:
        """Ask for the likelihoods of all targets."""
        return [LikelihoodQuery(prompt.text, target) for target in prompt.targets]


class TokenAccuracy(ExactMatch):
    """Share of the first target's tokens that are the argmax, given the tokens before each."""

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Return the share."""
        (score,) = scores(answers)
        return score.correct or 0.0


class _Unchanged(Judgment):
    """Compare the argmax at every position of the target before and after the edit."""

    needs_baseline = True

    def unavailable_reason(self, context: MetricContext) -> str:
        """Return a reason if the unedited model was not evaluated."""
        if context.before is not None:
            return ""
        return "the unedited model was not evaluated; evaluate it first and pass it as before"

    def queries(self, prompt: Prompt) -> list[Query]:
        """Ask for the argmax tokens."""
        return [ArgmaxQuery(prompt.text, prompt.targets[0])]

    def unchanged(
        self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext
    ) -> list[bool]:
        """Return by position whether the argmax is the same; [] if it was not asked before."""
        (query,), (after,) = self.queries(prompt), answers
        before = (context.before or {}).get(query)
        if not (isinstance(after, tuple) and isinstance(before, tuple)):
            return []
        return [a == b for a, b in zip(after, before, strict=True)]


class UnchangedTarget(_Unchanged):
    """1 if the argmax is the same at every position."""

    def hit(
        self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext
    ) -> float | None:
        """Return 1 if no position changed."""
        same = self.unchanged(prompt, answers, context)
        return float(all(same)) if same else None


class UnchangedTokens(_Unchanged):
    """Share of positions at which the argmax is the same."""

    def hit(
        self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext
    ) -> float | None:
        """Return the share."""
        same = self.unchanged(prompt, answers, context)
        return sum(same) / len(same) if same else None


@dataclass(frozen=True)
class Contains(Judgment):
    """1 if one of the targets occurs in the generated text.

    Attributes:
        tokens: new tokens, at most.
        top_k: tokens to sample from; 1 for greedy decoding.
        chat: whether the prompt is a user's message in the chat template.
    """

    tokens: int
    top_k: int = 1
    chat: bool = False

    def unavailable_reason(self, context: MetricContext) -> str:
        """Return a reason if a chat is asked for and the model has no template."""
        return "the model has no chat template" if self.chat and not context.chat else ""

    def queries(self, prompt: Prompt) -> list[Query]:
        """Ask for the text."""
        return [GenerationQuery(prompt.text, self.tokens, top_k=self.top_k, chat=self.chat)]

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Search the text for whole words."""
        (text,) = texts(answers)
        return float(mentions(text, prompt.targets))


class Starts(Contains):
    """1 if the generated text starts with one of the targets."""

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Compare the start of the text."""
        (text,) = texts(answers)
        return float(begins(text, prompt.targets))


class Lacks(Contains):
    """1 if none of the targets occurs in the generated text."""

    def hit(self, prompt: Prompt, answers: Sequence[Answer], context: MetricContext) -> float:
        """Search the text for whole words."""
        return 1.0 - super().hit(prompt, answers, context)
