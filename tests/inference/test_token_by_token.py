"""Continuations against passes of the whole model, and the text of single tokens."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import KINDS, tiny_model, tiny_tokenizer
from torch import Tensor
from transformers import GenerationConfig

from alphaedit_core.display.text_diff import Difference, difference, words
from alphaedit_core.errors import Canceled, InputError, SessionError
from alphaedit_core.inference import token_by_token as generation
from alphaedit_core.inference.completions import generate_greedy
from alphaedit_core.inference.scoring import score_ids, target_logprobs
from alphaedit_core.inference.token_by_token import (
    Choice,
    Sampling,
    chat_ids,
    generate_with_probabilities,
    has_chat,
    text_of,
)
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor

PROMPT = "The Eiffel Tower is in"


@torch.no_grad()
def plain_chances(model: EditableModel, ids: list[int]) -> Tensor:
    """Return the probabilities of the next token, by one pass without a cache."""
    logits: Tensor = model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    return logits.softmax(dim=0)


@pytest.mark.parametrize("layout", KINDS)
def test_each_token_is_that_of_a_pass_of_the_whole_model(layout: str) -> None:
    model = tiny_model(layout, tiny_tokenizer(bos=True), dtype=torch.float64)
    ids, _ = encode(model.tokenizer, PROMPT)
    steps = generate_with_probabilities(model, PROMPT, tokens=12)
    assert len(steps) > 5
    for step in steps:
        chances = plain_chances(model, ids)
        best = chances.topk(5)
        assert step.token == int(chances.argmax()) and step.rank == 1
        assert [choice.token for choice in step.top] == best.indices.tolist()
        assert [choice.probability for choice in step.top] == pytest.approx(best.values.tolist())
        assert [choice.rank for choice in step.top] == [1, 2, 3, 4, 5]
        assert step.probability == pytest.approx(float(chances[step.token]))
        ids.append(step.token)
    output = [step.token for step in steps]
    # Tiny models like to end in the middle of a character.
    assert text_of(steps) == model.tokenizer.decode(output).rstrip("\ufffd")
    assert generate_greedy(model, [PROMPT], tokens=12) == [text_of(steps)]
    assert (
        generate_with_probabilities(model, encode(model.tokenizer, PROMPT)[0], tokens=12) == steps
    )


def test_greedy_whatever_the_models_own_settings_say() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    expected = generate_with_probabilities(model, PROMPT, 8)
    model.model.generation_config = GenerationConfig(
        do_sample=True, temperature=3.0, repetition_penalty=5.0, eos_token_id=0
    )
    assert generate_with_probabilities(model, PROMPT, 8) == expected


def test_a_closing_token_ends_the_text() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    free = generate_with_probabilities(model, PROMPT, 8)
    model.model.generation_config.eos_token_id = [1, free[3].token]
    first = next(i for i, step in enumerate(free) if step.token == free[3].token)
    assert generate_with_probabilities(model, PROMPT, 8) == free[:first]


def test_sampling_goes_by_its_seed_and_tells_the_models_own_probabilities() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    drawn = generate_with_probabilities(model, PROMPT, 12, Sampling(seed=1))
    torch.manual_seed(5)  # the generator of others takes no part
    assert generate_with_probabilities(model, PROMPT, 12, Sampling(seed=1)) == drawn
    others = [
        generate_with_probabilities(model, PROMPT, 12, Sampling(seed=seed)) for seed in (2, 3)
    ]
    assert len({tuple(step.token for step in steps) for steps in (drawn, *others)}) == 3
    ids, _ = encode(model.tokenizer, PROMPT)
    for step in generate_with_probabilities(model, PROMPT, 12, Sampling(seed=1, temperature=3.0)):
        chances = plain_chances(model, ids)
        assert step.probability == pytest.approx(float(chances[step.token]))
        assert step.rank == 1 + int((chances > chances[step.token]).sum())
        ids.append(step.token)


@pytest.mark.parametrize("sampling", [Sampling(temperature=1e-9), Sampling(top_p=1e-9)])
def test_without_heat_or_choice_sampling_is_greedy(sampling: Sampling) -> None:
    model = tiny_model("llama", dtype=torch.float64)
    assert generate_with_probabilities(model, PROMPT, 12, sampling) == generate_with_probabilities(
        model, PROMPT, 12
    )


def test_draws_follow_the_distribution_and_top_p_cuts_it() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()

    def shares(sampling: Sampling) -> list[float]:
        generator = torch.Generator().manual_seed(0)
        drawn = [generation._draw(logits.clone(), sampling, generator) for _ in range(4000)]
        return [drawn.count(token) / 4000 for token in range(4)]

    assert shares(Sampling()) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(Sampling(top_p=0.6)) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    square = [0.25, 0.09, 0.0225, 0.0025]
    expected = [one / sum(square) for one in square]
    assert shares(Sampling(temperature=0.5)) == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.1}],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_prompts_that_do_not_fit_are_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(InputError, match="no token"):
        generate_with_probabilities(model, "")
    with pytest.raises(InputError, match="64"):
        generate_with_probabilities(model, " x" * 60, 12)


def test_numbers_that_are_none_are_an_error() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        model.architecture.matrix(0).fill_(float("nan"))
    with pytest.raises(SessionError, match="no number"):
        generate_with_probabilities(model, PROMPT)


def test_it_can_be_canceled_between_tokens() -> None:
    cancel = threading.Event()
    seen: list[float] = []

    def show(stage: object, *, closed: bool) -> None:
        seen.append(stage.done)  # type: ignore[attr-defined]
        if seen[-1] == 3:
            cancel.set()

    with pytest.raises(Canceled):
        generate_with_probabilities(tiny_model(), PROMPT, 12, monitor=Monitor(show, cancel))
    assert max(seen) == 3


@pytest.mark.parametrize("kind", ["bytes", "pieces"])
@pytest.mark.parametrize("text", ["Rome is old.\n  And 東京都は! Ünï 🙂 é", " leading", "東京🙂"])
def test_texts_of_tokens_make_the_text(kind: str, text: str) -> None:
    """The last byte token of a character has its text; the others have none."""
    tokenizer = tiny_tokenizer(kind)  # type: ignore[arg-type]
    before, _ = encode(tokenizer, "I know 都: x")
    ids = encode(tokenizer, "I know 都: x" + text)[0][len(before) :]
    assert before == encode(tokenizer, "I know 都: x" + text)[0][: len(before)]
    spelling = generation._Spelling(tokenizer, before)
    made, pending = "", b""
    for token in ids:
        own, part = spelling.of(token)
        assert not (own and part) and (own or part)
        pending += part
        if own:
            if pending:  # the bytes that were shown are those of the character that came of them
                assert own.encode().startswith(pending)
            pending = b""
        made += own
        spelling.add(token)
    assert made == text


def test_parts_are_named_by_their_bytes() -> None:
    tokenizer = tiny_tokenizer("pieces")
    ids = tokenizer("🙂", add_special_tokens=False)["input_ids"][-4:]
    spelling = generation._Spelling(tokenizer, encode(tokenizer, "Rome")[0])
    assert spelling.of(ids[0]) == ("", b"\xf0")
    assert Choice(ids[0], "", 0.1, 1, b"\xf0\x9f").label == "<F0 9F>"
    assert Choice(7, "", 0.1, 1).label == "#7"
    assert Choice(7, " Rome", 0.1, 1).label == " Rome"


def test_chat_puts_the_prompt_as_a_message() -> None:
    model = tiny_model("llama")
    assert not has_chat(model)
    with pytest.raises(InputError, match="no chat template"):
        chat_ids(model, PROMPT)
    model.tokenizer.chat_template = (
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}"
    )
    assert has_chat(model)
    written = model.tokenizer.decode(chat_ids(model, PROMPT))
    assert written == f"<s>user: {PROMPT}</s><s>assistant: "
    model.tokenizer.chat_template = "{{ raise_exception('system first') }}"
    with pytest.raises(InputError, match="system first"):
        chat_ids(model, PROMPT)


def test_scores_of_ids_are_those_of_texts() -> None:
    model = tiny_model("gpt2", dtype=torch.float64)
    pairs = [(PROMPT, "Rome in Italy"), ("東京は", "日本")]
    tokens = [
        (encode(model.tokenizer, prompt)[0], target_ids(model.tokenizer, prompt, target))
        for prompt, target in pairs
    ]
    assert score_ids(model, tokens) == target_logprobs(model, pairs)
    first = generate_with_probabilities(model, PROMPT, 1)[0]
    one = score_ids(model, [(tokens[0][0], [first.token])])[0]
    assert one.exact and one.probability == pytest.approx(first.probability)


# -- differences -----------------------------------------------------------------------------------


@given(st.text())
def test_words_make_the_text(text: str) -> None:
    assert "".join(words(text)) == text


def test_words() -> None:
    assert words("Rome, in  Italy.") == ["Rome", ",", " ", "in", "  ", "Italy", "."]
    assert words("東京は x") == ["東", "京", "は", " ", "x"]
    assert words("हिन्दी भाषा") == ["हिन्दी", " ", "भाषा"]


@given(st.lists(st.integers(0, 4)), st.lists(st.integers(0, 4)))
def test_what_is_not_marked_is_the_same_on_both_sides(one: list[int], other: list[int]) -> None:
    found = difference(one, other)
    kept = [x for x, gone in zip(one, found.before, strict=True) if not gone]
    assert kept == [x for x, new in zip(other, found.after, strict=True) if not new]
    assert found.none == (one == other)


def test_differences_in_words() -> None:
    found = difference(words("in Rome today"), words("in Paris today"))
    assert found == Difference((False, False, True, False, False),
                               (False, False, True, False, False))  # fmt: skip
    assert str(found) == "1 removed, 1 added"
    assert str(difference("ab", "ab")) == "no difference"
