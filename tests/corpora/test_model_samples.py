"""Model samples: distribution, ends and checksum."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
import torch
from word_model import WORDS, word_model

from alphaedit_core.corpora.model_samples import ModelSamples
from alphaedit_core.errors import InputError


def first(count: int, documents: Iterator[str]) -> list[str]:
    return list(itertools.islice(documents, count))


def test_samples_are_endless_and_reproducible() -> None:
    source = ModelSamples(word_model(), tokens_per_document=12)
    samples = first(40, source.documents())
    assert samples == first(40, source.documents())
    assert len(set(samples)) > 30  # also the third batch brings something new
    assert all(1 <= len(sample.split()) <= 12 for sample in samples)
    assert samples != first(40, ModelSamples(source.model, 12, seed=1).documents())


def test_samples_do_not_touch_global_random_state() -> None:
    source = ModelSamples(word_model(), tokens_per_document=4)
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    documents = source.documents()
    next(documents)
    assert torch.equal(torch.rand(1), expected)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


def test_low_temperature_equals_greedy() -> None:
    model = word_model()
    start = torch.tensor([[0]])
    greedy = model.model.generate(
        start,
        attention_mask=torch.ones_like(start),
        do_sample=False,
        max_new_tokens=20,
        begin_suppress_tokens=[1],
        eos_token_id=1,
        pad_token_id=1,
    )
    expected = model.tokenizer.decode(greedy[0, 1:], skip_special_tokens=True)
    assert len(set(expected.split())) > 2
    cold = ModelSamples(model, tokens_per_document=20, temperature=1e-5)
    assert first(16, cold.documents()) == [expected] * 16


def test_samples_follow_the_distribution_of_the_model() -> None:
    model = word_model()
    drawn = first(4000, ModelSamples(model, tokens_per_document=1, temperature=2.0).documents())
    with torch.no_grad():
        logits = model.model(torch.tensor([[0]])).logits[0, -1] / 2
    logits[:2] = -torch.inf  # blank once decoded, or not allowed as the first token
    expected = logits.softmax(-1)[2:]
    counts = torch.tensor([drawn.count(word) for word in WORDS[2:]]) / len(drawn)
    assert (counts - expected).abs().max() < 0.03


def test_document_ends_at_end_token() -> None:
    model = word_model()
    unended = first(1, ModelSamples(model, 20, temperature=1e-5).documents())[0].split()
    place = next(n for n, word in enumerate(unended) if n and word not in unended[:n])
    model.tokenizer.eos_token = unended[place]
    ended = first(16, ModelSamples(model, 20, temperature=1e-5).documents())
    assert ended == [" ".join(unended[:place])] * 16


def test_the_checksum_of_samples_follows_weights_and_settings() -> None:
    model = word_model()
    sources = [
        ModelSamples(model),
        ModelSamples(model, seed=1),
        ModelSamples(model, tokens_per_document=8),
        ModelSamples(model, temperature=0.5),
        ModelSamples(word_model(seed=1)),
    ]
    assert len({source.checksum() for source in sources}) == len(sources)
    assert ModelSamples(word_model()).checksum() == sources[0].checksum()


@pytest.mark.parametrize(
    "settings",
    [{"tokens_per_document": 0}, {"tokens_per_document": 513}, {"temperature": 0.0}],
)
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        ModelSamples(word_model(), **{"tokens_per_document": 8, **settings})  # type: ignore[arg-type]


def test_tokenizer_without_start_token() -> None:
    with pytest.raises(InputError, match="no bos or eos token"):
        ModelSamples(word_model(pad_token="w1"))


def test_blank_samples_are_refused() -> None:
    model = word_model(special=WORDS[2:])
    with pytest.raises(InputError, match="only blanks"):
        next(ModelSamples(model, tokens_per_document=4).documents())
