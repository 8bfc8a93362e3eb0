"""Long texts about the subject and about a coupled subject: the new fact, and not the old one.

Texts are matched by words. A text that denies the new fact counts as stating it, and a text that
states the old fact in other words counts as not stating it.
"""

from __future__ import annotations

from functools import partial

from .judgments import Contains, Lacks
from .prompt_metric import PromptMetric
from .prompt_sets import essay, essay_without

_TOKENS, _TOP_K = 200, 5
_SUBJECT, _COUPLED = "essay/subject", "essay/coupled"


class _Essay(PromptMetric):
    source = "after Rosati et al. 2024 (LEME), judged by words instead of by a classifier or people"
    note = (
        f"Texts of up to {_TOKENS} new tokens, sampled from the top {_TOP_K}, seeded. Words are "
        "compared without case and punctuation, except for signs as in C++, -5 and $75."
    )
    unit = "% of texts, mean per record, then over records"
    default_for = ("longform",)
    judgment = Contains(_TOKENS, top_k=_TOP_K)


class _WithoutOld(_Essay):
    judgment = Lacks(_TOKENS, top_k=_TOP_K)


class SubjectNew(_Essay):
    """New target in texts about the subject."""

    name = "essay_new"
    title = "New fact in texts about the subject"
    formula = "a long text about the subject contains the new target"
    needs = "a prompt for a text about the subject, with the new target"
    prompts = staticmethod(partial(essay, kind=_SUBJECT))


class SubjectOld(_WithoutOld):
    """No old target in texts about the subject."""

    name = "essay_no_old"
    title = "No old fact in texts about the subject"
    formula = "a long text about the subject does not contain the old target"
    needs = "a prompt for a text about the subject, with the old target"
    prompts = staticmethod(partial(essay_without, kind=_SUBJECT))


class CoupledNew(_Essay):
    """New target in texts about the coupled subject."""

    name = "essay_coupled_new"
    title = "New fact in texts about the coupled subject"
    formula = "a long text about the coupled subject contains the new target"
    needs = "a prompt for a text about a coupled subject, with the new target"
    prompts = staticmethod(partial(essay, kind=_COUPLED))


class CoupledOld(_WithoutOld):
    """No old target in texts about the coupled subject."""

    name = "essay_coupled_no_old"
    title = "No old fact in texts about the coupled subject"
    formula = "a long text about the coupled subject does not contain the old target"
    needs = "a prompt for a text about a coupled subject, with the old target"
    prompts = staticmethod(partial(essay_without, kind=_COUPLED))
