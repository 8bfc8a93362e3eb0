"""Batched generation against one text at a time, without a cache."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from examples import quiet
from tiny import KINDS, tiny_model, tiny_tokenizer
from transformers import GenerationConfig

from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.inference import batch_generation as writing
from alphaedit_core.inference.batch_generation import draws_of, write
from alphaedit_core.inference.completions import closing_tokens, generate_greedy
from alphaedit_core.inference.queries import GenerationQuery
from alphaedit_core.inference.token_by_token import chat_ids
from alphaedit_core.model import prefix_cache as prefixes
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import control_tokens, encode
from alphaedit_core.progress import Monitor

PROMPTS = (
    "The Eiffel Tower is in",
    "Rome",
    "Therefore the capital of France is Paris, because the government",
    "東京は",
    "The Eiffel Tower is located",
)
TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)


@torch.no_grad()
def plain(model: EditableModel, ask: GenerationQuery, seed: int = 0) -> list[int]:
    """Generate each token by a pass of the model over the whole text, without a cache."""
    ids = chat_ids(model, ask.prompt) if ask.chat else encode(model.tokenizer, ask.prompt)[0]
    count = ask.tokens - len(ids) if ask.whole else ask.tokens
    draws = draws_of(seed, ids, ask.draw, max(count, 0))
    new: list[int] = []
    while len(new) < count:
        logits = model.model(input_ids=torch.tensor([ids + new]), use_cache=False).logits[0, -1]
        chances, candidates = logits.double().softmax(dim=0).topk(ask.top_k)
        steps = (chances / chances.sum()).cumsum(dim=0).tolist()
        choice = next((i for i, step in enumerate(steps) if draws[len(new)] < step), -1)
        token = int(candidates[choice])
        if token in closing_tokens(model) and not ask.whole:
            break
        new.append(token)
    return new


def spelled(model: EditableModel, new: list[int]) -> str:
    text = str(model.tokenizer.decode(new, skip_special_tokens=True))
    return text.rstrip("\ufffd")  # of a character that is cut at the end there is nothing


def mixed(top_k: int) -> list[GenerationQuery]:
    """Queries of different lengths, with and without ``whole``, some with the same prompt."""
    asks = [GenerationQuery(prompt, 9, top_k=top_k) for prompt in PROMPTS]
    asks += [GenerationQuery(prompt, 26, whole=True, top_k=top_k) for prompt in PROMPTS]
    return asks + [GenerationQuery(PROMPTS[0], 9, top_k=top_k, draw=n) for n in (1, 2)]


@pytest.mark.parametrize("top_k", [1, 5])
@pytest.mark.parametrize("layout", KINDS)
def test_texts_are_those_of_one_alone(layout: str, top_k: int) -> None:
    """Beyond a sliding window of 8, too."""
    model = tiny_model(layout, dtype=torch.float64)
    asks = mixed(top_k)
    expected = [spelled(model, plain(model, ask)) for ask in asks]
    assert write(model, asks) == expected
    assert len(set(expected)) > len(PROMPTS)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("at_once", [1, 2, 3, 100])
def test_neither_company_nor_order_changes_a_text(at_once: int, side: str) -> None:
    model = tiny_model("llama", tiny_tokenizer(bos=True, padding_side=side), dtype=torch.float64)
    asks = mixed(5)
    together = write(model, asks, seed=3, at_once=at_once)
    assert write(model, asks[::-1], seed=3, at_once=at_once) == together[::-1]
    assert [write(model, [ask], seed=3)[0] for ask in asks] == together


def test_greedy_texts_are_those_of_transformers() -> None:
    model = tiny_model("gpt2", dtype=torch.float64)
    asks = [GenerationQuery(prompt, 12) for prompt in PROMPTS]
    output = generate_greedy(model, PROMPTS, tokens=12)
    for name in control_tokens(model.tokenizer):  # shown there, left out here
        output = [text.replace(name, "") for text in output]
    assert write(model, asks) == output
    model.model.generation_config = GenerationConfig(
        do_sample=True, temperature=3.0, repetition_penalty=5.0, eos_token_id=0
    )
    output = generate_greedy(model, PROMPTS, tokens=12)
    for name in control_tokens(model.tokenizer):  # shown there, left out here
        output = [text.replace(name, "") for text in output]
    assert write(model, asks) == output


def test_draws_go_by_seed_and_number() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    asks = [GenerationQuery(PROMPTS[0], 12, top_k=5, draw=n) for n in range(3)]
    first = write(model, asks, seed=1)
    torch.manual_seed(5)  # the generator of others takes no part
    assert write(model, asks, seed=1) == first
    assert len({*first, *write(model, asks, seed=2)}) == 6


def test_draws_follow_the_distribution() -> None:
    """Only the top five tokens are drawn, in proportion to their probabilities."""
    weights = [1.0, 0.6, 0.2, 0.1, 0.1, 9.0]
    drawn: Counter[int] = Counter()
    for n in range(4000):
        text = writing._Text((7,), 1, 5, frozenset(), draws_of(0, [7], n, 1))
        text.sample(list(range(30, 36)), weights)
        drawn.update(text.new)
    assert drawn.total() == 4000 and 35 not in drawn
    for token, weight in enumerate(weights[:5], start=30):
        chance = weight / 2
        assert abs(drawn[token] / 4000 - chance) < 4 * math.sqrt(chance * (1 - chance) / 4000)


def test_a_closing_token_ends_a_text_unless_its_whole_length_is_wanted() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    model.model.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    free = plain(model, GenerationQuery(PROMPTS[0], 9))
    closing = free[3]
    model.model.generation_config.eos_token_id = [1, closing]
    first = free.index(closing)
    ids, _ = encode(model.tokenizer, PROMPTS[0])
    asks = [GenerationQuery(PROMPTS[0], 9), GenerationQuery(PROMPTS[0], len(ids) + 9, whole=True)]
    assert write(model, asks) == [spelled(model, free[:first]), spelled(model, free)]


def test_a_prompt_that_is_long_enough_is_not_continued() -> None:
    assert write(tiny_model(), [GenerationQuery(PROMPTS[2], 5, whole=True)]) == [""]
    assert write(tiny_model(), []) == []


def test_chats() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    with pytest.raises(InputError, match="no chat template"):
        write(model, [GenerationQuery(PROMPTS[0], 4, chat=True)])
    model.tokenizer.chat_template = TEMPLATE
    asks = [
        GenerationQuery(prompt, 6, chat=chat) for prompt in PROMPTS[:2] for chat in (True, False)
    ]
    assert write(model, asks) == [spelled(model, plain(model, ask)) for ask in asks]


def test_a_new_word_keeps_its_space() -> None:
    """SentencePiece tokenizers strip the first space of a text."""
    model = tiny_model("llama", tiny_tokenizer("pieces"), dtype=torch.float64)
    asks = [GenerationQuery(prompt, 8, top_k=5, draw=n) for prompt in PROMPTS for n in range(4)]
    output = write(model, asks)
    for ask, text in zip(asks, output, strict=True):
        whole = encode(model.tokenizer, ask.prompt)[0] + plain(model, ask)
        assert spelled(model, whole) == ask.prompt + text
    assert any(text.startswith(" ") for text in output)


def test_a_prompt_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    kept = prefixes.pad_rows

    def counting(rows: list[tuple[int, ...]], device: torch.device) -> torch.Tensor:
        read.append(len(rows))
        return kept(rows, device)

    monkeypatch.setattr(prefixes, "pad_rows", counting)
    write(tiny_model(), [GenerationQuery(PROMPTS[0], 4, top_k=5, draw=n) for n in range(9)])
    assert read == [1]


def test_a_model_that_says_nothing_finite_says_nothing() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.architecture.matrix(0).fill_(float("nan"))
    assert write(model, mixed(5)) == [""] * len(mixed(5))


def test_prompts_that_cannot_be_continued_are_refused() -> None:
    with pytest.raises(InputError, match="no token"):
        write(tiny_model(), [GenerationQuery("", 4)])
    with pytest.raises(InputError, match="64"):
        write(tiny_model(), [GenerationQuery(" x" * 60, 12)])


def test_it_counts_and_can_be_canceled() -> None:
    counts: list[int] = []
    write(tiny_model(), mixed(5), at_once=4, monitor=quiet(), done=counts.append)
    assert sum(counts) == len(mixed(5))
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps > 3

    with pytest.raises(Canceled):
        write(tiny_model(), mixed(5), monitor=Monitor(None, stop))
    assert steps == 4
