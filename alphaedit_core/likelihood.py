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
) -> list[Score]:
    """:func:`score` for prompts and targets that are token ids already, neither of them empty.

    What is fed of a pair is all but the target's last token: pairs that are alike in that, as those
    of one prompt with two targets of one token, go through the model once.
    """
    monitor = monitor or Monitor(show=None)
    plan = plan or plan_batches(model)
    askers: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, target) in enumerate(pairs):
        askers.setdefault((*prompt, *target[:-1]), []).append(index)
    rows, targets = list(askers), [target for _, target in pairs]
    scores: list[Score | None] = [None] * len(pairs)
    for group_of_rows in by_length([len(row) for row in rows], 4 * plan.tokens) if rows else []:
        monitor.check()
        padded = pad_rows([rows[r] for r in group_of_rows], model.device)
        hidden = record(model, padded, model.layers, model.layers).entry
        asked = [(n, i) for n, r in enumerate(group_of_rows) for i in askers[rows[r]]]
        group = [i for _, i in asked]
        where = [(n, len(pairs[i][0]) - 1 + t) for n, i in asked for t in range(len(targets[i]))]
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
