"""How likely a model finds a text: many prompts in one pass, logits only where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from .errors import InputError
from .forward import by_length, pad_rows, record
from .memory import BatchPlan, plan_batches
from .models import EditableModel, using_model
from .prefixes import Prefixes
from .progress import Monitor
from .prompts import encode, target_ids

#: Windows and their length for the perplexity.
_WINDOWS, _WINDOW = 12, 256


@dataclass(frozen=True)
class Score:
    """How a model rates a target after a prompt, the target's tokens being given one by one.

    Attributes:
        nll: mean negative log-likelihood of the target's tokens (nats).
        probability: ``exp(-nll)``, the geometric mean of their probabilities.
        exact: True if every token of the target is the most likely one at its place.
        correct: share of the target's tokens that are, from 0 to 1; None where it was not noted.
        rank: place of the target's first token among all tokens, 1 for the most likely.
    """

    nll: float
    probability: float
    exact: bool
    rank: int
    correct: float | None = None


@using_model
@torch.no_grad()
def score(
    model: EditableModel,
    pairs: Sequence[tuple[str, str]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
) -> list[Score]:
    """Scores of (prompt, target) pairs, the target as it follows the prompt in running text.

    Rows are grouped by length, so hardly anything is padded, and padding changes nothing.

    Args:
        model: the model, as it stands.
        pairs: prompts and targets.
        plan: how many tokens go through the blocks together (four times as many as with gradients).
        monitor: asked between groups whether to stop.
    """
    tokens = [
        (encode(model.tokenizer, prompt)[0], target_ids(model.tokenizer, prompt, target))
        for prompt, target in pairs
    ]
    return score_ids(model, tokens, plan, monitor)


@torch.no_grad()
def score_ids(
    model: EditableModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
    beginnings: Sequence[Sequence[int]] = (),
) -> list[Score]:
    """:func:`score` for prompts and targets that are token ids already, neither of them empty.

    What is fed of a pair is all but the target's last token: pairs that are alike in that, as those
    of one prompt with two targets of one token, go through the model once.

    Args:
        model: the model, as it stands.
        pairs: prompts and targets.
        plan: how many tokens go through the blocks together (four times as many as with gradients).
        monitor: asked between groups whether to stop.
        beginnings: what many prompts begin with, such as the same examples; the attention's keys
            and values of each are computed once.
    """
    monitor = monitor or Monitor(show=None)
    plan = plan or plan_batches(model)
    askers: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, target) in enumerate(pairs):
        askers.setdefault((*prompt, *target[:-1]), []).append(index)
    rows, targets = list(askers), [target for _, target in pairs]
    scores: list[Score | None] = [None] * len(pairs)
    begun = Prefixes(model, beginnings) if beginnings else None
    # The last token of a prompt has to be fed in any case: what it leads to is read.
    open_to = [min(len(pairs[i][0]) for i in askers[row]) - 1 for row in rows]
    of = [_beginning(row[:most], beginnings) for row, most in zip(rows, open_to, strict=True)]
    for which, group_of_rows in _groups(rows, of, 4 * plan.tokens):
        monitor.check()
        cut = 0 if which is None else len(beginnings[which])
        padded = pad_rows([rows[r][cut:] for r in group_of_rows], model.device)
        if begun is None or which is None:
            hidden = record(model, padded, model.layers, model.layers).entry
        else:
            places = cut + torch.arange(padded.shape[1], device=model.device).expand_as(padded)
            cache = begun.cache([which] * len(padded))
            recording = record(
                model, padded, model.layers, model.layers, positions=places, cache=cache
            )
            hidden = recording.entry
        asked = [(n, i) for n, r in enumerate(group_of_rows) for i in askers[rows[r]]]
        group = [i for _, i in asked]
        first = [(n, i, len(pairs[i][0]) - 1 - cut) for n, i in asked]
        where = [(n, at + t) for n, i, at in first for t in range(len(targets[i]))]
        labels = torch.tensor([t for i in group for t in targets[i]], device=model.device)
        picked = hidden[[n for n, _ in where], [t for _, t in where]]
        logits = model.anatomy.logits(picked)
        own = logits.gather(1, labels[:, None])
        each = F.cross_entropy(logits, labels, reduction="none").tolist()
        # Counted so that a logit that is not a number comes last, not first.
        ranks = (1 + (~(logits <= own)).sum(dim=1)).tolist()
        start = 0
        for i in group:
            stop = start + len(targets[i])
            nll = sum(each[start:stop]) / (stop - start)
            scores[i] = Score(
                nll,
                float(torch.tensor(-nll).exp()),
                all(rank == 1 for rank in ranks[start:stop]),
                ranks[start],
                sum(rank == 1 for rank in ranks[start:stop]) / (stop - start),
            )
            start = stop
    return [one for one in scores if one is not None]


def _beginning(row: Sequence[int], beginnings: Sequence[Sequence[int]]) -> int | None:
    """The longest beginning that a row has, by its index."""
    fitting = [n for n, one in enumerate(beginnings) if one and tuple(row[: len(one)]) == (*one,)]
    return max(fitting, key=lambda n: len(beginnings[n]), default=None)


def _groups(
    rows: Sequence[Sequence[int]], of: Sequence[int | None], token_limit: int
) -> list[tuple[int | None, list[int]]]:
    """Rows that go through the model together, with the beginning that all of them have."""
    found: list[tuple[int | None, list[int]]] = []
    for which in dict.fromkeys(of):
        own = [r for r, one in enumerate(of) if one == which]
        groups = by_length([len(rows[r]) for r in own], token_limit)
        found += [(which, [own[i] for i in group]) for group in groups]
    return found


@using_model
@torch.no_grad()
def perplexity(model: EditableModel, text: str, monitor: Monitor | None = None) -> float:
    """exp of the mean negative log-likelihood of tokens 2 to 256 of the first twelve windows.

    The windows are consecutive pieces of 256 tokens without special tokens; other windows give
    other numbers.

    Raises:
        InputError: if the text has less than one window.
    """
    monitor = monitor or Monitor(show=None)
    ids = model.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    windows = [ids[i : i + _WINDOW] for i in range(0, _WINDOWS * _WINDOW, _WINDOW)]
    windows = [window for window in windows if len(window) == _WINDOW]
    if not windows:
        raise InputError(f"text has {len(ids)} tokens; perplexity needs at least {_WINDOW}")
    total = 0.0
    for window in windows:
        monitor.check()
        row = torch.tensor([window], device=model.device)
        hidden = record(model, row, model.layers, model.layers).entry
        logits = model.anatomy.logits(hidden[0, :-1])
        total += float(F.cross_entropy(logits, row[0, 1:]))
    return float(torch.tensor(total / len(windows)).exp())
