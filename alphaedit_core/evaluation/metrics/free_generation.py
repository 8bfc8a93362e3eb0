"""Free generation: whether the model generates the target, as a check of teacher-forced metrics."""

from __future__ import annotations

from .judgments import Contains, Starts
from .prompt_metric import PromptMetric
from .prompt_sets import multi_hop, rewrite, single_hop

_TOKENS = 24
_MATCHING = (
    "Words are compared without case and punctuation; signs that make a different word, as in C++, "
    "-5 and $75, count."
)
_MQUAKE = "Zhong et al. 2023 (MQuAKE), section 3"


class _Generated(PromptMetric):
    source = "free generation instead of teacher forcing, as recommended by Yang et al. 2025"
    default_for = ("counterfact", "zsre", "knowedit", "mquake", "longform")
    prompts = staticmethod(rewrite)


class GenerationStarts(_Generated):
    """Greedy continuations that start with the new target."""

    name = "generation_starts"
    title = "Generation starts with the target"
    formula = "the greedy continuation of the rewrite prompt starts with the new target"
    note = f"No teacher forcing. {_MATCHING}"
    judgment = Starts(_TOKENS)


class GenerationContains(_Generated):
    """Greedy continuations that contain the new target."""

    name = "generation_contains"
    title = "Generation contains the target"
    formula = (
        f"the greedy continuation of the rewrite prompt, {_TOKENS} tokens, contains the new target"
    )
    note = f"A text that also states the opposite counts. {_MATCHING}"
    judgment = Contains(_TOKENS)


class ChatContains(_Generated):
    """Answers to a chat message that contain the new target."""

    name = "chat_contains"
    title = "Chat answer contains the target"
    formula = (
        "the greedy answer to the rewrite prompt as a user's message in the model's chat template, "
        f"{_TOKENS} tokens, contains the new target"
    )
    note = f"The edit was made on running text, not on chats. {_MATCHING}"
    judgment = Contains(_TOKENS, chat=True)


class SingleHops(PromptMetric):
    """Every single-hop question of a chain answered."""

    name = "single_hops"
    title = "Instance-wise accuracy"
    formula = (
        "for every hop of the new chain, the greedy answer to its question, "
        f"{_TOKENS} tokens, contains the answer or an alias"
    )
    source = _MQUAKE
    unit = "% of records"
    note = (
        "By generation, without worked examples. A model can know every hop and still miss the "
        "chain's answer (multi_hop). Chains also have hops that were never edited: facts that the "
        "model did not know before count against it."
    )
    needs = "questions about single hops"
    default_for = ("mquake",)
    prompts = staticmethod(single_hop)
    judgment = Contains(_TOKENS)
    record_hit = all


class MultiHop(PromptMetric):
    """At least one multi-hop question of a case answered."""

    name = "multi_hop"
    title = "Multi-hop accuracy"
    formula = (
        "the greedy answer to any of the case's multi-hop questions, "
        f"{_TOKENS} tokens, contains the new answer or an alias"
    )
    source = _MQUAKE
    unit = "% of records"
    note = (
        "By generation, without worked examples or a chain of thought. multi_hop_tokens is the "
        "teacher-forced variant, a mean over the questions."
    )
    needs = "multi-hop questions"
    default_for = ("mquake",)
    prompts = staticmethod(multi_hop)
    judgment = Contains(_TOKENS)
    record_hit = any
