"""Probes of a fact: does an edit hold, generalize to paraphrases, and leave neighbors unchanged.

Three kinds of prompts, named as in Yao et al. 2023 (section 2); Meng et al. 2022 (section 3.4) call
them efficacy, generalization and specificity:

==============  ===============================  ==================================================
kind            prompts                          a row passes if
==============  ===============================  ==================================================
reliability     the fact's own                   the new target is more likely than the true one
                                                 after the edit; without a true target, if the first
                                                 token of the new target is the argmax
generalization  its paraphrases                  the same
locality        its neighbors                    the argmax of the next token is the same as before
                                                 (``kept``); otherwise the row is ``changed``
==============  ===============================  ==================================================

The probability of a target is the geometric mean of its tokens' probabilities
(:class:`~.scores.Score`), so targets of different lengths are comparable.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from alphaedit_core.data.facts import Fact
from alphaedit_core.data.templates import stripped
from alphaedit_core.errors import InputError
from alphaedit_core.inference.completions import added_text
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import target_logprobs
from alphaedit_core.messages import shown
from alphaedit_core.model.batch_planning import plan_batches
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.forward import by_length, pad_rows, record
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor
from alphaedit_core.session.session import EditSession

RELIABILITY, GENERALIZATION, LOCALITY = "reliability", "generalization", "locality"
KINDS = (RELIABILITY, GENERALIZATION, LOCALITY)


@dataclass(frozen=True)
class ProbePrompt:
    """A prompt that tests an edit.

    Attributes:
        kind: ``reliability``, ``generalization`` or ``locality``.
        prompt: the complete text to continue.

    Raises:
        InputError: if the kind is not one of the three, or the prompt is blank.
    """

    kind: str
    prompt: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(
                f"kind {shown(self.kind)} is not known; give one of {', '.join(KINDS)}"
            )
        prompt = unicodedata.normalize("NFC", stripped(self.prompt))
        if not prompt:
            raise InputError("the prompt of a probe is blank; give a text")
        object.__setattr__(self, "prompt", prompt)


@dataclass(frozen=True)
class ProbeResponse:
    """The model's response to one prompt in one state.

    Attributes:
        token: id of the most likely next token.
        text: the text that the token adds to the prompt.
        probability: its probability.
        new: score of the new target.
        true: score of the true target, or None if the fact has none.
    """

    token: int
    text: str
    probability: float
    new: Score
    true: Score | None


@dataclass(frozen=True)
class ProbeRow:
    """One probe before and after an edit.

    Attributes:
        probe: the prompt and its kind.
        before: the response before.
        after: the response after.
    """

    probe: ProbePrompt
    before: ProbeResponse
    after: ProbeResponse

    @property
    def passed(self) -> bool:
        """Whether the row passes; see the module's table."""
        if self.probe.kind == LOCALITY:
            return self.after.token == self.before.token
        if self.after.true is None:
            return self.after.new.rank == 1
        return self.after.new.probability > self.after.true.probability

    @property
    def result(self) -> str:
        """``pass`` or ``fail``; for neighbors, ``kept`` or ``changed``."""
        good, bad = ("kept", "changed") if self.probe.kind == LOCALITY else ("pass", "fail")
        return good if self.passed else bad

    @property
    def change(self) -> float:
        """After minus before, of P(new) or P(true), whichever changed more; -1 to 1."""
        moves = [self.after.new.probability - self.before.new.probability]
        if self.after.true is not None and self.before.true is not None:
            moves.append(self.after.true.probability - self.before.true.probability)
        return max(moves, key=abs)


def probes_of(fact: Fact, extra: Sequence[ProbePrompt] = ()) -> list[ProbePrompt]:
    """Return the fact's probes without duplicates: reliability, generalization, locality, extra."""
    probes = [ProbePrompt(RELIABILITY, fact.text)]
    probes += [ProbePrompt(GENERALIZATION, text) for text in fact.paraphrases]
    probes += [ProbePrompt(LOCALITY, text) for text in fact.neighbors]
    return list(dict.fromkeys([*probes, *extra]))


def probe(
    session: EditSession,
    fact: Fact,
    before: int,
    after: int,
    extra: Sequence[ProbePrompt] = (),
    monitor: Monitor | None = None,
) -> list[ProbeRow]:
    """Measure all probes of a fact in two states of a session's history.

    Args:
        session: the session; its weights are restored afterwards.
        fact: the fact; it may be a fact that the session has not written.
        before: number of the state before, 0 for the unedited model.
        after: number of the state after.
        extra: more probes.
        monitor: reports progress, and cancels.

    Raises:
        SessionError: if a state does not exist, or another thread uses the model.
        Canceled: if canceled.
    """
    return ProbeRunner(session).measure(fact, probes_of(fact, extra), before, after, monitor)


def aggregate(rows: Sequence[ProbeRow]) -> dict[str, tuple[int, int]]:
    """Return by kind how many rows passed, and how many there are."""
    counts = dict.fromkeys(KINDS, (0, 0))
    for row in rows:
        passed, count = counts[row.probe.kind]
        counts[row.probe.kind] = (passed + row.passed, count + 1)
    return counts


class ProbeRunner:
    """Measures probes, each prompt once per state of the weights.

    Args:
        session: the session.
    """

    def __init__(self, session: EditSession) -> None:
        self.session = session
        #: By weights, prompt and targets.
        self._known: dict[tuple[str, str, str, str | None], ProbeResponse] = {}

    def measure(
        self,
        fact: Fact,
        probes: Sequence[ProbePrompt],
        before: int,
        after: int,
        monitor: Monitor | None = None,
    ) -> list[ProbeRow]:
        """Measure the rows that are not measured yet, and return all; see :func:`probe`."""
        monitor = monitor or Monitor()
        with self.session.model.exclusive():
            missing = {
                number: self._unmeasured(fact, probes, number) for number in sorted({before, after})
            }
            missing = {number: prompts for number, prompts in missing.items() if prompts}
            count = len({prompt for prompts in missing.values() for prompt in prompts})
            if count:
                with monitor.stage("probes", count, "row"):
                    for number, prompts in missing.items():
                        with self.session.at_state(number):
                            responses = read(self.session.model, fact, prompts, monitor)
                        for prompt, response in zip(prompts, responses, strict=True):
                            self._known[self._key(fact, prompt, number)] = response
                        monitor.advance(count / len(missing))
            rows = [self.known(fact, probe, before, after) for probe in probes]
        return [row for row in rows if row is not None]

    def known(self, fact: Fact, probe: ProbePrompt, before: int, after: int) -> ProbeRow | None:
        """Return a measured row; None if it is not measured in both states."""
        responses = [
            self._known.get(self._key(fact, probe.prompt, number)) for number in (before, after)
        ]
        first, second = responses
        return None if first is None or second is None else ProbeRow(probe, first, second)

    def _unmeasured(self, fact: Fact, probes: Sequence[ProbePrompt], number: int) -> list[str]:
        prompts = dict.fromkeys(probe.prompt for probe in probes)
        return [p for p in prompts if self._key(fact, p, number) not in self._known]

    def _key(self, fact: Fact, prompt: str, number: int) -> tuple[str, str, str, str | None]:
        history = self.session.history
        weights = history[number - 1].digest if 0 < number <= len(history) else ""
        if number and not weights:
            weights = f"no state {number}"  # never measured: at() refuses it
        return weights, prompt, fact.target, fact.target_true


@torch.no_grad()
def read(
    model: EditableModel, fact: Fact, prompts: Sequence[str], monitor: Monitor | None = None
) -> list[ProbeResponse]:
    """Return a model's responses to prompts, with scores of a fact's targets.

    Args:
        model: the model, with its current weights.
        fact: the fact whose targets are scored.
        prompts: n complete texts.
        monitor: cancels between groups of prompts.

    Returns:
        n responses.
    """
    monitor = monitor or Monitor(show=None)
    targets = [fact.target] + ([fact.target_true] if fact.target_true else [])
    pairs = [(prompt, target) for target in targets for prompt in prompts]
    scores = target_logprobs(model, pairs, monitor=monitor)
    new, true = scores[: len(prompts)], scores[len(prompts) :]
    return [
        ProbeResponse(token, text, probability, new[i], true[i] if true else None)
        for i, (token, text, probability) in enumerate(_top(model, prompts, monitor))
    ]


def _top(
    model: EditableModel, prompts: Sequence[str], monitor: Monitor
) -> list[tuple[int, str, float]]:
    """Return the most likely next token of each prompt: id, text, probability."""
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    tops: list[tuple[int, str, float]] = [(0, "", 0.0)] * len(rows)
    limit = 4 * plan_batches(model).tokens
    for group in by_length([len(row) for row in rows], limit) if rows else []:
        monitor.check()
        ids = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, ids, model.layers, model.layers).entry
        last = hidden[list(range(len(group))), [len(rows[i]) - 1 for i in group]]
        best = model.architecture.logits(last).softmax(dim=-1).max(dim=-1)
        best_tokens = zip(group, best.indices.tolist(), best.values.tolist(), strict=True)
        for i, token, probability in best_tokens:
            tops[i] = token, added_text(model.tokenizer, rows[i], token), probability
    return tops
