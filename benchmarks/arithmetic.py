"""Minimum number of operations, counted on the actual rows: the floor of any implementation.

One multiplication with one addition counts as two operations. Only products with weight matrices
are counted: attention's own products, at the lengths of facts, are about 1 % of them. Padding is
never counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import TokenizedFact


def blocks_cost(model: EditableModel, start: int, stop: int) -> float:
    """Operations of one token's forward pass through blocks ``start`` … ``stop`` - 1."""
    blocks = model.architecture.blocks[start:stop]
    return 2.0 * sum(p.numel() for block in blocks for p in block.parameters() if p.ndim > 1)


def head_cost(model: EditableModel) -> float:
    """Operations of one token's logits."""
    return 2.0 * sum(p.numel() for p in model.architecture.head.parameters() if p.ndim > 1)


@dataclass(frozen=True)
class SearchCost:
    """Operations of the search for one fact's target value.

    Attributes:
        once: before the first evaluation of the loss.
        forward: of one evaluation of the loss.
        backward: of its gradient with respect to delta.
    """

    once: float
    forward: float
    backward: float

    def steps(self, evaluations: float) -> float:
        """Operations of so many evaluations; no step, and so no gradient, follows the last."""
        return evaluations * self.forward + (evaluations - 1) * self.backward

    def total(self, evaluations: float) -> float:
        """Operations of the whole search."""
        return self.once + self.steps(evaluations)


def least_search(model: EditableModel, request: TokenizedFact, last: int) -> SearchCost:
    """Return the cost of the search: tokens from the subject's last on, in blocks after the edit.

    What does not depend on delta is counted once: all blocks for the tokens before, and the blocks
    up to the edited one for the others. The contexts, which all facts share, belong to none.
    """
    rows = [(len(row.ids) + len(request.target) - 1, row.subject) for row in request.rows]
    rows.append((request.essence.subject + 1, request.essence.subject))
    bare = request.rows[0]
    prefix = len(request.rows) * bare.subject
    if bare.ids[: bare.subject] != request.essence.ids[: request.essence.subject]:
        prefix += request.essence.subject
    suffix = sum(length - cut for length, cut in rows)
    read = len(request.rows) * len(request.target) + 1
    before, after = blocks_cost(model, 0, last + 1), blocks_cost(model, last + 1, model.layers)
    forward = suffix * after + read * head_cost(model)
    return SearchCost(prefix * (before + after) + suffix * before, forward, forward)


def plain_search(model: EditableModel, request: TokenizedFact, last: int) -> SearchCost:
    """Return the cost of the plain way without padding: all tokens, all blocks, all logits."""
    tokens = sum(len(row.ids) + len(request.target) - 1 for row in request.rows)
    tokens += len(request.essence.ids)
    before, after = blocks_cost(model, 0, last + 1), blocks_cost(model, last + 1, model.layers)
    head = head_cost(model)
    return SearchCost(0.0, tokens * (before + after + head), tokens * (after + head))


def least_keys(model: EditableModel, request: TokenizedFact, layers: Sequence[int]) -> float:
    """Operations for one fact's keys and states while one layer after another is changed.

    Every row once up to the last edited block; then, from each changed layer, all rows to the next
    edited layer, and the bare prompt to the last.
    """
    last = layers[-1]
    bare = request.rows[0].subject + 1
    contexts = sum(row.subject + 1 for row in request.rows[1:])
    again = sum(blocks_cost(model, a, b) for a, b in pairwise(layers))
    to_last = sum(blocks_cost(model, layer, last + 1) for layer in layers)
    once = blocks_cost(model, 0, last + 1)
    return (bare + contexts) * once + contexts * again + bare * to_last


def least_observation(model: EditableModel, request: TokenizedFact, new_tokens: int = 12) -> float:
    """Operations to see what a model says of a fact: a completion and the scores of both targets.

    The prompt is read once for all three; the last token of each continuation is not read.
    """
    targets = [request.target] + ([request.target_true] if request.target_true else [])
    continued = new_tokens - 1 + sum(len(target) - 1 for target in targets)
    tokens = len(request.rows[0].ids) + continued
    read = continued + 1
    return tokens * blocks_cost(model, 0, model.layers) + read * head_cost(model)
