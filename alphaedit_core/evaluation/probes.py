"""Probes of a fact: whether an edit holds, carries over to paraphrases, and spares neighbors.

Three kinds of prompts, by the words of Yao et al. 2023 (section 2); Meng et al. 2022 (section 3.4)
call the same three efficacy, generalization and specificity:

==============  ===============================  ==================================================
kind            prompts                          a row passes if
==============  ===============================  ==================================================
reliability     the fact's own                   the new target is likelier than the true one after
                                                 the edit; where the fact names no true target, if
                                                 the first token of the new target is the top token
generalization  its paraphrases                  the same
locality        its neighbors                    the top next token is the one it was before
                                                 (``kept``); else it is ``changed``, a failure
==============  ===============================  ==================================================

How likely a target is, is the geometric mean of its tokens' probabilities
(:class:`~.scores.Score`), so that targets of different lengths can be compared.
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
class Probe:
    """One prompt by which an edit is judged.

    Attributes:
        kind: ``reliability``, ``generalization`` or ``locality``.
        prompt: the complete text that the model goes on after.

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
    """What a model says after one prompt in one state.

    Attributes:
        token: id of the most likely next token.
        text: what that token adds to the prompt.
        probability: its probability.
        new: score of the new target.
        true: score of the true target, or None if the fact names none.
    """

    token: int
    text: str
    probability: float
    new: Score
    true: Score | None


@dataclass(frozen=True)
class ProbeRow:
    """One probe before and after.

    Attributes:
        probe: the prompt and its kind.
        before, after: what the model says in the two states.
    """

    probe: Probe
    before: ProbeResponse
    after: ProbeResponse

    @property
    def passed(self) -> bool:
        """Whether the edit did at this prompt what it should; see the top of this file."""
        if self.probe.kind == LOCALITY:
            return self.after.token == self.before.token
        if self.after.true is None:
            return self.after.new.rank == 1
        return self.after.new.probability > self.after.true.probability

    @property
    def result(self) -> str:
        """The same in a word: ``pass`` or ``fail``, for neighbors ``kept`` or ``changed``."""
        good, bad = ("kept", "changed") if self.probe.kind == LOCALITY else ("pass", "fail")
        return good if self.passed else bad

    @property
    def change(self) -> float:
        """After minus before, of P(new) or of P(true), whichever moved further; -1 … 1."""
        moves = [self.after.new.probability - self.before.new.probability]
        if self.after.true is not None and self.before.true is not None:
            moves.append(self.after.true.probability - self.before.true.probability)
        return max(moves, key=abs)


def probes_of(fact: Fact, extra: Sequence[Probe] = ()) -> list[Probe]:
    """The fact's own probes and more, each once: reliability, generalization, locality, extra."""
    own = [Probe(RELIABILITY, fact.text)]
    own += [Probe(GENERALIZATION, text) for text in fact.paraphrases]
    own += [Probe(LOCALITY, text) for text in fact.neighbors]
    return list(dict.fromkeys([*own, *extra]))


def probe(
    session: EditSession,
    fact: Fact,
    before: int,
    after: int,
    extra: Sequence[Probe] = (),
    monitor: Monitor | None = None,
) -> list[ProbeRow]:
    """Measure all probes of a fact in two states of a session's history.

    Args:
        session: the session; afterwards its weights are as they were.
        fact: the fact; it need not be one of the session's.
        before, after: numbers of the states, 0 for the unedited model.
        extra: more probes.
        monitor: what to report to.

    Raises:
        SessionError: if there is no such state, or another thread uses the model.
        Canceled: if canceled.
    """
    return Probes(session).measure(fact, probes_of(fact, extra), before, after, monitor)


def aggregate(rows: Sequence[ProbeRow]) -> dict[str, tuple[int, int]]:
    """How many rows of each kind passed, and of how many."""
    counts = dict.fromkeys(KINDS, (0, 0))
    for row in rows:
        passed, count = counts[row.probe.kind]
        counts[row.probe.kind] = (passed + row.passed, count + 1)
    return counts


class Probes:
    """Measures probes, each prompt once for the weights of each state.

    Args:
        session: whose states are looked at.
    """

    def __init__(self, session: EditSession) -> None:
        self.session = session
        #: By weights, prompt and targets.
        self._known: dict[tuple[str, str, str, str | None], ProbeResponse] = {}

    def measure(
        self,
        fact: Fact,
        probes: Sequence[Probe],
        before: int,
        after: int,
        monitor: Monitor | None = None,
    ) -> list[ProbeRow]:
        """Measure what is not known yet, and give all rows; see :func:`probe`."""
        monitor = monitor or Monitor()
        with self.session.model.exclusive():
            lacking = {
                number: self._lacking(fact, probes, number) for number in sorted({before, after})
            }
            lacking = {number: prompts for number, prompts in lacking.items() if prompts}
            count = len({prompt for prompts in lacking.values() for prompt in prompts})
            if count:
                with monitor.stage("probes", count, "row"):
                    for number, prompts in lacking.items():
                        with self.session.at_state(number):
                            readings = read(self.session.model, fact, prompts, monitor)
                        for prompt, reading in zip(prompts, readings, strict=True):
                            self._known[self._key(fact, prompt, number)] = reading
                        monitor.advance(count / len(lacking))
            rows = [self.known(fact, one, before, after) for one in probes]
        return [row for row in rows if row is not None]

    def known(self, fact: Fact, probe: Probe, before: int, after: int) -> ProbeRow | None:
        """A row without any work; None if it has not been measured in both states."""
        readings = [
            self._known.get(self._key(fact, probe.prompt, number)) for number in (before, after)
        ]
        first, second = readings
        return None if first is None or second is None else ProbeRow(probe, first, second)

    def _lacking(self, fact: Fact, probes: Sequence[Probe], number: int) -> list[str]:
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
    """What a model, as it stands, says after prompts, and how likely it finds a fact's targets.

    Args:
        model: the model.
        fact: its targets are scored.
        prompts: n complete texts.
        monitor: asked between groups of prompts whether to stop.

    Returns:
        n readings.
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
    """The most likely next token of each prompt: id, text, probability."""
    rows = [encode(model.tokenizer, prompt)[0] for prompt in prompts]
    found: list[tuple[int, str, float]] = [(0, "", 0.0)] * len(rows)
    limit = 4 * plan_batches(model).tokens
    for group in by_length([len(row) for row in rows], limit) if rows else []:
        monitor.check()
        ids = pad_rows([rows[i] for i in group], model.device)
        hidden = record(model, ids, model.layers, model.layers).entry
        last = hidden[list(range(len(group))), [len(rows[i]) - 1 for i in group]]
        best = model.architecture.logits(last).softmax(dim=-1).max(dim=-1)
        tops = zip(group, best.indices.tolist(), best.values.tolist(), strict=True)
        for i, token, probability in tops:
            found[i] = token, added_text(model.tokenizer, rows[i], token), probability
    return found
