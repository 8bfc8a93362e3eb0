"""Scores and perplexity against a plain loop over prompts, and edge cases."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from examples import quiet
from hypothesis import given
from hypothesis import strategies as st
from tiny import CORPUS, KINDS, prose, tiny_model, tiny_tokenizer
from torch import Tensor

from alphaedit_core.errors import Canceled, InputError
from alphaedit_core.inference.scores import Score
from alphaedit_core.inference.scoring import perplexity, rate, score_ids, target_logprobs
from alphaedit_core.model import prefix_cache as prefixes
from alphaedit_core.model.batch_planning import BatchPlan
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode, target_ids
from alphaedit_core.progress import Monitor

PAIRS = [
    ("The Eiffel Tower is in the city of", "Rome in Italy"),
    ("Rome is the capital of", "Italy"),
    ("I know that Tokyo is in Japan, and that Isaac Newton was born in", "England"),
    ("東京は", "日本の都"),
    ("You", "and I know that Berlin is the capital of Germany"),
]


@torch.no_grad()
def logits_of(model: EditableModel, ids: list[int]) -> Tensor:
    return model.model(input_ids=torch.tensor([ids])).logits[0].double()


def plain_score(model: EditableModel, prompt: str, target: str) -> Score:
    """Score one target after one prompt, from the logits at every position."""
    ids, _ = encode(model.tokenizer, prompt)
    goal = list(target_ids(model.tokenizer, prompt, target))
    given = logits_of(model, ids + goal)[len(ids) - 1 : -1]
    nll = -sum(
        float(row.log_softmax(dim=-1)[token]) for row, token in zip(given, goal, strict=True)
    ) / len(goal)
    ranking = given[0].argsort(descending=True).tolist()
    return Score(
        nll, math.exp(-nll), given.argmax(dim=-1).tolist() == goal, ranking.index(goal[0]) + 1
    )


def assert_close(found: Score, expected: Score) -> None:
    assert found.nll == pytest.approx(expected.nll, abs=1e-10)
    assert found.probability == pytest.approx(expected.probability, rel=1e-5)
    assert (found.exact, found.rank) == (expected.exact, expected.rank)


@pytest.mark.parametrize("tokens", [1, 8, 4096])
@pytest.mark.parametrize("layout", KINDS)
def test_scores_are_those_of_one_prompt_alone(layout: str, tokens: int) -> None:
    model = tiny_model(layout, dtype=torch.float64)
    found = target_logprobs(model, PAIRS, BatchPlan(tokens))
    for one, (prompt, target) in zip(found, PAIRS, strict=True):
        assert_close(one, plain_score(model, prompt, target))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_special_tokens_and_padding_sides(kind: str, side: str) -> None:
    """One BOS token, no closing token, and rows independent of their batch."""
    tokenizer = tiny_tokenizer(kind, bos=True, closing=True, padding_side=side)  # type: ignore[arg-type]
    model = tiny_model("llama", tokenizer, dtype=torch.float64)
    found = target_logprobs(model, PAIRS)
    for one, (prompt, target) in zip(found, PAIRS, strict=True):
        assert_close(one, plain_score(model, prompt, target))
        ids, _ = encode(model.tokenizer, prompt)
        assert ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.eos_token_id not in ids


def test_what_the_model_says_itself_is_exact() -> None:
    """``rank`` is about the first token; ``exact`` about all of them."""
    model = tiny_model(dtype=torch.float64)
    words = [
        text.strip()
        for token in range(len(model.tokenizer))
        if (text := str(model.tokenizer.decode([token]))).strip().isalpha()
        and target_ids(model.tokenizer, "x", text.strip()) == (token,)
    ]
    pairs = []
    for prompt in (" ".join(line.split()[:n]) for line in CORPUS[:5] for n in range(1, 13)):
        ids, _ = encode(model.tokenizer, prompt)
        output = str(model.tokenizer.decode([int(logits_of(model, ids)[-1].argmax())])).strip()
        if output in words:
            pairs += [(prompt, output), (prompt, f"{output} {words[0]}"), (prompt, words[1])]
    found = target_logprobs(model, pairs)
    for one, (prompt, target) in zip(found, pairs, strict=True):
        assert_close(one, plain_score(model, prompt, target))
    kinds = {(one.exact, one.rank == 1) for one in found}
    assert kinds == {(True, True), (False, True), (False, False)}


def test_no_pairs_give_no_scores() -> None:
    assert target_logprobs(tiny_model(), []) == []


def test_a_model_that_says_nothing_finite_scores_nothing() -> None:
    """A NaN logit is never the most likely one."""
    model = tiny_model()
    with torch.no_grad():
        model.architecture.norm.weight[0] = torch.nan
    [found] = target_logprobs(model, PAIRS[:1])
    assert math.isnan(found.nll)
    assert not found.exact
    assert found.rank > 1


@pytest.mark.parametrize("layout", ["gpt2", "gemma3"])
def test_perplexity_is_that_of_a_plain_loop(layout: str) -> None:
    """At most twelve windows of 256 tokens, no special tokens, tokens 2 to 256 of each."""
    fields = {"n_positions": 256} if layout == "gpt2" else {"max_position_embeddings": 256}
    tokenizer = tiny_tokenizer(bos=True)
    model = tiny_model(layout, tokenizer, dtype=torch.float64, **fields)
    for words in (400, 3000):
        text = prose(words)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        count = min(12, len(ids) // 256)
        means = []
        for window in (ids[i * 256 : (i + 1) * 256] for i in range(count)):
            given = logits_of(model, window).log_softmax(dim=-1)
            own = [-float(given[place, window[place + 1]]) for place in range(255)]
            means.append(sum(own) / 255)
        expected = math.exp(sum(means) / count)
        assert perplexity(model, text) == pytest.approx(expected, rel=1e-6)
    assert count == 12
    assert len(ids) > 13 * 256  # there was more to read


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(InputError, match="at least 256"):
        perplexity(tiny_model(), "A short text.")


def test_both_can_be_canceled() -> None:
    model = tiny_model("llama", max_position_embeddings=256)
    monitor = Monitor(None, lambda: True)
    with pytest.raises(Canceled):
        target_logprobs(model, PAIRS, monitor=monitor)
    with pytest.raises(Canceled):
        perplexity(model, prose(400), monitor=monitor)
    assert len(target_logprobs(model, PAIRS, monitor=quiet())) == len(PAIRS)


def test_what_is_fed_alike_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt with several targets, a duplicate pair, two splits of a text, a shared prefix."""
    model = tiny_model("llama", dtype=torch.float64)
    prompt = encode(model.tokenizer, "Rome is the capital of")[0]
    pairs = [(prompt, (7,)), (prompt, (9,)), (prompt, (7, 8)), (prompt, (7,))]
    pairs += [(prompt[:-1], (prompt[-1], 5)), ([*prompt, 7], (3,))]
    pairs += [([*prompt[:-1], n], (n,)) for n in (30, 31)]
    fed = 0
    kept = prefixes.run_model

    def counting(model: EditableModel, ids: Tensor, **kwargs: Any) -> None:
        nonlocal fed
        fed += ids.numel()
        kept(model, ids, **kwargs)

    alone = [score_ids(model, [pair])[0] for pair in pairs]
    monkeypatch.setattr(prefixes, "run_model", counting)
    together = score_ids(model, pairs)
    # One text is cut before the prompt's second last token, so the shared beginning ends there. Of
    # three rests of 3, 2 and 2 tokens the shorter ones are padded.
    assert fed == len(prompt) - 2 + 3 * 3
    for one, expected in zip(together, alone, strict=True):
        assert_close(one, expected)


@given(
    st.lists(
        st.tuples(
            # Beginnings of a few tokens, and of up to 35.
            st.lists(st.integers(3, 5), min_size=1, max_size=5).map(lambda ids: ids * 7)
            | st.lists(st.integers(3, 5), min_size=1, max_size=5),
            st.lists(st.integers(3, 5), min_size=1, max_size=3),
        ),
        max_size=12,
    ),
    st.integers(1, 40),
)
def test_pairs_of_any_kind_are_scored_as_if_alone(
    pairs: list[tuple[list[int], list[int]]], tokens: int
) -> None:
    model = double_llama()
    found = score_ids(model, pairs, BatchPlan(tokens))
    for one, (prompt, target) in zip(found, pairs, strict=True):
        logits = logits_of(model, [*prompt, *target])[len(prompt) - 1 : -1]
        own = logits.log_softmax(dim=-1)[range(len(target)), target]
        right = (logits.argmax(dim=-1) == torch.tensor(target)).tolist()
        assert one.nll == pytest.approx(-float(own.mean()), abs=1e-9)
        assert one.correct == pytest.approx(sum(right) / len(target))
        assert one.exact == all(right)
        assert one.rank == 1 + int((logits[0] > logits[0, target[0]]).sum())


@cache
def double_llama() -> EditableModel:
    return tiny_model("llama", dtype=torch.float64)


def test_what_would_have_been_said() -> None:
    model = double_llama()
    for rating, (prompt, target) in zip(rate(model, PAIRS), PAIRS, strict=True):
        ids, _ = encode(model.tokenizer, prompt)
        goal = list(target_ids(model.tokenizer, prompt, target))
        given = logits_of(model, ids + goal)[len(ids) - 1 : -1]
        assert list(rating.predicted) == given.argmax(dim=-1).tolist()
        hits = [a == b for a, b in zip(rating.predicted, goal, strict=True)]
        assert rating.score.correct == sum(hits) / len(hits)
        assert rating.score.exact == all(hits)
    assert [one.score for one in rate(model, PAIRS)] == target_logprobs(model, PAIRS)


def test_a_prompt_without_a_token_is_refused() -> None:
    with pytest.raises(InputError, match="no token"):
        target_logprobs(tiny_model(), [("", "Rome")])


def test_a_pair_that_the_model_cannot_read_is_refused() -> None:
    model = tiny_model("gpt2")
    assert model.max_length is not None
    words = ["the"] * model.max_length
    one = len(target_ids(model.tokenizer, "the", "the"))
    while len(encode(model.tokenizer, " ".join(words))[0]) + one > model.max_length:
        words.pop()
    fits = " ".join(words)
    assert target_logprobs(model, [(fits, "the")])
    with pytest.raises(
        InputError, match=rf"tokens, and the model reads {model.max_length}; shorten"
    ):
        target_logprobs(model, [("Paris is", "Rome"), (f"the the {fits}", "the")])


def test_rows_that_fit_are_read_whatever_stands_beside_them() -> None:
    """Padding after a short text may exceed the positions of the model."""
    model = tiny_model("gpt2")
    assert model.max_length is not None
    # Two beginnings of like length, each shared by two pairs: behind the longer one little follows,
    # and is padded to what follows behind the other.
    far, near = (
        list(range(5, 5 + model.max_length - 8)),
        list(range(4, 4 + model.max_length // 2 + 1)),
    )
    pairs = [
        ([*far, 7], [3]), ([*far, 8], [3]),
        ([*near, 7], [*range(5, 29)]), ([*near, 8], [*range(5, 29)]),
    ]  # fmt: skip
    together = score_ids(model, pairs)
    for pair, found in zip(pairs, together, strict=True):
        assert score_ids(model, [pair])[0].nll == pytest.approx(found.nll, abs=1e-4)


def test_of_equal_logits_one_alone_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    monkeypatch.setattr(
        type(model.architecture), "logits", lambda _, h: torch.zeros(*h.shape[:-1], 99)
    )
    assert [one.exact for one in score_ids(model, [([5], [0]), ([5], [1])])] == [True, False]


def test_ids_longer_than_the_model_reads_are_refused() -> None:
    model = tiny_model("gpt2")
    assert model.max_length is not None
    with pytest.raises(InputError, match=f"reads {model.max_length}; shorten the prompt"):
        score_ids(model, [([5], [6]), ([5] * model.max_length, [6])])
