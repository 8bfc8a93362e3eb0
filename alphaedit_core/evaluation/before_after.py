"""One question to one model with the weights of two states of its history, or of all of them."""

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
    """What is asked.

    Attributes:
        prompt: the text that the model goes on after; in chat, the user's message.
        tokens: new tokens at most.
        sampling: None for the likeliest token each time.
        chat: whether to send the prompt as a message, with the tokenizer's chat template.
        new: new target to score after the prompt, or None.
        true: true target to score after the prompt, or None.

    Raises:
        InputError: if the prompt is blank or no token is wanted.
    """

    prompt: str
    tokens: int = 12
    sampling: Sampling | None = None
    chat: bool = False
    new: str | None = None
    true: str | None = None

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise InputError("there is no prompt; type one, or select a fact")
        if self.tokens < 1:
            raise InputError(f"{self.tokens} new tokens are none; give 1 or more")


@dataclass(frozen=True)
class Ratings:
    """How a model rates the targets of a question, at the place where they are asked for.

    Attributes:
        new: scores of the new target; None without one.
        true: scores of the true target; None without one.
        as_text: of the new target after the prompt as plain text, where the question is in chat.
    """

    new: Score | None
    true: Score | None
    as_text: Score | None = None


@dataclass(frozen=True)
class Answer:
    """What a model says in one state of the history.

    Attributes:
        number: edits that are in the model in this state.
        digest: of the edited weights, "" for the unedited ones; equal digests say the same.
        steps: the continuation.
        ratings: of the targets.
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
        """Whether the continuation has a target in it, as words and in any case."""
        return mentions(self.text, [target])


@dataclass(frozen=True)
class Comparison:
    """One question, answered in two states of the history.

    Attributes:
        question: what was asked.
        before, after: the answers.
    """

    question: Question
    before: Answer
    after: Answer

    @property
    def by_tokens(self) -> Difference:
        """Which tokens differ, by their ids."""
        return difference(
            [step.token for step in self.before.steps], [step.token for step in self.after.steps]
        )

    @property
    def by_words(self) -> Difference:
        """Which words differ, of ``words(answer.text)``."""
        return difference(words(self.before.text), words(self.after.text))


@dataclass(frozen=True)
class HistoryPoint:
    """How likely the targets are in one state of the history.

    Attributes:
        number: edits that are in the model.
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
    known: Sequence[tuple[Question, Answer]] = (),
    monitor: Monitor | None = None,
) -> Comparison:
    """Ask before and after; "before" has the weights of another state, put back afterwards.

    Args:
        session: the session; "after" is where it stands now.
        question: what to ask.
        reference: the state that "before" is; 0 for the unedited model.
        known: questions and answers of this session to be used again where the weights are equal.
        monitor: what to report to; asked after every token whether to stop.

    Raises:
        InputError: if the question does not fit the model.
        SessionError: if there is no such state, or another thread uses the model.
        Canceled: if canceled.
    """
    monitor = monitor or Monitor()
    answers = {answer.digest: answer for asked, answer in known if asked == question}
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
) -> Answer:
    """Ask a model as it stands; ``number`` and ``digest`` only name its state."""
    prompt = chat_ids(model, question.prompt) if question.chat else question.prompt
    steps = generate_with_probabilities(
        model, prompt, question.tokens, question.sampling, monitor=monitor
    )
    return Answer(number, digest, tuple(steps), rate(model, question, monitor))


def rate(model: EditableModel, question: Question, monitor: Monitor | None = None) -> Ratings:
    """Rate the targets of a question, with the model as it stands."""
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
    """Rate the targets of a question in every state, from the unedited model to the present one.

    Raises:
        InputError: if the question names no target.
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
    """What tells the weights of a state from those of all others; "" for the unedited ones."""
    return session.history[number - 1].digest if 0 < number <= len(session.history) else ""


def _rated(model: EditableModel, question: Question, target: str, monitor: Monitor | None) -> Score:
    if not question.chat:
        return target_logprobs(model, [(question.prompt, target)], monitor=monitor)[0]
    # Whether an answer begins with a space depends on the template; the likelier way counts.
    plain = model.tokenizer(bare(target), add_special_tokens=False)["input_ids"]
    ways = {tuple(plain), target_ids(model.tokenizer, question.prompt, target)}
    ids = chat_ids(model, question.prompt)
    scores = score_ids(model, [(ids, way) for way in sorted(ways) if way], monitor=monitor)
    return min(scores, key=lambda one: one.nll)
