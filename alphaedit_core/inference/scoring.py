"""Log-probabilities of targets, with shared prefixes computed once, and perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn import functional as F

from alphaedit_core.errors import InputError
from alphaedit_core.messages import shown
from alphaedit_core.model.batch_planning import BatchPlan, plan_batches
from alphaedit_core.model.editable_model import EditableModel, using_model
from alphaedit_core.model.forward import record
from alphaedit_core.model.prefix_cache import last_states, shared_beginnings
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor

from .scores import Rating, Score

#: Number and length of the windows for the perplexity.
_WINDOWS, _WINDOW = 12, 256
PERPLEXITY = (
    f"exp of the mean negative log-likelihood of tokens 2 to {_WINDOW} of the text's first "
    f"{_WINDOWS} windows, consecutive pieces of {_WINDOW} tokens without a start token; other "
    "windows give other numbers; lower is better"
)
"""What :func:`perplexity` measures."""
#: Targets whose ranks are counted together; each takes as much memory again as its logits.
_AT_ONCE = 64


@using_model
def target_logprobs(
    model: EditableModel,
    pairs: Sequence[tuple[str, str]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
) -> list[Score]:
    """Return the scores of (prompt, target) pairs, joined as in running text.

    Args:
        model: the model with its current weights.
        pairs: prompts and targets.
        plan: tokens per batch with gradients; without gradients four times as many are used.
        monitor: can cancel between batches.
    """
    return [rating.score for rating in rate(model, pairs, plan, monitor)]


@using_model
def rate(
    model: EditableModel,
    pairs: Sequence[tuple[str, str]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> list[Rating]:
    """Return :func:`target_logprobs` with the model's own greedy tokens.

    ``done`` is called with the number of pairs just rated.

    Raises:
        InputError: if a prompt or a target has no token, or the two exceed the model's positions.
    """
    tokens, limit = [], model.max_length
    for prompt, target in pairs:
        ids = encode(model.tokenizer, prompt)[0] if prompt and target else []
        own = target_ids(model.tokenizer, prompt, target) if ids else ()
        if not own:
            raise InputError(
                f'"{prompt}" with the target "{target}": one of them has no token in this model; '
                "leave it out"
            )
        if limit is not None and len(ids) + len(own) > limit:
            raise InputError(
                f"{shown(prompt)} with the target {shown(target)}: {len(ids) + len(own)} tokens, "
                f"and the model reads {limit}; shorten the prompt"
            )
        tokens.append((ids, own))
    return _rate(model, tokens, plan, monitor, done)


def score_ids(
    model: EditableModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
) -> list[Score]:
    """Return :func:`target_logprobs` for prompts and targets given as non-empty token ids.

    Raises:
        InputError: if a prompt and its target exceed the model's positions.
    """
    limit = model.max_length
    for prompt, target in pairs:
        if limit is not None and len(prompt) + len(target) > limit:
            raise InputError(
                f"a prompt with its target has {len(prompt) + len(target)} tokens, and the model "
                f"reads {limit}; shorten the prompt"
            )
    return [rating.score for rating in _rate(model, pairs, plan, monitor)]


@torch.no_grad()
def _rate(
    model: EditableModel,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    plan: BatchPlan | None = None,
    monitor: Monitor | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> list[Rating]:
    """Rate pairs of token ids, without computing anything twice.

    The input of a pair is all but the target's last token. An input that is a prefix of another
    one, as with one prompt and two targets, is read there; prefixes of many inputs go through the
    model once (:func:`~.prefix_cache.last_states`); and logits are computed once for each place.
    """
    monitor = monitor or Monitor(show=None)
    limit = 4 * (plan or plan_batches(model)).tokens
    fed = [(*prompt, *target[:-1]) for prompt, target in pairs]
    rows, row_of = _longest(fed)
    askers: list[list[int]] = [[] for _ in rows]
    for index, row in enumerate(row_of):
        askers[row].append(index)
    ratings: dict[int, Rating] = {}
    for first, last in _portions([len(row) for row in rows], limit):
        portion = rows[first:last]
        reads = [min(len(pairs[i][0]) for i in own) - 1 for own in askers[first:last]]
        cuts = _cuts(portion, reads)
        for members, hidden in last_states(model, portion, cuts, limit):
            monitor.check()
            row_pairs = [(n, i) for n, m in enumerate(members) for i in askers[first + m]]
            begins = [len(pairs[i][0]) - 1 - cuts[members[n]] for n, i in row_pairs]
            group = [(i, pairs[i][1]) for _, i in row_pairs]
            places = [
                (n, begin + t)
                for (n, _), begin, (_, target) in zip(row_pairs, begins, group, strict=True)
                for t in range(len(target))
            ]
            ratings |= _read(model, hidden, places, group)
            done(len(group))
    return [ratings[index] for index in range(len(pairs))]


def _longest(
    texts: Sequence[tuple[int, ...]],
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the inputs that are not prefixes of others, sorted, and each input's index in them.

    In sorted order a prefix comes right before the inputs that start with it.
    """
    kept: list[tuple[int, ...]] = []
    place: dict[tuple[int, ...], int] = {}
    for text in sorted(set(texts), reverse=True):
        if not kept or kept[-1][: len(text)] != text:
            kept.append(text)
        place[text] = len(kept) - 1
    return kept[::-1], [len(kept) - 1 - place[text] for text in texts]


def _portions(lengths: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of consecutive rows with about ``limit`` tokens in total."""
    first = total = 0
    for index, length in enumerate(lengths):
        if total and total + length > limit:
            yield first, index
            first, total = index, 0
        total += length
    if total:
        yield first, len(lengths)


def _cuts(rows: Sequence[tuple[int, ...]], reads: Sequence[int]) -> list[int]:
    """Return the lengths of the rows' shared prefixes, cut before the first place that is read.

    Args:
        rows: token ids.
        reads: the first place of each row that is read.
    """
    begins = [row[:cut] for row, cut in zip(rows, shared_beginnings(rows), strict=True)]
    ends: dict[tuple[int, ...], int] = {}
    for begin, read in zip(begins, reads, strict=True):
        ends[begin] = min(ends.get(begin, len(begin)), read)
    return [ends[begin] for begin in begins]


def _read(
    model: EditableModel,
    hidden: Tensor,
    places: Sequence[tuple[int, int]],
    group: Sequence[tuple[int, Sequence[int]]],
) -> dict[int, Rating]:
    """Return the ratings of some pairs, by index.

    Args:
        model: the model.
        hidden: outputs of the last block, (rows, tokens, hidden_size).
        places: row and position of each target token's logits, one target after the other.
        group: indices of the pairs, and their targets.
    """
    device = hidden.device
    distinct = {place: n for n, place in enumerate(dict.fromkeys(places))}
    logits = model.architecture.logits(hidden[[n for n, _ in distinct], [t for _, t in distinct]])
    best = logits.max(dim=1)
    at = torch.tensor([distinct[place] for place in places], device=device)
    labels = torch.tensor([t for _, target in group for t in target], device=device)
    own = logits[at, labels]
    each = (logits.logsumexp(dim=1)[at] - own).tolist()
    # Of equal logits, which coarse dtypes produce, only the argmax counts, as in decoding.
    # The comparison makes a NaN logit never the most likely one.
    right = ((best.indices[at] == labels) & (own >= best.values[at])).tolist()
    argmax = best.indices[at].tolist()
    starts = [0, *accumulate(len(target) for _, target in group)]
    first = torch.tensor(starts[:-1], device=device)
    # The comparison ranks a NaN logit last, not first.
    ranks = [
        1 + int(n)
        for part in first.split(_AT_ONCE)
        for n in (~(logits[at[part]] <= own[part][:, None])).sum(dim=1).tolist()
    ]
    ratings = {}
    for (index, _), rank, start, stop in zip(group, ranks, starts, starts[1:], strict=False):
        nll = sum(each[start:stop]) / (stop - start)
        score = Score(
            nll,
            float(torch.tensor(-nll).exp()),
            all(right[start:stop]),
            rank,
            sum(right[start:stop]) / (stop - start),
        )
        ratings[index] = Rating(score, tuple(argmax[start:stop]))
    return ratings


@using_model
@torch.no_grad()
def perplexity(model: EditableModel, text: str, monitor: Monitor | None = None) -> float:
    """Return the perplexity of a text.

    It is exp of the mean negative log-likelihood of tokens 2 to 256 of the first twelve windows.
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
        logits = model.architecture.logits(hidden[0, :-1])
        total += float(F.cross_entropy(logits, row[0, 1:]))
    return float(torch.tensor(total / len(windows)).exp())
