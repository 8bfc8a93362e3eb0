"""Contexts: sampled from the model, reproducible by seed."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_model, tiny_tokenizer

from alphaedit_core.editing.context_prefixes import OPENINGS, sample_contexts
from alphaedit_core.model.editable_model import EditableModel


def greedy(model: EditableModel, opening: str, tokens: int) -> str:
    """Return the greedy continuation by full forward passes, without special tokens."""
    tokenizer = model.tokenizer
    special = set(tokenizer.all_special_ids)
    ids = document_start(model) + tokenizer(opening)["input_ids"]
    while len([i for i in ids if i not in special]) < tokens:
        with torch.no_grad():
            logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1]
        order = logits.argsort(descending=True).tolist()
        ids.append(next(i for i in order if i not in special and i < len(tokenizer)))
    return " ".join(tokenizer.decode(ids, skip_special_tokens=True).split())


def document_start(model: EditableModel) -> list[int]:
    """The special token that predicts the first tokens of the openings best; none after a BOS."""
    first = [model.tokenizer(opening)["input_ids"][0] for opening in OPENINGS]
    if model.tokenizer.bos_token_id in first:
        return []
    known = model.model.get_input_embeddings().weight.shape[0]
    fits = {}
    for token in model.tokenizer.all_special_ids:
        if token < known:
            with torch.no_grad():
                logits = model.model(input_ids=torch.tensor([[token]])).logits[0, -1]
            fits[token] = sum(float(logits.softmax(0)[t].log()) for t in first)
    return [max(fits, key=fits.__getitem__)] if fits else []


@pytest.mark.parametrize(("layout", "bos"), [("gpt2", False), ("gemma2", True), ("opt", False)])
def test_greedy_contexts_match_full_passes(layout: str, bos: bool) -> None:
    model = tiny_model(layout, tiny_tokenizer(bos=bos))
    lengths = {len(model.tokenizer(opening)["input_ids"]) for opening in OPENINGS}
    assert len(lengths) > 1  # rows of several lengths go together
    assert sample_contexts(model, seed=0, tokens=6, top_k=1) == tuple(
        greedy(model, opening, 6) for opening in OPENINGS
    )


def test_seed_determines_contexts() -> None:
    model = tiny_model("llama")
    torch.manual_seed(1)
    first = sample_contexts(model, seed=3)
    torch.manual_seed(2)
    assert sample_contexts(model, seed=3) == first
    assert sample_contexts(model, seed=4) != first
    assert all(text.startswith(opening) for text, opening in zip(first, OPENINGS, strict=True))
    assert not any("  " in text or "\n" in text for text in first)


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_padding_side_does_not_change_contexts(kind: str) -> None:
    left, right = (
        sample_contexts(
            tiny_model("opt", tiny_tokenizer(kind, padding_side=side)),  # type: ignore[arg-type]
            seed=0,
        )
        for side in ("left", "right")
    )
    assert left == right


def test_no_special_or_padding_token_is_sampled() -> None:
    """The head is wider than the tokenizer, and a special token is outside the head."""
    tokenizer = tiny_tokenizer(bos=True)
    model = tiny_model("llama", tokenizer, vocab_size=len(tokenizer) + 200)
    for token in [*tokenizer.all_special_ids, *range(len(tokenizer), len(tokenizer) + 200)]:
        model.architecture.head.weight[token] = 0.0
        model.architecture.head.weight[token, 0] = (
            1e3 * (-1) ** token
        )  # likeliest, one way or another
    expected = tuple(greedy(model, opening, 6) for opening in OPENINGS)
    assert sample_contexts(model, seed=0, tokens=6, top_k=1) == expected
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<{n}>" for n in range(300)]})
    texts = sample_contexts(model, seed=0)
    assert not any(token in text for text in texts for token in tokenizer.all_special_tokens)


def test_special_tokens_without_embedding() -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model("llama", tokenizer)
    tokenizer.pad_token = tokenizer.eos_token = "<new>"
    tokenizer.add_special_tokens({"pad_token": "<new>", "eos_token": "<new>"})
    assert min(tokenizer.all_special_ids) >= model.model.config.vocab_size
    assert document_start(model) == []
    expected = tuple(greedy(model, opening, 6) for opening in OPENINGS)
    assert sample_contexts(model, seed=0, tokens=6, top_k=1) == expected


def test_contexts_of_default_model(default_model: EditableModel) -> None:
    contexts = sample_contexts(default_model, seed=0, tokens=6)
    assert len(set(contexts)) == len(OPENINGS)
    for text, opening in zip(contexts, OPENINGS, strict=True):
        assert text.startswith(opening)
        # Encoding what was decoded may join tokens of white space, but loses no word.
        assert 4 <= len(default_model.tokenizer(text)["input_ids"]) <= 6
