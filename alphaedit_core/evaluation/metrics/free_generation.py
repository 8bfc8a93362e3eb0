"""What the model says by itself: a check beside every number that is teacher-forced."""

from __future__ import annotations

from collections.abc import Sequence

from alphaedit_core.data.records import Record
from alphaedit_core.inference.matching import begins, mentions
from alphaedit_core.inference.queries import Answer, GenerationQuery, Query

from . import questions
from .base import Metric, percent, texts

_TOKENS = 24
_EVERYWHERE = ("counterfact", "zsre", "knowedit", "mquake", "longform")
_MATCHED = (
    "Words are compared without case and punctuation; signs that make another word of one, as in "
    "C++, -5 and $75, count."
)


class _Generated(Metric):
    """A greedy continuation of each rewrite prompt."""

    source = "free generation instead of teacher forcing, as Yang et al. 2025 ask for"
    chat = False

    def queries(self, record: Record) -> list[Query]:
        return [
            GenerationQuery(prompt, _TOKENS, chat=self.chat)
            for prompt, _ in questions.rewrites(record)
        ]

    def value(self, record: Record, answers: Sequence[Answer]) -> float | None:
        pairs = zip(questions.rewrites(record), texts(answers), strict=True)
        return percent([self.hit(text, target) for (_, target), text in pairs])

    def hit(self, text: str, target: str) -> bool:
        """Whether a continuation says the target."""
        return mentions(text, [target])


class GenerationStarts(_Generated):
    """At once."""

    name = "generation_starts"
    title = "Says it at once"
    formula = "the greedy continuation of the rewrite prompt begins with the new target"
    note = f"Nothing is teacher-forced. {_MATCHED}"
    default_for = _EVERYWHERE

    def hit(self, text: str, target: str) -> bool:
        return begins(text, [target])


class GenerationContains(_Generated):
    """Within some tokens."""

    name = "generation_contains"
    title = "Says it"
    formula = (
        f"the new target stands in the greedy continuation of the rewrite prompt, {_TOKENS} tokens"
    )
    note = f"A text that says it beside the contrary counts, too. {_MATCHED}"
    default_for = _EVERYWHERE


class ChatContains(_Generated):
    """As an answer to a message."""

    name = "chat_contains"
    title = "Says it in a chat"
    formula = (
        "the new target stands in the greedy answer to the rewrite prompt as a user's message in "
        f"the model's chat template, {_TOKENS} tokens"
    )
    note = f"The edit was made on running text, not on chats. {_MATCHED}"
    default_for = _EVERYWHERE
    chat = True

    @property
    def unavailable_reason(self) -> str:
        return "" if self.given.chat else "the model has no chat template"
