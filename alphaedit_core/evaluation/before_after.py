"""One prompt in two states of a session's history, or the targets' probabilities in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alphaedit_core.data.joining import bare
from alphaedit_core.display.text_diff import Difference, difference, words
from alphaedit_core.errors import InputError
from alphaedit_core.inference.matching import mentions
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import score_ids, target_logprobs
from alphaedit_core.inference.token_by_token import (
    Sampling,
    TokenStep,
    chat_ids,
    generate_with_probabilities,
    text_of,
)
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import target_ids
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession


@dataclass(frozen=True)
class Question:
    """A prompt with its settings.

    Attributes:
        prompt: text to continue; in a chat, the user's message.
        tokens: largest number of new tokens.
        sampling: None for greedy decoding.
        chat: whether to send the prompt as a message, with the tokenizer's chat template.
        new: new target to score after the prompt, or None.
        true: true target to score after the prompt, or None.

    Raises:
        InputError: if the prompt is blank or ``tokens`` is less than 1.
    """

    prompt: str
    tokens: int = 12
    sampling: Sampling | None = None
    chat: bool = False
    new: str | None = None
    true: str | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InputError("no prompt; enter one, or select a fact")
        if self.tokens < 1:
            raise InputError(f"tokens: {self.tokens} is less than 1; give 1 or more")


@dataclass(frozen=True)
class Ratings:
    """Scores of a question's targets.

    Attributes:
        new: scores of the new target; None without one.
        true: scores of the true target; None without one.
        as_text: for a chat, score of the new target after the prompt as plain text.
    """

    new: Score | None
    true: Score | None
    as_text: Score | None = None


@dataclass(frozen=True)
class StateAnswer:
    """The answer of one state of the history.

    Attributes:
        number: number of applied edits in this state.
        digest: digest of the edited weights, "" for the unedited model.
        steps: the continuation, token by token.
        ratings: scores of the targets.
    """

    number: int
    digest: str
    steps: tuple[TokenStep, ...]
    ratings: Ratings

    @property
    def text(self) -> str:
        """The continuation as text."""
        return text_of(self.steps)

    def names(self, target: str) -> bool:
        """Return whether the continuation contains a target as whole words, in any case."""
        return mentions(self.text, [target])


@dataclass(frozen=True)
class Comparison:
    """One question in two states of the history.

    Attributes:
        question: the question.
        before: answer of the reference state.
        after: answer of the current state.
    """

    question: Question
    before: StateAnswer
    after: StateAnswer

    @property
    def by_tokens(self) -> Difference:
        """Differences by token id."""
        return difference(
            [step.token for step in self.before.steps], [step.token for step in self.after.steps]
        )

    @property
    def by_words(self) -> Difference:
        """Differences by word, of ``words(answer.text)``."""
        return difference(words(self.before.text), words(self.after.text))


@dataclass(frozen=True)
class HistoryPoint:
    """Scores of the targets in one state of the history.

    Attributes:
        number: number of applied edits.
        new: score of the new target; None without one.
        true: score of the true target; None without one.
    """

    number: int
    new: Score | None
    true: Score | None


def compare(
    session: EditSession,
    question: Question,
    reference: int = 0,
    known: Sequence[tuple[Question, StateAnswer]] = (),
    monitor: Monitor | None = None,
) -> Comparison:
    """Answer a question in a reference state and in the current one.

    The current state is restored afterwards.

    Args:
        session: the session; its current state is "after".
        question: the question.
        reference: number of the state "before"; 0 for the unedited model.
        known: earlier questions and answers of this session, reused if the weights are equal.
        monitor: reports progress, and cancels after any token.

    Raises:
        InputError: if the question does not fit the model.
        SessionError: if the state does not exist, or another thread uses the model.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    answers = {answer.digest: answer for earlier, answer in known if earlier == question}
    with session.model.exclusive():
        for number in (session.applied, reference):
            digest = state_digest(session, number)
            if digest not in answers:
                with session.at_state(number):
                    answers[digest] = answer(session.model, question, number, digest, monitor)
        before, after = (
            replace(answers[state_digest(session, number)], number=number)
            for number in (reference, session.applied)
        )
    return Comparison(question, before, after)


def answer(
    model: EditableModel, question: Question, number: int, digest: str, monitor: Monitor
) -> StateAnswer:
    """Return the model's current answer; ``number`` and ``digest`` name its state."""
    prompt = chat_ids(model, question.prompt) if question.chat else question.prompt
    steps = generate_with_probabilities(
        model, prompt, question.tokens, question.sampling, monitor=monitor
    )
    return StateAnswer(number, digest, tuple(steps), rate(model, question, monitor))


def rate(model: EditableModel, question: Question, monitor: Monitor | None = None) -> Ratings:
    """Score the targets of a question with the current weights."""
    new, true = (
        None if target is None else _rated(model, question, target, monitor)
        for target in (question.new, question.true)
    )
    if not question.chat or question.new is None:
        return Ratings(new, true)
    as_text = target_logprobs(model, [(question.prompt, question.new)], monitor=monitor)[0]
    return Ratings(new, true, as_text)


def probabilities_over_history(
    session: EditSession, question: Question, monitor: Monitor | None = None
) -> list[HistoryPoint]:
    """Score the targets of a question in every state, from the unedited model to the current one.

    Raises:
        InputError: if the question has no target.
        SessionError: if another thread uses the model.
        Canceled: if canceled.
    """
    if question.new is None and question.true is None:
        raise InputError("no target to follow; select a fact")
    monitor = monitor or Monitor()
    question = replace(question, tokens=1)
    points: list[HistoryPoint] = []
    with (
        session.model.exclusive(),
        monitor.stage("history", session.applied + 1, "state"),
    ):
        for number in range(session.applied + 1):
            with session.at_state(number):
                ratings = rate(session.model, question, monitor)
            points.append(HistoryPoint(number, ratings.new, ratings.true))
            monitor.advance()
    return points


def state_digest(session: EditSession, number: int) -> str:
    """Return a digest of a state's weights; "" for the unedited model."""
    return session.history[number - 1].digest if 0 < number <= len(session.history) else ""


def _rated(model: EditableModel, question: Question, target: str, monitor: Monitor | None) -> Score:
    if not question.chat:
        return target_logprobs(model, [(question.prompt, target)], monitor=monitor)[0]
    # Whether an answer starts with a space depends on the template; the more likely form counts.
    bare_ids = model.tokenizer(bare(target), add_special_tokens=False)["input_ids"]
    forms = {tuple(bare_ids), target_ids(model.tokenizer, question.prompt, target)}
    ids = chat_ids(model, question.prompt)
    scores = score_ids(model, [(ids, form) for form in sorted(forms) if form], monitor=monitor)
    return min(scores, key=lambda score: score.nll)
