"""Completions against a plain loop over prompts and tokens."""

from __future__ import annotations

import json

import pytest
import torch
from tiny import KINDS, tiny_model, tiny_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerFast

from alphaedit_core.errors import Canceled
from alphaedit_core.inference.completions import generate_greedy, new_text
from alphaedit_core.inference.token_by_token import generate_with_probabilities, text_of
from alphaedit_core.model.editable_model import EditableModel
from alphaedit_core.model.tokenization import encode
from alphaedit_core.progress import Monitor

PROMPTS = [
    "The Eiffel Tower is in",
    "Rome",
    "Therefore the capital of France is Paris, because the government sits in",
    "東京は",
    "You and I",
]


@torch.no_grad()
def plain(model: EditableModel, prompt: str, tokens: int, ends: set[int]) -> str:
    ids, _ = encode(model.tokenizer, prompt)
    new: list[int] = []
    while len(new) < tokens:
        best = int(model.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax())
        if best in ends:
            break
        new.append(best)
    return str(model.tokenizer.decode(new)).rstrip("\ufffd")


def ends_of(model: EditableModel) -> set[int]:
    return {int(model.tokenizer.eos_token_id), 0}  # 0 by the tiny models' configuration


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("layout", KINDS)
def test_completions_are_those_of_one_prompt_alone(layout: str, side: str) -> None:
    model = tiny_model(layout, tiny_tokenizer(bos=True, padding_side=side), dtype=torch.float64)
    found = generate_greedy(model, PROMPTS, tokens=8)
    assert found == [plain(model, prompt, 8, ends_of(model)) for prompt in PROMPTS]
    assert len(set(found)) > 1


def test_more_prompts_than_go_at_once() -> None:
    model = tiny_model("llama", dtype=torch.float64)
    prompts = [" ".join(PROMPTS[0].split()[: 1 + n % 5]) + " x" * (n % 7) for n in range(150)]
    found = generate_greedy(model, prompts, tokens=3)
    for index in (0, 1, 63, 64, 77, 127, 128, 149):
        assert found[index] == plain(model, prompts[index], 3, ends_of(model))


def test_no_prompts_give_no_completions() -> None:
    assert generate_greedy(tiny_model(), []) == []


def test_greedy_whatever_the_models_own_settings_say() -> None:
    """Settings for sampling, beam search or repetition penalties are ignored."""
    model = tiny_model("llama", dtype=torch.float64)
    expected = [plain(model, prompt, 8, ends_of(model)) for prompt in PROMPTS]
    model.model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=3.0,
        top_k=50,
        num_beams=3,
        repetition_penalty=5.0,
        no_repeat_ngram_size=1,
        eos_token_id=0,
    )
    assert generate_greedy(model, PROMPTS, tokens=8) == expected


#: Settings that models come with: each changed what was called greedy, or ended in a traceback.
HOSTILE = {
    "suppress_tokens": list(range(3, 200)),
    "begin_suppress_tokens": list(range(3, 200)),
    "bad_words_ids": [[token] for token in range(3, 200)],
    "sequence_bias": [[[token], -100.0] for token in range(3, 200)],
    "guidance_scale": 1.5,
    "stop_strings": ["e"],
    "min_new_tokens": 8,
    "forced_eos_token_id": 0,
    "forced_bos_token_id": 0,
    "exponential_decay_length_penalty": (1, 1.5),
    "encoder_repetition_penalty": 2.0,
    "num_return_sequences": 2,
    "max_time": 1e-9,
    "prompt_lookup_num_tokens": 3,
    "watermarking_config": {"bias": 9.0},
    "renormalize_logits": True,
    "token_healing": True,
    "return_dict_in_generate": True,
    "max_length": 2,
}


@pytest.mark.parametrize("setting", HOSTILE)
def test_no_setting_of_the_model_changes_what_is_greedy(setting: str) -> None:
    model = tiny_model("llama", dtype=torch.float64)
    settings = GenerationConfig(eos_token_id=0)
    setattr(settings, setting, HOSTILE[setting])
    model.model.generation_config = settings
    assert generate_greedy(model, PROMPTS, tokens=8) == [
        plain(model, prompt, 8, ends_of(model)) for prompt in PROMPTS
    ]
    steps = generate_with_probabilities(model, PROMPTS[0], tokens=8)
    assert text_of(steps) == plain(model, PROMPTS[0], 8, ends_of(model))
    assert model.model.generation_config is settings


def test_a_special_token_shows_where_it_does_not_close() -> None:
    """All ways of generating give the same text."""
    model = tiny_model("llama", tiny_tokenizer(bos=True), dtype=torch.float64)
    bos = model.tokenizer.bos_token_id
    with torch.no_grad():
        model.model.lm_head.weight[bos] += 1e3 * model.model.lm_head.weight.abs().max()
        for other in ends_of(model) - {bos}:
            model.model.lm_head.weight[other] = 0
    for prompt in PROMPTS:
        steps = generate_with_probabilities(model, prompt, tokens=6)
        assert generate_greedy(model, [prompt], tokens=6) == [text_of(steps)]
        if any(step.token == bos for step in steps):
            return
    pytest.fail("no prompt leads to the special token")


def test_a_new_word_keeps_its_space() -> None:
    """SentencePiece tokenizers strip the first space of a text."""
    model = tiny_model("llama", tiny_tokenizer("pieces"), dtype=torch.float64)
    prompts = [f"{prompt} {word}" for prompt in PROMPTS for word in ("Rome", "old", "the", "is")]
    found = generate_greedy(model, prompts, tokens=6)
    for prompt, text in zip(prompts, found, strict=True):
        ids, _ = encode(model.tokenizer, prompt)
        new = [step.token for step in generate_with_probabilities(model, prompt, tokens=6)]
        whole = model.tokenizer.decode([*ids, *new])
        assert prompt + text == whole.rstrip("\ufffd")
    assert any(text.startswith(" ") for text in found)


def test_a_character_that_is_cut_leaves_nothing() -> None:
    tokenizer = tiny_tokenizer("bytes")
    prompt = tokenizer("Rome is")["input_ids"]
    new = tokenizer(" é", add_special_tokens=False)["input_ids"]
    euro = tokenizer("€", add_special_tokens=False)["input_ids"]
    assert len(euro) == 3  # of three bytes each a token of its own
    assert new_text(tokenizer, prompt, new) == " é"
    for count, expected in ((3, " é€"), (2, " é"), (1, " é"), (0, " é")):
        assert new_text(tokenizer, prompt, [*new, *euro[:count]]) == expected


@pytest.mark.parametrize("own", ["tokenizer", "settings", "list", "none"])
def test_a_closing_token_ends_a_text(own: str) -> None:
    """Closing tokens of the tokenizer and of the model's settings; padding is ignored."""
    model = tiny_model("llama", dtype=torch.float64)
    free = {prompt: [] for prompt in PROMPTS}
    for prompt in PROMPTS:
        ids, _ = encode(model.tokenizer, prompt)
        for _step in range(8):
            with torch.no_grad():
                logits = model.model(input_ids=torch.tensor([ids + free[prompt]])).logits
            free[prompt].append(int(logits[0, -1].argmax()))
    closing = next(token for token in free[PROMPTS[0]][3:] if token not in free[PROMPTS[1]])
    settings = model.model.generation_config
    settings.eos_token_id = {"settings": closing, "list": [1, closing]}.get(own)
    model.tokenizer.eos_token = (
        model.tokenizer.convert_ids_to_tokens(closing) if own == "tokenizer" else None
    )
    ends = set() if own == "none" else {closing} | ({1} if own == "list" else set())
    found = generate_greedy(model, PROMPTS, tokens=8)
    assert found == [plain(model, prompt, 8, ends) for prompt in PROMPTS]
    if own != "none":
        assert len(found[0]) < len(model.tokenizer.decode(free[PROMPTS[0]]))


def test_it_can_be_canceled() -> None:
    with pytest.raises(Canceled):
        generate_greedy(tiny_model(), PROMPTS, monitor=Monitor(None, lambda: True))


@pytest.fixture(scope="module")
def sentencepiece() -> PreTrainedTokenizerFast:
    """A SentencePiece-like tokenizer: spaces belong to words, unknown letters become bytes."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", *fallback])
    raw.train_from_iterator(["Rome is The city of Rome. Is The one it is?"] * 5, trainer)
    data = json.loads(raw.to_str())
    data["added_tokens"] = [one for one in data["added_tokens"] if one["content"] == "<unk>"]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(data)), unk_token="<unk>"
    )


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("prompt", ["Rome is", "Rome is 東京", "東京は日本"])
@pytest.mark.parametrize("written", ["é", "東京", "東é🎉", "a 東"])
def test_a_cut_character_takes_no_finished_one_along(
    sentencepiece: PreTrainedTokenizerFast, prompt: str, written: str
) -> None:
    """A run of byte tokens is decoded as a whole or not at all."""
    front = _ids(sentencepiece, prompt)
    new = _ids(sentencepiece, prompt + written)[len(front) :]
    assert sentencepiece.decode([*front, *new]) == prompt + written
    raw = sentencepiece.convert_ids_to_tokens(new)
    for count in range(len(new) + 1):
        decoded = b"".join(
            bytes.fromhex(one[3:5]) if one.startswith("<0x") else one.replace("▁", " ").encode()
            for one in raw[:count]
        )
        assert new_text(sentencepiece, front, new[:count]) == decoded.decode(errors="ignore")


def _ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
